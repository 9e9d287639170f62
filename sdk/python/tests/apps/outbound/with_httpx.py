"""Requests by `httpx`, synchronous, as in any Python. This module, and httpx, are not part of the image."""

import io
import os

import httpx

CLIENT = httpx.Client(headers={"X-Session": "yes"})


def get(base):
    answer = httpx.get(f"http://{base}/echo/ä", params={"a": " b"}, headers={"X-Own": "mine"})
    answer.raise_for_status()
    seen = answer.json()
    return [answer.status_code, answer.reason_phrase, str(answer.url), seen["path"], seen["headers"], answer.http_version]


def bodies(base):
    url = f"http://{base}/echo"
    answers = [
        httpx.post(url, json={"name": "Zoë"}),
        httpx.put(url, data={"a": "1"}),
        httpx.post(url, content=(part for part in [b"first ", b"second"])),
        httpx.post(url, files={"file": ("a.bin", io.BytesIO(b"x" * 100_000))}),
        httpx.request("DELETE", url),
        httpx.post(url),
    ]
    return [[seen["method"], seen["headers"].get("content-type", "").partition(";")[0], seen["length"] > 90_000 or seen["length"]]
            for seen in (answer.json() for answer in answers)]  # fmt: skip


def client(base):
    with httpx.Client(base_url=f"http://{base}", follow_redirects=True, auth=("user", "pass word")) as client:
        welcome = client.get("/private").text
        cookie = client.get("/cookie").json()["headers"]["cookie"]
        path = client.get("/redirect?times=3").json()["path"]
        return [welcome, cookie, path, CLIENT.get(f"http://{base}/echo").json()["headers"]["x-session"]]


def stream(base):
    with httpx.stream("GET", f"http://{base}/chunks") as answer:
        lines = list(answer.iter_lines())
    with httpx.stream("GET", f"http://{base}/large") as answer:
        size = sum(len(part) for part in answer.iter_raw())
    return [lines, size, len(httpx.get(f"http://{base}/gzip").content)]


def left_unread(base):
    for _ in range(30):
        with CLIENT.stream("GET", f"http://{base}/large") as answer:
            next(answer.iter_raw())
    return "alive"


def https(base):
    return httpx.get(f"https://{os.environ['SECURE']}/echo").status_code


def untrusted(base):
    httpx.get(f"https://{os.environ['UNTRUSTED']}/echo")


def unverified(base):
    httpx.get(f"https://{os.environ['SECURE']}/echo", verify=False)


def failing_body(base):
    def parts():
        yield b"first"
        raise LookupError("no more parts")

    httpx.post(f"http://{base}/echo", content=parts())


def http_error(base):
    httpx.get(f"http://{base}/status?code=503").raise_for_status()


def timeout(base):
    httpx.get(f"http://{base}/wait?ms=1000", timeout=0.1)


def read_timeout(base):
    httpx.get(f"http://{base}/stall", timeout=0.2)


def cut(base):
    httpx.get(f"http://{base}/cut")


def refused(base):
    httpx.get("https://example.com/path")


def unknown_name(base):
    httpx.get("http://no-such-name.invalid/")


def nobody_listens(base):
    httpx.get(f"http://{os.environ['CLOSED']}/")


def proxy(base):
    httpx.get("http://example.com/", proxy=f"http://{base}")


def other_host(base):
    httpx.get(f"http://{base}/echo", headers={"Host": "other.example"})


def unix_socket(base):
    httpx.Client(transport=httpx.HTTPTransport(uds="/run/docker.sock")).get("http://localhost/")
