"""Sends requests: `fetch` one, `fetch_all` several at the same time. Where to, `allowed_outbound_hosts` in wfn.toml says.

`http://wfn.internal` is the host itself, for settings, key-value stores and blobs; it needs no entry there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from componentize_py_types import Err
from wit_world.imports import outgoing_handler, types
from wit_world.imports.streams import StreamError_Closed

# The most that one call of blocking-write-and-flush takes.
WRITE_BYTES_MAX = 4096
READ_BYTES = 65536


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
    return [receive(pending) for pending in [send(request) for request in requests]]


def send(request: Request) -> tuple[str, Any]:
    """Sends a request; its answer is on its way then. Raises ValueError for a URL that is not one of HTTP."""
    url = urlsplit(request.url)
    scheme = {"http": types.Scheme_Http, "https": types.Scheme_Https}.get(url.scheme)
    if scheme is None:
        raise ValueError(f"{request.url}: use http:// or https://")
    headers = {"content-length": str(len(request.body)), **request.headers} if request.body else request.headers
    outgoing = types.OutgoingRequest(types.Fields.from_list([(name, value.encode()) for name, value in headers.items()]))
    outgoing.set_method(method_of(request.method))
    outgoing.set_scheme(scheme())
    outgoing.set_authority(url.netloc)
    outgoing.set_path_with_query((url.path or "/") + (f"?{url.query}" if url.query else ""))
    body = outgoing.body()
    try:
        pending = outgoing_handler.handle(outgoing, None)
    except Err as error:
        raise OSError(f"{request.url}: {error.value}") from error
    with body.write() as stream:
        for start in range(0, len(request.body), WRITE_BYTES_MAX):
            try:
                stream.blocking_write_and_flush(request.body[start : start + WRITE_BYTES_MAX])
            except Err:
                # Who answers before it has read everything closes the body; its answer says why.
                break
    types.OutgoingBody.finish(body, None)
    return request.url, pending


def receive(sent: tuple[str, Any]) -> Answer:
    """Waits for the answer to what was sent, and reads it whole."""
    url, pending = sent
    with pending:
        with pending.subscribe() as ready:
            ready.block()
        answer = pending.get().value
        if isinstance(answer, Err):
            raise OSError(f"{url}: {answer.value}")
        # What the host lends is given back in order: a stream before its body, that before its answer.
        with answer.value as response:
            with response.headers() as fields:
                headers = {name.lower(): value.decode("latin-1") for name, value in fields.entries()}
            with response.consume() as body, body.stream() as stream:
                return Answer(response.status(), headers, b"".join(chunks(stream, url)))


def chunks(stream: Any, url: str) -> Iterator[bytes]:
    while True:
        try:
            yield stream.blocking_read(READ_BYTES)
        except Err as error:
            if isinstance(error.value, StreamError_Closed):
                return
            raise OSError(f"{url}: the answer broke off") from error


def method_of(name: str) -> Any:
    known = getattr(types, f"Method_{name.capitalize()}", None)
    return known() if known and name.isupper() and name != "OTHER" else types.Method_Other(name)
