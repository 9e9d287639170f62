"""Parses the HTML page in a POST body with the standard library and answers what is in it as JSON."""

import json
from html.parser import HTMLParser

PAGE_BYTES_MAX = 8 * 1024 * 1024


def application(environ, start_response):
    if environ["REQUEST_METHOD"] != "POST":
        help_text = b"POST an HTML page here: curl --data-binary @page.html URL\n"
        start_response("405 Method Not Allowed", [("Content-Type", "text/plain; charset=utf-8"), ("Allow", "POST")])
        return [help_text]

    page = environ["wsgi.input"].read(PAGE_BYTES_MAX + 1)
    if len(page) > PAGE_BYTES_MAX:
        start_response("413 Content Too Large", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"the page is larger than {PAGE_BYTES_MAX} bytes\n".encode()]

    counter = Counter()
    counter.feed(page.decode("utf-8", "replace"))
    counter.close()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [counter.json().encode()]


class Counter(HTMLParser):
    """Counts while it reads; it sees the tags of a page, not the tree that a browser makes of them."""

    def __init__(self):
        super().__init__()
        self.elements = 0
        self.links = 0
        self.text_bytes = 0
        self.title = None
        self.in_title = False

    def handle_starttag(self, tag, attributes):
        self.elements += 1
        if tag == "a" and any(name == "href" for name, _ in attributes):
            self.links += 1
        if tag == "title" and self.title is None:
            self.title = ""
            self.in_title = True

    def handle_endtag(self, tag):
        if tag == "title":
            self.in_title = False

    def handle_data(self, data):
        self.text_bytes += len(data.encode())
        if self.in_title:
            self.title += data

    def json(self):
        title = " ".join((self.title or "").split())
        counts = {"elements": self.elements, "links": self.links, "text_bytes": self.text_bytes, "title": title}
        return json.dumps(counts, ensure_ascii=False, separators=(",", ":")) + "\n"
