"""Requests by `requests`, as in any Python."""

import io
import os

import requests
from requests.auth import HTTPBasicAuth


def get(base):
    answer = requests.get(f"http://{base}/echo/ä", params={"a": " b", "c": ["1", "2"]}, headers={"X-Own": "mine"})
    answer.raise_for_status()
    seen = answer.json()
    return [answer.status_code, answer.reason, answer.url, seen["path"], seen["headers"]]


def bodies(base):
    url = f"http://{base}/echo"
    answers = [
        requests.post(url, json={"name": "Zoë"}),
        requests.put(url, data={"a": "1"}),
        requests.patch(url, data=b"bytes"),
        requests.post(url, data=(part for part in [b"first ", b"second"])),
        requests.post(url, data=io.BytesIO(b"x" * 100_000)),
        requests.delete(url),
        requests.options(url),
    ]
    return [[seen["method"], seen["headers"].get("content-type"), seen["length"]] for seen in (answer.json() for answer in answers)]


def files(base):
    seen = requests.post(f"http://{base}/echo", files={"file": ("a.txt", io.BytesIO(b"content"), "text/plain")}).json()
    return [seen["headers"]["content-type"].partition(";")[0], 'filename="a.txt"' in seen["body"], "content" in seen["body"]]


def redirect(base):
    answer = requests.get(f"http://{base}/redirect?times=3")
    stopped = requests.get(f"http://{base}/redirect", allow_redirects=False)
    return [answer.json()["path"], [step.status_code for step in answer.history], stopped.status_code, stopped.is_redirect]


def too_many_redirects(base):
    session = requests.Session()
    session.max_redirects = 2
    session.get(f"http://{base}/redirect?times=5")


def session(base):
    with requests.Session() as session:
        session.headers["X-Session"] = "yes"
        seen = session.get(f"http://{base}/cookie").json()["headers"]
        again = session.get(f"http://{base}/echo").json()["headers"]
        return [seen["cookie"], again["cookie"], again["x-session"], session.cookies.get_dict()]


def basic_auth(base):
    url = f"http://{base}/private"
    return [requests.get(url).status_code, requests.get(url, auth=("user", "pass word")).text,
            requests.get(url, auth=HTTPBasicAuth("user", "pass word")).text]  # fmt: skip


def gzip(base):
    return len(requests.get(f"http://{base}/gzip").content)


def stream(base):
    with requests.get(f"http://{base}/chunks", stream=True) as answer:
        lines = [line.decode() for line in answer.iter_lines()]
    with requests.get(f"http://{base}/large", stream=True) as answer:
        sizes = [len(part) for part in answer.iter_content(100_000)]
    with requests.get(f"http://{base}/gzip", stream=True) as answer:
        unpacked = sum(len(part) for part in answer.iter_content(1000))
    return [lines, sizes, unpacked]


def first_before_last(base):
    """The server sends a piece every 300 ms; how many seconds after the first one the last one came."""
    import time

    with requests.get(f"http://{base}/chunks?ms=300", stream=True) as answer:
        times = [time.monotonic() for _ in answer.iter_lines(chunk_size=1)]
    return times[-1] - times[0]


def left_unread(base):
    for _ in range(30):
        requests.get(f"http://{base}/large", stream=True)
        requests.get(f"http://{base}/large", stream=True).raw.read(10)
    return "alive"


def http_error(base):
    requests.get(f"http://{base}/status?code=503").raise_for_status()


def https(base):
    answer = requests.get(f"https://{os.environ['SECURE']}/echo")
    return [answer.status_code, answer.json()["headers"]["host"]]


def untrusted(base):
    requests.get(f"https://{os.environ['UNTRUSTED']}/echo")


def unverified(base):
    requests.get(f"https://{os.environ['UNTRUSTED']}/echo", verify=False)


def own_authority(base):
    requests.get(f"https://{os.environ['UNTRUSTED']}/echo", verify=__file__)


def timeout(base):
    requests.get(f"http://{base}/wait?ms=1000", timeout=0.1)


def read_timeout(base):
    requests.get(f"http://{base}/stall", timeout=(5, 0.2))


def cut(base):
    requests.get(f"http://{base}/cut")


def refused(base):
    requests.get("https://example.com/path")


def unknown_name(base):
    requests.get("http://no-such-name.invalid/")


def nobody_listens(base):
    requests.get(f"http://{os.environ['CLOSED']}/")


def proxy(base):
    requests.get("http://example.com/", proxies={"http": f"http://{base}"})


def proxy_for_https(base):
    requests.get("https://example.com/", proxies={"https": f"http://{base}"})


def other_host(base):
    requests.get(f"http://{base}/echo", headers={"Host": "other.example"})


def retries(base):
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=Retry(total=2, status_forcelist=[503], backoff_factor=0)))
        session.get(f"http://{base}/status?code=503")
