"""One application of each kind of workload: it computes, it waits for another server, or both."""

import os
import urllib.request
from html.parser import HTMLParser


class Links(HTMLParser):
    """Counts the links of a page."""

    def __init__(self):
        super().__init__()
        self.found = 0

    def handle_starttag(self, tag, attributes):
        self.found += tag == "a"


def links(page):
    parser = Links()
    parser.feed(page)
    return parser.found


def ask():
    with urllib.request.urlopen(f"http://{os.environ['UPSTREAM']}/wait?ms=50") as answer:
        return answer.read().decode()


PAGE = '<p>one of <a href="/many">many links</a> on a page</p>\n' * 300


def application(environ, start_response):
    work = {
        "/cpu": lambda: f"{links(PAGE)}\n",
        "/io": ask,
        "/mixed": lambda: f"{ask()}: {links(PAGE)}\n",
    }
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [work[environ["PATH_INFO"]]().encode()]
