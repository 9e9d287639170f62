"""Why a request got no answer: the host's error codes as exceptions of Python."""

from __future__ import annotations

import errno
import re
import socket
from typing import Any


class OutboundError(OSError):
    """A request got no answer, or no whole one."""


class ConnectFailed(OutboundError, ConnectionError):
    """Nothing of the request has reached a server."""


class Refused(ConnectFailed):
    """The manifest of the app does not allow it."""


class NameNotFound(ConnectFailed, socket.gaierror):
    """The server's name has no address."""


class ConnectTimedOut(ConnectFailed, TimeoutError):
    """There was no connection in time."""


class TlsFailed(ConnectFailed):
    """The server's certificate is not valid, or TLS failed otherwise."""


class TimedOut(OutboundError, TimeoutError):
    """The answer, or more of it, did not come in time."""


class BrokenOff(OutboundError, ConnectionError):
    """The exchange broke off after it had begun."""


class Unsupported(OutboundError):
    """What a library was asked for does not exist here."""


NO_PROXY = "requests go through the host, so there are no proxies: remove the proxy, or the setting HTTP_PROXY or HTTPS_PROXY"
HOST_DOES_TLS = "the host does TLS; it always checks certificates, and trusts those that its system trusts (docs/python.md)"


def unsupported(text: str) -> Unsupported:
    return Unsupported(errno.EOPNOTSUPP, text)


# WASI's code, as Python's bindings write it → the exception, its number, and what is wrong.
_KNOWN: dict[str, tuple[type[OutboundError], int, str]] = {
    "HttpRequestDenied": (
        Refused, errno.EACCES, 'the app may not send requests there; to allow it: allowed_outbound_hosts = ["{origin}"] in wfn.toml',
    ),
    "DestinationIpProhibited": (
        Refused, errno.EACCES,
        "the address of the server needs an entry of its own in allowed_outbound_hosts of wfn.toml; the app's log says which",
    ),
    "DnsError": (NameNotFound, socket.EAI_NONAME, "the name has no address"),
    "DnsTimeout": (NameNotFound, socket.EAI_AGAIN, "the name was not found in time"),
    "DestinationNotFound": (NameNotFound, socket.EAI_NONAME, "the name has no address"),
    "DestinationUnavailable": (ConnectFailed, errno.EHOSTUNREACH, "the server cannot be reached"),
    "DestinationIpUnroutable": (ConnectFailed, errno.EHOSTUNREACH, "the server cannot be reached"),
    "ConnectionRefused": (ConnectFailed, errno.ECONNREFUSED, "the server does not accept connections"),
    "ConnectionLimitReached": (ConnectFailed, errno.EAGAIN, "all connections of the app or the host are in use"),
    "ConnectionTimeout": (ConnectTimedOut, errno.ETIMEDOUT, "the server did not accept the connection in time"),
    "TlsProtocolError": (TlsFailed, errno.EPROTO, "TLS failed"),
    "TlsCertificateError": (TlsFailed, errno.EPROTO, "the server's certificate is not valid, and the host trusts no other"),
    "TlsAlertReceived": (TlsFailed, errno.EPROTO, "the server ended TLS"),
    "ConnectionReadTimeout": (TimedOut, errno.ETIMEDOUT, "the answer did not come in time"),
    "ConnectionWriteTimeout": (TimedOut, errno.ETIMEDOUT, "the request was not taken in time"),
    "HttpResponseTimeout": (TimedOut, errno.ETIMEDOUT, "the answer did not come in time"),
    "LoopDetected": (ConnectFailed, errno.ELOOP, "the apps call each other without end"),
}  # fmt: skip


def failure(code: Any, origin: str) -> OutboundError:
    """The exception for WASI's error `code`. `origin` is where the request went, such as `https://example.com`."""
    name = type(code).__name__.removeprefix("ErrorCode_")
    kind, number, text = _KNOWN.get(name, (BrokenOff, errno.ECONNRESET, "the exchange broke off"))
    # The host does not always have a code.
    wasi = "" if code is None else " (" + re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower() + ")"
    return kind(number, f"{origin}: {text.format(origin=origin)}{wasi}")


def timed_out(origin: str, seconds: float) -> TimedOut:
    return TimedOut(errno.ETIMEDOUT, f"{origin}: no answer, or no more of it, within {seconds:g} s")
