"""`http.client` and `urllib.request` over the host, HTTPS too."""

from __future__ import annotations

from http.client import HTTPConnection
from types import ModuleType
from typing import Any

from wfn.outbound.errors import HOST_DOES_TLS, NO_PROXY, ConnectFailed, unsupported
from wfn.outbound.message import PORTS, Server
from wfn.outbound.sockets import HostSocket


def connect(self: HTTPConnection) -> None:
    """`HTTPConnection.connect`."""
    if getattr(self, "_tunnel_host", None):
        raise unsupported(NO_PROXY)
    scheme = "https" if self.default_port == PORTS["https"] else "http"
    self.sock = HostSocket(Server(self.host, self.port, scheme), self.timeout)


class HTTPSConnection(HTTPConnection):
    """What `http.client` has only with the module ssl."""

    default_port = PORTS["https"]

    def __init__(self, host: str, port: int | None = None, *, context: Any = None, **options: Any) -> None:
        if context is not None:
            raise unsupported(f"context: {HOST_DOES_TLS}")
        super().__init__(host, port, **options)


def patch_client(module: ModuleType) -> None:
    """After the import of http.client."""
    setattr(module.HTTPConnection, "connect", connect)
    # urllib.request looks for these when it is imported, and then has a handler for HTTPS.
    setattr(module, "HTTPSConnection", HTTPSConnection)
    setattr(module, "_create_https_context", lambda _version: None)


def patch_request(module: ModuleType) -> None:
    """After the import of urllib.request: who could not connect gets URLError, as always."""
    real_open = module.AbstractHTTPHandler.do_open

    def do_open(self: Any, http_class: Any, request: Any, **options: Any) -> Any:
        try:
            return real_open(self, http_class, request, **options)
        except ConnectFailed as error:
            raise module.URLError(error) from error

    setattr(module.AbstractHTTPHandler, "do_open", do_open)
