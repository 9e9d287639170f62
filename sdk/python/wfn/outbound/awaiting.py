"""Requests by WASI 0.3, for ASGI applications: while one waits for its answer, all else in the instance goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from typing import Any

from componentize_py_types import Err, Ok
from wit_world import (
    byte_stream,
    result_option_wasi_http_types_fields_wasi_http_types_error_code_future as trailers_future,
    result_unit_wasi_http_types_error_code_future as received_future,
)
from wit_world.imports import client
from wit_world.imports import wasi_http_types as types

from wfn.outbound.blocking import READ_BYTES, method_of
from wfn.outbound.errors import failure, timed_out
from wfn.outbound.message import Head, Request
from wfn.runtime.network import refuse_while_building


class Answer:
    """The answer to a request. Its body is read in pieces."""

    def __init__(self, response: types.Response, origin: str, sending: asyncio.Task[None]) -> None:
        self.origin = origin
        # What still sends the request's body: a server may answer before it has all.
        self.sending = sending
        with response.get_headers() as fields:
            self.head = Head(response.get_status_code(), fields.copy_all())
        # The host learns that the body was received as soon as it asks; there is no other word.
        self.stream, self.trailers = types.Response.consume_body(response, received_future(lambda: Ok(None))[1])
        self.is_over = False
        self.reading: asyncio.Task[bytes] | None = None

    async def read(self, seconds: float | None = None) -> bytes:
        """The next bytes of the body; none at its end. Raises OutboundError. May be cancelled: what was read is next then."""
        if self.reading is None:
            if self.is_over:
                return b""
            self.reading = asyncio.create_task(self._read())
        try:
            data = await within(seconds, self.origin, asyncio.shield(self.reading))
        finally:
            if self.reading.done():
                self.reading = None
        return data

    async def _read(self) -> bytes:
        while True:
            data: bytes = await self.stream.read(READ_BYTES)
            if self.stream.writer_dropped:
                self.is_over = True
                end = await self.trailers.read()
                if isinstance(end, Err):
                    raise failure(end.value, self.origin)
                return data
            if data:
                return data

    async def pieces(self, seconds: float | None = None) -> AsyncIterator[bytes]:
        """The body. Between two pieces it waits at most `seconds`."""
        while data := await self.read(seconds):
            yield data

    def close(self) -> None:
        """Tells the host that no more of the body is wanted, and stops to send the request's. May be called twice."""
        self.sending.cancel()
        if self.reading is not None and not self.reading.done():
            # A read that has begun cannot be taken back. It ends when bytes come, or when the server ends the answer.
            self.reading.add_done_callback(self._drop)
        else:
            self._drop(None)

    def _drop(self, reading: asyncio.Task[bytes] | None) -> None:
        if reading is not None and not reading.cancelled():
            # Nobody wants to know any more why it failed.
            reading.exception()
        if not self.is_over:
            self.is_over = True
            self.stream.__exit__(None, None, None)
            self.trailers.__exit__(None, None, None)


class Sending:
    """The body of a request, which is sent while its answer is waited for."""

    def __init__(self, body: AsyncIterable[bytes] | None) -> None:
        self.body = body
        self.reader: Any = None
        self.writer: Any = None
        if body is not None:
            self.writer, self.reader = byte_stream()
        self.end, self.trailers = trailers_future(lambda: Ok(None))
        # Why the application could not give its body.
        self.error: BaseException | None = None

    async def run(self) -> None:
        end: Any = Ok(None)
        try:
            if self.body is not None:
                async for piece in self.body:
                    await settled(self.writer.write_all(bytes(piece)))
                    if self.writer.reader_dropped:
                        # Who answers before it has read everything wants no more. Its answer says why.
                        break
        except BaseException as error:
            self.error = error
            end = Err(types.ErrorCode_InternalError("the application could not give the whole body"))
        if self.writer is not None:
            self.writer.__exit__(None, None, None)
        await settled(self.end.write(end))


async def send(request: Request, body: AsyncIterable[bytes] | None = None, seconds: float | None = None) -> Answer:
    """Sends a request and waits for its answer, at most `seconds`.

    Raises OutboundError, ValueError for what is no HTTP, and what `body` raises.
    """
    refuse_while_building()
    sending = Sending(body)
    outgoing = outgoing_request(request, sending)
    task = asyncio.create_task(sending.run())
    try:
        answer = Answer(await within(seconds, request.origin, client.send(outgoing)), request.origin, task)
    except Err as error:
        if sending.error is not None:
            raise sending.error from None
        raise failure(error.value, request.origin) from None
    except BaseException:
        task.cancel()
        raise
    if sending.error is not None:
        # The answer is to a request that the application did not finish.
        answer.close()
        raise sending.error
    return answer


def outgoing_request(request: Request, sending: Sending) -> types.Request:
    """The request in the host's form. Raises ValueError."""
    try:
        fields = types.Fields.from_list(request.headers)
    except Err as error:
        raise ValueError(f"HTTP does not allow one of the headers {request.headers!r}: {error.value}") from None
    outgoing, sent = types.Request.new(fields, sending.reader, sending.trailers, None)
    sent.__exit__(None, None, None)
    try:
        outgoing.set_method(method_of(request.method, types))
        outgoing.set_scheme(types.Scheme_Https() if request.scheme == "https" else types.Scheme_Http())
        outgoing.set_authority(request.authority)
        outgoing.set_path_with_query(request.target)
    except Err:
        raise ValueError(f"HTTP does not allow {request.method} {request.origin}{request.target}") from None
    return outgoing


async def within[T](seconds: float | None, origin: str, work: Coroutine[Any, Any, T] | asyncio.Future[T]) -> T:
    """The result of `work`. Raises TimedOut if it is not there after `seconds`."""
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await work
    except TimeoutError:
        if timer.expired() and seconds is not None:
            raise timed_out(origin, seconds) from None
        raise


async def settled(work: Coroutine[Any, Any, Any]) -> None:
    """Waits for what cannot be taken back, also when it is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
