"""Calls of the host's own services at http://wfn.internal. They need no entry in `allowed_outbound_hosts`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

from wfn.outbound.blocking import READ_BYTES, Exchange
from wfn.outbound.message import Head, Request

HOST = "wfn.internal"
# What a body may be. What is not bytes is sent in pieces, and no more than one of them is in memory.
Body = bytes | Iterable[bytes]
AsyncBody = bytes | Iterable[bytes] | AsyncIterable[bytes]
T = TypeVar("T")


class Refused(Exception):
    """The service refused. `code` is one of docs/errors.md, such as `access-denied`; `message` says what to do."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"refused with {status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class Reply(NamedTuple):
    """A service's answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request to a service, and what its answer means."""

    method: str
    path: str
    read: Callable[[Reply], T]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = b""
    # A status that is an answer although it is no success → the code that it comes with.
    expected: Mapping[int, str] = field(default_factory=dict)

    def request(self) -> Request:
        fields = [(name, value.encode("latin-1")) for name, value in self.headers.items()]
        if isinstance(self.body, bytes):
            fields.append(("content-length", str(len(self.body)).encode()))
        return Request(self.method, "http", HOST, f"/{self.path}", fields, not isinstance(self.body, bytes) or bool(self.body))

    def is_answer(self, reply: Reply) -> bool:
        return 200 <= reply.status < 300 or self.expected.get(reply.status) == reply.headers.get("wfn-outcome", "")

    def result(self, reply: Reply) -> T:
        """What the answer means. Raises Refused."""
        if self.is_answer(reply):
            return self.read(reply)
        try:
            message = str(reply.json()["error"]["message"])
        except (ValueError, LookupError, TypeError):
            message = reply.body.decode(errors="replace").strip()
        raise Refused(reply.status, reply.headers.get("wfn-outcome", ""), message)


def begin(call: Call[Any]) -> tuple[Exchange, Reply]:
    """Sends a call and waits for the head of its answer. The body is read from the exchange, which is to be closed. Raises OSError."""
    exchange = Exchange(call.request())
    try:
        for piece in pieces_of(call.body):
            exchange.write(piece)
        exchange.finish()
        return exchange, reply_of(exchange.head())
    except BaseException:
        exchange.close()
        raise


def run(call: Call[T]) -> T:
    """The result of a call. Raises Refused, and OSError where there is no answer."""
    exchange, reply = begin(call)
    try:
        return call.result(reply._replace(body=b"".join(exchange.pieces())))
    finally:
        exchange.close()


async def begin_async(call: Call[Any]) -> tuple[Any, Reply]:
    """`begin` of an ASGI application: others run while it waits."""
    # Only an ASGI application has the bindings for it.
    from wfn.outbound.awaiting import send

    request = call.request()
    answer = await send(request, async_pieces_of(call.body) if request.has_body else None)
    return answer, reply_of(answer.head)


async def run_async(call: Call[T]) -> T:
    """`run` of an ASGI application: others run while it waits."""
    answer, reply = await begin_async(call)
    try:
        return call.result(reply._replace(body=b"".join([piece async for piece in answer.pieces()])))
    finally:
        answer.close()


def reply_of(head: Head) -> Reply:
    return Reply(head.status, {name.lower(): value.decode("latin-1") for name, value in head.headers})


def pieces_of(body: Any) -> Iterator[bytes]:
    """A body in pieces: bytes, a file, or an iterable of bytes."""
    if isinstance(body, bytes):
        if body:
            yield body
    elif hasattr(body, "read"):
        while data := body.read(READ_BYTES):
            yield data
    else:
        yield from body


async def async_pieces_of(body: Any) -> AsyncIterator[bytes]:
    """The same; the iterable may be asynchronous, too."""
    if hasattr(body, "__aiter__"):
        async for piece in body:
            yield piece
    else:
        for piece in pieces_of(body):
            yield piece


def encoded(text: str) -> str:
    """A text as one part of a path or of a query."""
    return quote(text, safe="")


def nothing(_: Reply) -> None:
    """The result of a call that has none."""
