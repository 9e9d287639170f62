"""What `http.client`, and all that is built on it, takes for a socket: a connection to the host, which sends the request."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from typing import Any

from wfn.outbound.blocking import Exchange
from wfn.outbound.message import End, Piece, Request, RequestReader, Server, framed, response_head


class HostSocket:
    """A connection for one request. The host connects, and does TLS."""

    def __init__(self, server: Server, timeout: Any) -> None:
        self.reader = RequestReader(server)
        self.request: Request | None = None
        self.exchange: Exchange | None = None
        self.file: io.BufferedReader | None = None
        self.settimeout(timeout)

    def settimeout(self, timeout: Any) -> None:
        """Sets how long to wait for an answer, and for more of it: seconds, or None."""
        is_number = timeout is None or isinstance(timeout, (int, float))
        self.timeout: float | None = timeout if is_number else socket.getdefaulttimeout()

    def gettimeout(self) -> float | None:
        return self.timeout

    def setsockopt(self, *_: Any) -> None:
        """Nothing: the host sets the options of its connections."""

    def sendall(self, data: Any) -> None:
        """Takes a part of the request. Raises OutboundError."""
        for event in self.reader.feed(data):
            match event:
                case Request():
                    self.request = event
                    self.exchange = Exchange(event)
                case Piece(piece):
                    assert self.exchange is not None
                    self.exchange.write(piece)
                case End():
                    assert self.exchange is not None
                    self.exchange.finish()

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        """The answer, as HTTP/1.1."""
        if self.file is None:
            self.file = io.BufferedReader(AnswerFile(self))
        return self.file

    def answer(self) -> Iterator[bytes]:
        if self.exchange is None or self.request is None:
            raise OSError("no request was sent")
        head, is_chunked = response_head(self.exchange.head(self.timeout), self.request.method)
        yield head
        while data := self.exchange.read(self.timeout):
            yield framed(data, is_chunked)
        if is_chunked:
            yield framed(b"", is_chunked)

    def close(self) -> None:
        """Ends the connection, unless the answer is still read: then `AnswerFile` does that."""
        if self.file is None and self.exchange is not None:
            self.exchange.close()


class AnswerFile(io.RawIOBase):
    """The bytes of an answer."""

    def __init__(self, connection: HostSocket) -> None:
        self.connection = connection
        self.pieces = connection.answer()
        self.left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer`; 0 is the end. Raises OutboundError."""
        if not self.left:
            self.left = memoryview(next(self.pieces, b""))
        count = min(len(buffer), len(self.left))
        buffer[:count] = self.left[:count]
        self.left = self.left[count:]
        return count

    def close(self) -> None:
        if not self.closed and self.connection.exchange is not None:
            self.connection.exchange.close()
        super().close()
