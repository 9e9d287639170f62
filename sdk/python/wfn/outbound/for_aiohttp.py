"""aiohttp's client over the host: its connector, with all that `ClientSession` does above it."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from wfn.outbound.errors import (
    HOST_DOES_TLS,
    NO_PROXY,
    ConnectFailed,
    ConnectTimedOut,
    NameNotFound,
    TimedOut,
    TlsFailed,
    unsupported,
)
from wfn.outbound.message import Server


def patch(module: ModuleType) -> None:
    """After the import of aiohttp.connector: TCPConnector connects to the host."""
    aiohttp: Any = importlib.import_module("aiohttp.client_exceptions")

    async def create_connection(self: Any, req: Any, traces: Any, timeout: Any) -> Any:
        # Only an ASGI application has the bindings for it.
        from wfn.outbound.transport import HostTransport

        key = req.connection_key
        if req.proxy:
            raise aiohttp.ClientProxyConnectionError(key, unsupported(NO_PROXY))
        for tls in (req.ssl, self._ssl):
            if tls is not True and tls is not None:
                raise aiohttp.ClientConnectorSSLError(key, unsupported(f"ssl={tls!r} cannot be had: {HOST_DOES_TLS}"))
        protocol = self._factory()

        def has_failed(error: Exception) -> bool:
            own = error_of_aiohttp(aiohttp, key, error)
            if own is not None:
                protocol.set_exception(own, error)
            return own is not None

        HostTransport(protocol, Server(req.url.raw_host, req.port, "https" if req.is_ssl() else "http"), has_failed)
        return protocol

    setattr(module.TCPConnector, "_create_connection", create_connection)


def error_of_aiohttp(aiohttp: Any, key: Any, error: Exception) -> BaseException | None:
    """aiohttp's exception for a request that got no answer; None where the connection was lost."""
    match error:
        case NameNotFound():
            own = aiohttp.ClientConnectorDNSError(key, error)
        case TlsFailed():
            own = aiohttp.ClientConnectorSSLError(key, error)
        case ConnectTimedOut():
            own = aiohttp.ConnectionTimeoutError(str(error))
        case ConnectFailed():
            own = aiohttp.ClientConnectorError(key, error)
        case TimedOut():
            own = aiohttp.SocketTimeoutError(str(error))
        case _:
            return None
    assert isinstance(own, BaseException)
    return own
