"""Requests by `urllib3`, as in any Python."""

import os

import urllib3

# Made while the component is built; it has no connection then.
POOL = urllib3.PoolManager()


def get(base):
    answer = POOL.request("GET", f"http://{base}/echo", fields={"a": "b"}, headers={"X-Own": "mine"})
    return [answer.status, answer.json()["path"], answer.json()["headers"]["x-own"], answer.headers["Content-Type"]]


def post(base):
    seen = urllib3.request("POST", f"http://{base}/echo", json={"a": 1}).json()
    form = POOL.request("POST", f"http://{base}/echo", fields={"file": ("a.txt", b"content")}).json()
    return [seen["method"], seen["body"], form["headers"]["content-type"].partition(";")[0]]


def redirect(base):
    answer = POOL.request("GET", f"http://{base}/redirect?times=2")
    return [answer.status, answer.geturl(), len(answer.retries.history)]


def stream(base):
    answer = POOL.request("GET", f"http://{base}/large", preload_content=False)
    sizes = [len(part) for part in answer.stream(100_000)]
    answer.release_conn()
    return [sizes, len(POOL.request("GET", f"http://{base}/gzip").data)]


def https(base):
    return POOL.request("GET", f"https://{os.environ['SECURE']}/echo").status


def untrusted(base):
    POOL.request("GET", f"https://{os.environ['UNTRUSTED']}/echo")


def unverified(base):
    urllib3.PoolManager(cert_reqs="CERT_NONE").request("GET", f"https://{os.environ['SECURE']}/echo")


def timeout(base):
    POOL.request("GET", f"http://{base}/wait?ms=1000", timeout=urllib3.Timeout(connect=1, read=0.1), retries=False)


def refused(base):
    POOL.request("GET", "https://example.com/path", retries=False)


def unknown_name(base):
    POOL.request("GET", "http://no-such-name.invalid/", retries=False)


def proxy(base):
    urllib3.ProxyManager(f"http://{base}").request("GET", "http://example.com/", retries=False)


def sockets_still_fail_politely(base):
    """urllib3 tries for IPv6 when it is imported. That must leave no trace in the image."""
    import socket

    socket.create_connection(("127.0.0.1", 80))
