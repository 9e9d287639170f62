"""Requests by WASI 0.2. Who waits for an answer holds up the instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from componentize_py_types import Err
from wit_world.imports import monotonic_clock_0_2, outgoing_handler, poll, streams, types

from wfn.outbound.errors import failure, timed_out
from wfn.outbound.message import Head, Request
from wfn.runtime.network import refuse_while_building

# The most that one call of blocking-write-and-flush takes.
WRITE_BYTES_MAX = 4096
READ_BYTES = 65536
# The longest wait in nanoseconds; it fits the host's 64 bits.
WAIT_NANOSECONDS_MAX = 2**62


class Exchange:
    """A request that is on its way, and its answer. First `write` and `finish`, then `head`, then `read`."""

    def __init__(self, request: Request) -> None:
        """Sends the head of a request. Raises OutboundError, OSError while the component is built, and ValueError for what is no HTTP."""
        self.origin = request.origin
        # What the host lends, in the order in which it wants it back.
        self.lent: list[Any] = []
        self.body: Any = None
        self.stream: Any = None
        refuse_while_building()
        outgoing = outgoing_request(request)
        self.body = outgoing.body()
        try:
            self.pending = outgoing_handler.handle(outgoing, None)
        except Err as error:
            raise failure(error.value, self.origin) from None
        self.lent.append(self.pending)
        if request.has_body:
            self.stream = self.body.write()
        else:
            self.finish()

    def write(self, data: bytes) -> None:
        """Sends a part of the body. A server that has answered already gets no more of it."""
        for start in range(0, len(data), WRITE_BYTES_MAX):
            if self.stream is None:
                return
            try:
                self.stream.blocking_write_and_flush(data[start : start + WRITE_BYTES_MAX])
            except Err:
                # Its answer, or the reason why there is none, comes with `head`.
                self._drop_body()

    def finish(self) -> None:
        """Says that the body is complete."""
        if self.stream is not None:
            self.stream.__exit__(None, None, None)
            self.stream = None
        if self.body is not None:
            body, self.body = self.body, None
            try:
                types.OutgoingBody.finish(body, None)
            except Err as error:
                raise ValueError(f"{self.origin}: the body has another length than its content-length says: {error.value}") from None

    def head(self, seconds: float | None = None) -> Head:
        """Waits for the answer, at most `seconds`. Raises OutboundError."""
        wait(self.pending.subscribe(), self.origin, seconds)
        ready: Any = self.pending.get()
        answer = ready.value
        if isinstance(answer, Err):
            raise failure(answer.value, self.origin)
        response = answer.value
        self.lent.insert(0, response)
        with response.headers() as fields:
            headers = fields.entries()
        self.lent.insert(0, response.consume())
        self.lent.insert(0, self.lent[0].stream())
        return Head(response.status(), headers)

    def read(self, seconds: float | None = None) -> bytes:
        """The next bytes of the answer's body; none at its end. Raises OutboundError."""
        stream = self.lent[0]
        try:
            if seconds is not None:
                wait(stream.subscribe(), self.origin, seconds)
            data: bytes = stream.blocking_read(READ_BYTES)
            return data
        except Err as error:
            if isinstance(error.value, streams.StreamError_Closed):
                return b""
            raise failure(types.http_error_code(error.value.value), self.origin) from None

    def pieces(self, seconds: float | None = None) -> Iterator[bytes]:
        """The body of the answer."""
        while data := self.read(seconds):
            yield data

    def close(self) -> None:
        """Gives back what the host lent: a stream before its body, that before its answer. May be called twice."""
        self._drop_body()
        for lent in self.lent:
            lent.__exit__(None, None, None)
        self.lent.clear()

    def _drop_body(self) -> None:
        """Breaks off the request's body, if it is not complete."""
        for lent in (self.stream, self.body):
            if lent is not None:
                lent.__exit__(None, None, None)
        self.stream = self.body = None

    def __del__(self) -> None:
        self.close()


def outgoing_request(request: Request) -> Any:
    """The request in the host's form. Raises ValueError."""
    try:
        fields = types.Fields.from_list(request.headers)
    except Err as error:
        raise ValueError(f"HTTP does not allow one of the headers {request.headers!r}: {error.value}") from None
    outgoing = types.OutgoingRequest(fields)
    try:
        outgoing.set_method(method_of(request.method, types))
        outgoing.set_scheme(types.Scheme_Https() if request.scheme == "https" else types.Scheme_Http())
        outgoing.set_authority(request.authority)
        outgoing.set_path_with_query(request.target)
    except Err:
        raise ValueError(f"HTTP does not allow {request.method} {request.origin}{request.target}") from None
    return outgoing


def method_of(name: str, types: Any) -> Any:
    known = getattr(types, f"Method_{name.capitalize()}", None)
    return known() if known and name.isupper() and name != "OTHER" else types.Method_Other(name)


def wait(pollable: Any, origin: str, seconds: float | None) -> None:
    """Waits until something is ready, at most `seconds`; then it raises TimedOut."""
    with pollable:
        if seconds is None:
            pollable.block()
            return
        nanoseconds = min(max(int(seconds * 1e9), 0), WAIT_NANOSECONDS_MAX)
        with monotonic_clock_0_2.subscribe_duration(nanoseconds) as timer:
            if 0 not in poll.poll([pollable, timer]):
                raise timed_out(origin, seconds)
