"""The bridge between an ASGI 3.0 application and wasi:http 0.3: `handler(application)` is the handler that the host calls.

One instance runs many requests; while one awaits, others run. See docs/python-async.md for what a component has and has not.
"""

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from componentize_py_types import Err, Ok
from wit_world import (
    byte_stream,
    exports,
    result_option_wasi_http_types_fields_wasi_http_types_error_code_future as trailers_future,
    result_unit_wasi_http_types_error_code_future as received_future,
)
from wit_world.imports.wasi_http_types import (
    ErrorCode_InternalError,
    Fields,
    Method_Other,
    Request,
    Response,
    Scheme_Https,
    Scheme_Other,
)

from wfn.outbound import transport  # noqa: F401, for the libraries that the application imports
from wfn.runtime import lent, timers
from wfn.runtime.timers import loop

# This module is imported while the component is built, before the application, which gets asyncio and its packages whole.
timers.install()
lent.install()

Event = MutableMapping[str, Any]
Application = Callable[[Any, Callable[[], Awaitable[Event]], Callable[[Event], Awaitable[None]]], Awaitable[None]]

VERSIONS = {"version": "3.0", "spec_version": "2.4"}
# The most bytes of a request's body in one event.
PIECE_BYTES_MAX = 65536
# Fields that belong to a connection. The host has its own connection to the client.
CONNECTION_FIELDS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"))
# Statuses whose answers have no body.
STATUSES_WITHOUT_BODY = frozenset((204, 205, 304))


class ClientGone(OSError):
    """The client has gone, so nobody takes the answer."""


class Lifespan:
    """The application's start, once in each instance, before its first request. A shutdown is never sent: the host ends instances."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.state: dict[str, Any] = {}
        self.error: str | None = None
        self.is_received = False
        self.task: asyncio.Task[None] | None = None
        self.is_complete = asyncio.Event()

    async def started(self) -> str | None:
        """Waits until the application has started; returns why it could not."""
        if self.task is None:
            self.task = loop.create_task(self._run(), context=loop.home.context())
        await self.is_complete.wait()
        return self.error

    async def _run(self) -> None:
        try:
            await self.application({"type": "lifespan", "asgi": VERSIONS, "state": self.state}, self._receive, self._send)
        except BaseException as error:
            if self.is_complete.is_set():
                log_exception("the application's lifespan failed after its start", error)
            elif self.is_received:
                log_exception("the application's start failed", error)
                self.error = f"{type(error).__name__}: {error}"
            # Else the application does not take part in lifespan, which is its right.
        finally:
            self.is_complete.set()

    async def _receive(self) -> Event:
        if not self.is_received:
            self.is_received = True
            return {"type": "lifespan.startup"}
        never: Event = await loop.create_future()
        return never

    async def _send(self, event: Event) -> None:
        if event["type"] == "lifespan.startup.failed":
            self.error = str(event.get("message", "")) or "without a reason"
            log(f"the application's start failed: {self.error}")
        self.is_complete.set()


class RequestBody:
    """The body of a request as ASGI's `http.request` events."""

    def __init__(self, request: Request) -> None:
        # The host learns that the body was received as soon as it asks; there is no other word.
        self.stream, self.trailers = Request.consume_body(request, received_future(lambda: Ok(None))[1])
        self.is_read = False
        self.reading: asyncio.Task[Event] | None = None

    async def receive(self) -> Event | None:
        """The next event, or None after the end. May be cancelled: what was read is the next event then."""
        if self.reading is None:
            if self.is_read:
                return None
            self.reading = asyncio.create_task(self._read())
        event = await asyncio.shield(self.reading)
        self.reading = None
        return event

    async def _read(self) -> Event:
        data = await self.stream.read(PIECE_BYTES_MAX)
        if not self.stream.writer_dropped:
            return {"type": "http.request", "body": data, "more_body": True}
        self.is_read = True
        if isinstance(await self.trailers.read(), Err):
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": data, "more_body": False}

    async def close(self) -> None:
        """Tells the host that no more of the body is wanted."""
        if self.reading is not None:
            # A read that has begun cannot be taken back. It ends when bytes come or when the host gives up on the client.
            await asyncio.wait([self.reading])
        if not self.is_read and self.stream.handle is not None:
            self.stream.__exit__(None, None, None)
            self.trailers.__exit__(None, None, None)


