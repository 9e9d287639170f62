"""What asyncio's protocols take for a connection: a transport to the host, which sends the request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from wfn.outbound.awaiting import Answer, send
from wfn.outbound.message import End, Piece, Request, RequestReader, Server, framed, response_head

# The protocol is asked to pause while more bytes than this wait to be sent.
WAITING_BYTES_MAX = 65536


class HostTransport(asyncio.Transport):
    """A connection for one request. The host connects, and does TLS."""

    def __init__(self, protocol: Any, server: Server, has_failed: Callable[[Exception], bool]) -> None:
        """`has_failed` tells the protocol why there is no answer, and returns whether it could; else the connection is lost."""
        super().__init__()
        self.protocol = protocol
        self.reader = RequestReader(server)
        self.has_failed = has_failed
        self.task: asyncio.Task[None] | None = None
        self.pieces: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.is_complete = False
        self.is_closed = False
        self.is_paused = False
        # Set when there are pieces, or the request is complete; and while the protocol takes bytes.
        self.has_more = asyncio.Event()
        self.may_read = asyncio.Event()
        self.may_read.set()
        protocol.connection_made(self)

    # What the protocol calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Takes a part of the request. Raises OutboundError for what the host cannot send."""
        if self.is_closed:
            return
        for event in self.reader.feed(data):
            match event:
                case Request():
                    self.task = asyncio.create_task(self._exchange(event))
                    if event.expects_continue:
                        self.protocol.data_received(b"HTTP/1.1 100 Continue\r\n\r\n")
                case Piece(piece):
                    self.pieces.append(piece)
                    self.waiting_bytes += len(piece)
                case End():
                    self.is_complete = True
        self.has_more.set()
        if self.waiting_bytes > WAITING_BYTES_MAX and not self.is_paused:
            self.is_paused = True
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.waiting_bytes

    def pause_reading(self) -> None:
        self.may_read.clear()

    def resume_reading(self) -> None:
        self.may_read.set()

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        """Ends the connection; what has not come is not wanted."""
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
            if self.task is not None and self.task is not asyncio.current_task():
                self.task.cancel()

    abort = close

    # The exchange.

    async def _body(self) -> AsyncIterator[bytes]:
        while True:
            while self.pieces:
                piece = self.pieces.popleft()
                yield piece
                self.waiting_bytes -= len(piece)
                self._resume_writing()
            if self.is_complete:
                return
            self.has_more.clear()
            await self.has_more.wait()

    def _resume_writing(self) -> None:
        if self.is_paused and self.waiting_bytes <= WAITING_BYTES_MAX:
            self.is_paused = False
            self.protocol.resume_writing()

    async def _exchange(self, request: Request) -> None:
        answer: Answer | None = None
        try:
            answer = await send(request, self._body() if request.has_body else None)
            head, is_chunked = response_head(answer.head, request.method)
            await self._receive(head)
            async for data in answer.pieces():
                await self._receive(framed(data, is_chunked))
            if is_chunked:
                await self._receive(framed(b"", is_chunked))
            self._lost(None)
        except Exception as error:
            # Whatever it is, the protocol has to hear of it, or its user waits for ever.
            if not self.is_closed and (answer is not None or not self.has_failed(error)):
                self._lost(error)
        finally:
            if answer is not None:
                answer.close()
            self.waiting_bytes = 0
            self.pieces.clear()
            self._resume_writing()

    async def _receive(self, data: bytes) -> None:
        await self.may_read.wait()
        if not self.is_closed:
            self.protocol.data_received(data)

    def _lost(self, error: Exception | None) -> None:
        if not self.is_closed:
            self.is_closed = True
            if error is None:
                self.protocol.eof_received()
            self.protocol.connection_lost(error)
