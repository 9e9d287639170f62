"""urllib3, and so requests, over the host, HTTPS too."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from wfn.outbound.errors import HOST_DOES_TLS, NO_PROXY, ConnectFailed, ConnectTimedOut, NameNotFound, TlsFailed, unsupported
from wfn.outbound.message import PORTS, Server
from wfn.outbound.sockets import HostSocket

# Options of TLS that say what the host does anyway. `ca_certs` may name certifi's file: requests always does.
DEFAULTS = {"cert_reqs": ("CERT_REQUIRED", "REQUIRED", 2)}


def patch(module: ModuleType) -> None:
    """After the import of urllib3.connection: replaces what opens a connection, and adds HTTPSConnection, which needs the module ssl."""
    connection: Any = module.HTTPConnection
    real_request, real_getresponse = connection.request, connection.getresponse

    def new_conn(self: Any) -> HostSocket:
        if self.proxy or self._tunnel_host:
            raise unsupported(NO_PROXY)
        scheme = "https" if self.default_port == PORTS["https"] else "http"
        return HostSocket(Server(self.host, self.port, scheme), self.timeout)

    def request(self: Any, *arguments: Any, **options: Any) -> None:
        with errors_of_urllib3(self):
            real_request(self, *arguments, **options)

    def getresponse(self: Any) -> Any:
        with errors_of_urllib3(self):
            return real_getresponse(self)

    connection._new_conn, connection.request, connection.getresponse = new_conn, request, getresponse

    class HTTPSConnection(connection):  # type: ignore[misc]
        default_port = PORTS["https"]

        def __init__(self, host: str, port: int | None = None, **options: Any) -> None:
            own = set(connection.__init__.__kwdefaults__)
            super().__init__(host, port, **{name: value for name, value in options.items() if name in own})
            self.tls_options = {name: value for name, value in options.items() if name not in own}

        def connect(self) -> None:
            check_options(self.tls_options)
            super().connect()
            self.is_verified = True

    module.HTTPSConnection = module.VerifiedHTTPSConnection = HTTPSConnection  # type: ignore[attr-defined]


def check_options(options: dict[str, Any]) -> None:
    """Raises urllib3's SSLError where TLS should be other than the host's."""
    for name, value in options.items():
        if value is None or value in DEFAULTS.get(name, ()) or (name == "ca_certs" and value == certifi_file()):
            continue
        raise exceptions().SSLError(f"{name}={value!r} cannot be had: {HOST_DOES_TLS}")


def exceptions() -> Any:
    return importlib.import_module("urllib3.exceptions")


def certifi_file() -> str | None:
    certifi = sys.modules.get("certifi")
    return None if certifi is None else str(certifi.where())


@contextlib.contextmanager
def errors_of_urllib3(connection: Any) -> Iterator[None]:
    """Raises urllib3's own exceptions where there was no connection: they say that nothing was sent, so that it may try again."""
    try:
        yield
    except NameNotFound as error:
        raise exceptions().NameResolutionError(connection.host, connection, error) from error
    except ConnectTimedOut as error:
        raise exceptions().ConnectTimeoutError(connection, str(error)) from error
    except TlsFailed as error:
        raise exceptions().SSLError(error) from error
    except ConnectFailed as error:
        raise exceptions().NewConnectionError(connection, str(error)) from error