class Exchange:
    """One request and its answer."""

    def __init__(self, request: Request) -> None:
        self.scope = scope_of(request)
        self.body = RequestBody(request)
        # The answer, as soon as its head is known.
        self.head: asyncio.Future[Response] = loop.create_future()
        self.start: Event | None = None
        self.stream: Any = None
        self.trailers: Any = None
        # Set when nothing of the answer can follow.
        self.is_over = asyncio.Event()
        self.is_client_gone = False
        self.is_closed = False

    async def run(self, application: Application, lifespan: Lifespan) -> None:
        """Runs the application, to its end also after the answer."""
        try:
            if (error := await lifespan.started()) is not None:
                log(f"no answer to {self.scope['method']} {self.scope['path']}: the application's start failed: {error}")
                return
            self.scope["state"] = lifespan.state.copy()
            await application(self.scope, self.receive, self.send)
            if not self.is_over.is_set():
                log("the application returned before its answer was complete")
        except ClientGone:
            pass
        except BaseException as error:
            if not self.is_client_gone:
                log_exception(f"{self.scope['method']} {self.scope['path']} failed", error)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            await self._finish()
            await self.body.close()

    async def receive(self) -> Event:
        """ASGI's `receive`."""
        event = await self.body.receive()
        if event is None:
            await self.is_over.wait()
            return {"type": "http.disconnect"}
        return event

    async def send(self, event: Event) -> None:
        """ASGI's `send`. Returns when the host has taken the bytes."""
        kind = event["type"]
        if self.is_client_gone:
            raise ClientGone("the client has gone")
        if kind == "http.response.start":
            if self.start is not None:
                raise RuntimeError("http.response.start was sent twice")
            check_start(event)
            self.start = event
        elif kind == "http.response.body":
            if self.start is None:
                raise RuntimeError("http.response.body was sent before http.response.start")
            if self.is_over.is_set():
                raise RuntimeError("http.response.body was sent after the end of the answer")
            # A cancelled application must not break a write off in the middle.
            await asyncio.shield(asyncio.create_task(self._send_body(event.get("body", b""), event.get("more_body", False))))
            if self.is_client_gone:
                raise ClientGone("the client has gone")
        else:
            raise RuntimeError(f"the event {kind!r} is not supported")

    async def _send_body(self, data: bytes, is_more: bool) -> None:
        if not self.head.done():
            self._send_head()
        if self.stream is not None:
            await self.stream.write_all(bytes(data))
            if self.stream.reader_dropped:
                self.is_client_gone = True
                self.is_over.set()
        if not is_more and not self.is_over.is_set():
            self.is_over.set()
            await self._close(Ok(None))

    def _send_head(self) -> None:
        assert self.start is not None
        status = self.start["status"]
        has_body = self.scope["method"] != "HEAD" and status not in STATUSES_WITHOUT_BODY
        self.head.set_result(self._response(status, self.start.get("headers", ()), has_body))

    def _response(self, status: int, headers: Iterable[tuple[bytes, bytes]], has_body: bool) -> Response:
        fields = [
            (bytes(name).decode("latin-1"), bytes(value)) for name, value in headers if bytes(name).lower() not in CONNECTION_FIELDS
        ]
        try:
            fields_of_host = Fields.from_list(fields)
        except Err as error:
            raise ValueError(f"the answer's headers are refused: {error.value} in {fields!r}") from None
        reader = None
        if has_body:
            self.stream, reader = byte_stream()
        self.trailers, trailers = trailers_future(lambda: Err(ErrorCode_InternalError("the answer broke off")))
        response, _ = Response.new(fields_of_host, reader, trailers)
        response.set_status_code(status)
        return response

    async def _close(self, end: Any) -> None:
        """Ends the body: whole, or so that the client sees that it is not."""
        self.is_closed = True
        if self.stream is not None:
            self.stream.__exit__(None, None, None)
        await self.trailers.write(end)

    async def _finish(self) -> None:
        """What the application left undone: a 500, or a body that breaks off."""
        self.is_over.set()
        if not self.head.done():
            text = b"Internal Server Error\n"
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
            self.head.set_result(self._response(500, headers, self.scope["method"] != "HEAD"))
            if self.stream is not None:
                await self.stream.write_all(text)
            await self._close(Ok(None))
        elif not self.is_closed:
            await self._close(Err(ErrorCode_InternalError("the application failed")))


