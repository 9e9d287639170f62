"""httpx over the host: its transports, synchronous and asynchronous, with all that clients do above them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

from wfn.outbound.blocking import Exchange
from wfn.outbound.errors import HOST_DOES_TLS, NO_PROXY, BrokenOff, ConnectFailed, ConnectTimedOut, OutboundError, TimedOut, Unsupported
from wfn.outbound.message import PORTS, Head, Request, Server, check, reason_of, sendable

# Options of a transport that say what the host does anyway, or what only concerns connections of one's own.
WITHOUT_EFFECT = ("trust_env", "http1", "http2", "limits", "retries", "socket_options")


def patch(module: ModuleType) -> None:
    """After the import of httpx._transports.default: the two transports send by the host."""
    httpx: Any = module

    class Stream(httpx.SyncByteStream):  # type: ignore[misc]
        def __init__(self, exchange: Exchange, seconds: float | None) -> None:
            self.exchange, self.seconds = exchange, seconds

        def __iter__(self) -> Iterator[bytes]:
            with errors_of_httpx(httpx):
                yield from self.exchange.pieces(self.seconds)

        def close(self) -> None:
            self.exchange.close()

    class AsyncStream(httpx.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, answer: Any, seconds: float | None) -> None:
            self.answer, self.seconds = answer, seconds

        async def __aiter__(self) -> AsyncIterator[bytes]:
            with errors_of_httpx(httpx):
                async for piece in self.answer.pieces(self.seconds):
                    yield piece

        async def aclose(self) -> None:
            self.answer.close()

    def init(self: Any, verify: Any = True, cert: Any = None, **options: Any) -> None:
        if options.pop("proxy", None) is not None:
            raise httpx.ProxyError(NO_PROXY)
        if verify not in (True, None) or cert is not None:
            raise httpx.ConnectError(f"verify={verify!r}, cert={cert!r} cannot be had: {HOST_DOES_TLS}")
        for name, value in options.items():
            if name not in WITHOUT_EFFECT and value is not None:
                raise httpx.UnsupportedProtocol(f"{name}={value!r} cannot be had: the host makes the connections")

    def handle_request(self: Any, request: Any) -> Any:
        seconds = request.extensions.get("timeout", {}).get("read")
        with errors_of_httpx(httpx):
            exchange = Exchange(outgoing(httpx, request))
            try:
                for piece in request.stream:
                    exchange.write(piece)
                exchange.finish()
                head = exchange.head(seconds)
            except BaseException:
                exchange.close()
                raise
        return response(httpx, head, Stream(exchange, seconds))

    async def handle_async_request(self: Any, request: Any) -> Any:
        # Only an ASGI application has the bindings for it.
        from wfn.outbound.awaiting import send

        seconds = request.extensions.get("timeout", {}).get("read")
        with errors_of_httpx(httpx):
            sent = outgoing(httpx, request)
            answer = await send(sent, request.stream if sent.has_body else None, seconds)
        return response(httpx, answer.head, AsyncStream(answer, seconds))

    def enter(self: Any) -> Any:
        return self

    def leave(self: Any, *_: Any) -> None:
        """Nothing: the host keeps the connections."""

    async def enter_async(self: Any) -> Any:
        return self

    async def leave_async(self: Any, *_: Any) -> None:
        """Nothing: the host keeps the connections."""

    transport, asynchronous = httpx.HTTPTransport, httpx.AsyncHTTPTransport
    transport.__init__ = asynchronous.__init__ = init
    transport.handle_request, asynchronous.handle_async_request = handle_request, handle_async_request
    transport.__enter__, transport.__exit__, transport.close = enter, leave, leave
    asynchronous.__aenter__, asynchronous.__aexit__, asynchronous.aclose = enter_async, leave_async, leave_async


def outgoing(httpx: Any, request: Any) -> Request:
    """httpx's request for the host."""
    url, headers = request.url, request.headers
    if url.scheme not in PORTS:
        raise httpx.UnsupportedProtocol(f"{url}: use http:// or https://")
    server = Server(url.raw_host.decode(), url.port or PORTS[url.scheme], url.scheme)
    target = url.raw_path.decode()
    check(server, request.method, target, headers.get("host", "").encode("latin-1"), "upgrade" in headers)
    fields = sendable((name.decode("latin-1"), value) for name, value in headers.raw)
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    return Request(request.method, url.scheme, server.authority, target, fields, has_body)


def response(httpx: Any, head: Head, stream: Any) -> Any:
    """The host's answer for httpx."""
    headers = [(name.encode("latin-1"), value) for name, value in head.headers]
    extensions = {"http_version": b"HTTP/1.1", "reason_phrase": reason_of(head.status).encode()}
    return httpx.Response(status_code=head.status, headers=headers, stream=stream, extensions=extensions)


@contextlib.contextmanager
def errors_of_httpx(httpx: Any) -> Iterator[None]:
    """Raises httpx's own exceptions."""
    kinds = (
        (ConnectTimedOut, httpx.ConnectTimeout),
        (ConnectFailed, httpx.ConnectError),
        (TimedOut, httpx.ReadTimeout),
        (BrokenOff, httpx.RemoteProtocolError),
        (Unsupported, httpx.UnsupportedProtocol),
    )
    try:
        yield
    except OutboundError as error:
        raise next((own for kind, own in kinds if isinstance(error, kind)), httpx.ReadError)(str(error)) from error
