"""HTTP/1.1 as libraries write and read it on a connection, between them and the host, which takes requests in parts."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from wfn.outbound.errors import NO_PROXY, unsupported

PORTS = {"http": 80, "https": 443}
# Fields that belong to a connection; the host has its own. `expect` is answered here.
CONNECTION_FIELDS = frozenset(
    "connection expect host http2-settings keep-alive proxy-authenticate proxy-authorization proxy-connection te "
    "transfer-encoding upgrade".split()
)
STATUSES_WITHOUT_BODY = frozenset((204, 304))


class Request(NamedTuple):
    """A request without its body."""

    method: str
    scheme: str
    authority: str
    # Path and query.
    target: str
    headers: list[tuple[str, bytes]]
    has_body: bool = False
    # The library waits for a word before it sends the body.
    expects_continue: bool = False

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Head(NamedTuple):
    """What comes before the body of an answer."""

    status: int
    headers: list[tuple[str, bytes]]


class Piece(NamedTuple):
    """A part of a request's body."""

    data: bytes


class End(NamedTuple):
    """The request is complete."""


@dataclass
class Server:
    """Where the requests of a connection go."""

    host: str
    port: int
    scheme: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


class RequestReader:
    """Reads the one request that a library writes to its connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._events: list[Request | Piece | End] = []
        self._steps = self._read()

    def feed(self, data: bytes | bytearray | memoryview) -> list[Request | Piece | End]:
        """What is complete with these bytes. Raises Unsupported for what the host cannot send."""
        self._buffer += data
        next(self._steps)
        events, self._events = self._events, []
        return events

    def _read(self) -> Generator[None]:
        lines = (yield from self._until(b"\r\n\r\n")).split(b"\r\n")
        fields = {}
        headers = []
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            key = name.decode("latin-1").lower()
            fields[key] = value.strip()
            if key not in CONNECTION_FIELDS:
                headers.append((name.decode("latin-1"), value.strip()))
        method, target, _ = lines[0].decode("latin-1").split(" ", 2)
        is_chunked = fields.get("transfer-encoding", b"").lower() == b"chunked"
        length = int(fields.get("content-length", b"0"))
        check(self._server, method, target, fields.get("host"), "upgrade" in fields)
        has_body, expects = is_chunked or length > 0, fields.get("expect", b"").lower() == b"100-continue"
        self._events.append(Request(method, self._server.scheme, self._server.authority, target, headers, has_body, expects))
        if is_chunked:
            while size := int((yield from self._until(b"\r\n")).partition(b";")[0], 16):
                yield from self._body(size)
                yield from self._until(b"\r\n")
            while (yield from self._until(b"\r\n")):
                pass
        else:
            yield from self._body(length)
        self._events.append(End())
        while True:
            if self._buffer:
                raise unsupported("a connection to the host takes one request")
            yield

    def _until(self, end: bytes) -> Generator[None, None, bytes]:
        """The bytes before `end`, as soon as they are there."""
        while (place := self._buffer.find(end)) < 0:
            yield
        found = bytes(self._buffer[:place])
        del self._buffer[: place + len(end)]
        return found

    def _body(self, size: int) -> Generator[None]:
        while size:
            if not self._buffer:
                yield
                continue
            piece = bytes(self._buffer[:size])
            del self._buffer[: len(piece)]
            size -= len(piece)
            self._events.append(Piece(piece))


def check(server: Server, method: str, target: str, host: bytes | None, is_upgrade: bool) -> None:
    """Raises Unsupported for what the host cannot send."""
    if method == "CONNECT" or not target.startswith(("/", "*", "?")):
        raise unsupported(NO_PROXY)
    if is_upgrade:
        raise unsupported(f"{server.authority}: the host has no WebSockets and no other upgrade of a connection")
    named = (host or b"").decode("latin-1").lower().removesuffix(f":{PORTS[server.scheme]}")
    if named and named.rstrip(".") != server.authority.lower().rstrip("."):
        raise unsupported(f"the header Host is {named}, the server {server.authority}: the host sends the server's name, no other")


def response_head(head: Head, method: str) -> tuple[bytes, bool]:
    """An answer's head as HTTP/1.1, and whether its body has to be written in chunks."""
    status, headers = head
    has_body = method != "HEAD" and status not in STATUSES_WITHOUT_BODY
    fields = [(name, value) for name, value in headers if name.lower() not in CONNECTION_FIELDS]
    is_chunked = has_body and not any(name.lower() == "content-length" for name, _ in fields)
    fields.append(("connection", b"close"))
    if is_chunked:
        fields.append(("transfer-encoding", b"chunked"))
    lines = [f"HTTP/1.1 {status} {reason_of(status)}".encode()]
    lines += [name.encode("latin-1") + b": " + value for name, value in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n", is_chunked


def reason_of(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def framed(piece: bytes, is_chunked: bool) -> bytes:
    """A piece of a body as it is written; the empty one is the end."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece


def sendable(headers: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The fields that may be given to the host."""
    return [(name, value) for name, value in headers if name.lower() not in CONNECTION_FIELDS]