def check_start(event: Event) -> None:
    """Raises where a status is none of HTTP's, or where a header is not bytes."""
    status = event.get("status")
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"the status {status!r} is not one of 200 to 599")
    for name, value in event.get("headers", ()):
        if not isinstance(name, (bytes, bytearray)) or not isinstance(value, (bytes, bytearray)):
            raise TypeError(f"the header {name!r}: {value!r} is not bytes")


def scope_of(request: Request) -> dict[str, Any]:
    """ASGI's `scope` of a request."""
    with request.get_headers() as fields:
        headers = [(name.lower().encode("latin-1"), value) for name, value in fields.copy_all()]
    authority = request.get_authority() or ""
    if authority and not any(name == b"host" for name, _ in headers):
        headers.insert(0, (b"host", authority.encode()))
    scheme = scheme_of(request)
    path, _, query = (request.get_path_with_query() or "/").partition("?")
    prefix = value_of(headers, b"x-forwarded-prefix").rstrip("/")
    client = value_of(headers, b"x-forwarded-for").rpartition(",")[2].strip()
    return {
        "type": "http",
        "asgi": VERSIONS,
        "http_version": "1.1",
        "method": method_of(request),
        "scheme": scheme,
        "path": unquote_to_bytes(prefix + path).decode("utf-8", "replace"),
        "raw_path": (prefix + path).encode(),
        "query_string": query.encode(),
        "root_path": unquote_to_bytes(prefix).decode("utf-8", "replace"),
        "headers": headers,
        # The host does not tell the client's port.
        "client": (client, 0) if client else None,
        "server": server_of(authority, scheme),
        "extensions": {},
    }


def value_of(headers: list[tuple[bytes, bytes]], name: bytes) -> str:
    """The last value of a header, or an empty text."""
    return next((value.decode("latin-1") for key, value in reversed(headers) if key == name), "")


def method_of(request: Request) -> str:
    method = request.get_method()
    return method.value if isinstance(method, Method_Other) else type(method).__name__.removeprefix("Method_").upper()


def scheme_of(request: Request) -> str:
    scheme = request.get_scheme()
    if isinstance(scheme, Scheme_Other):
        return scheme.value
    return "https" if isinstance(scheme, Scheme_Https) else "http"


def server_of(authority: str, scheme: str) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if not colon or len(port) > 5 or not port.isascii() or not port.isdigit() or int(port) > 65535:
        host, port = authority, "443" if scheme == "https" else "80"
    return host.strip("[]"), int(port)


def is_websocket(headers: list[tuple[bytes, bytes]]) -> bool:
    return bool(value_of(headers, b"sec-websocket-key")) or value_of(headers, b"upgrade").lower() == "websocket"


async def refuse_websocket(scope: Any, receive: Any, send: Any) -> None:
    """Answers a request that wants to become a WebSocket."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 501, "headers": headers})
    await send({"type": "http.response.body", "body": b"wfn has no WebSockets: a function answers HTTP requests\n"})


def log(text: str) -> None:
    print(f"wfn: {text}", file=sys.stderr)


def log_exception(text: str, error: BaseException) -> None:
    log(text)
    traceback.print_exception(error, file=sys.stderr)


def handler(application: Application) -> type:
    """The class that a component exports so that `application` answers its requests."""
    if not callable(application):
        raise TypeError(f"the application is {application!r}, which cannot be called")
    lifespan = Lifespan(application)

    class Handler(exports.Handler):
        async def handle(self, request: Request) -> Response:
            exchange = Exchange(request)
            app = refuse_websocket if is_websocket(exchange.scope["headers"]) else application
            asyncio.create_task(exchange.run(app, lifespan))
            return await exchange.head

    return Handler
