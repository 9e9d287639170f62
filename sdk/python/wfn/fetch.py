"""Sends requests: `fetch` one, `fetch_all` several at the same time. Where to, `allowed_outbound_hosts` in wfn.toml says.

`http://wfn.internal` is the host itself, for settings, key-value stores and blobs; it needs no entry there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from wfn.outbound.blocking import Exchange
from wfn.outbound.message import PORTS
from wfn.outbound.message import Request as Outgoing


class Request(NamedTuple):
    url: str
    method: str = "GET"
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def fetch(url: str, method: str = "GET", headers: Mapping[str, str] = {}, body: bytes = b"") -> Answer:
    """The answer to a request. Raises OSError where there is none, with WASI's error code."""
    return receive(send(Request(url, method, headers, body)))


def fetch_all(requests: Iterable[Request]) -> list[Answer]:
    """The answers to all `requests`, in their order: all are sent before the first answer is waited for."""
    return [receive(exchange) for exchange in [send(request) for request in requests]]


def send(request: Request) -> Exchange:
    """Sends a request; its answer is on its way then. Raises ValueError for a URL that is not one of HTTP."""
    exchange = Exchange(outgoing(request))
    exchange.write(request.body)
    exchange.finish()
    return exchange


def outgoing(request: Request) -> Outgoing:
    """The request without its body. Raises ValueError for a URL that is not one of HTTP."""
    url = urlsplit(request.url)
    if url.scheme not in PORTS:
        raise ValueError(f"{request.url}: use http:// or https://")
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = {"content-length": str(len(request.body)), **request.headers} if request.body else request.headers
    fields = [(name, value.encode()) for name, value in headers.items()]
    return Outgoing(request.method, url.scheme, url.netloc, target, fields, bool(request.body))


def receive(exchange: Exchange) -> Answer:
    """Waits for the answer to what was sent, and reads it whole."""
    try:
        status, fields = exchange.head()
        headers = {name.lower(): value.decode("latin-1") for name, value in fields}
        return Answer(status, headers, b"".join(exchange.pieces()))
    finally:
        exchange.close()
