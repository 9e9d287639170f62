"""Keeps the network out of the build: a socket or a lookup of names would leave a handle in the image, which no instance
has, and the first use of the network would end the instance."""

from __future__ import annotations

import _socket
import socket
from collections.abc import Callable
from typing import Any

LOOKUPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")
_is_building = True
_real_init = socket.socket.__init__


def refuse_while_building() -> None:
    """Raises OSError while the component is built."""
    if _is_building:
        raise OSError("there is no network while the component is built; do this in a function that a request calls")


def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
    def lookup(*arguments: Any, **options: Any) -> Any:
        refuse_while_building()
        return real(*arguments, **options)

    lookup.__name__ = real.__name__
    return lookup


def new_socket(self: socket.socket, *arguments: Any, **options: Any) -> None:
    """`socket.socket()`."""
    refuse_while_building()
    _real_init(self, *arguments, **options)


def install() -> None:
    """Before the application is imported."""
    for name in LOOKUPS:
        replaced = guarded(getattr(_socket, name))
        setattr(_socket, name, replaced)
        if name != "getaddrinfo":
            # socket.getaddrinfo is a function in Python that calls the one of _socket.
            setattr(socket, name, replaced)
    socket.socket.__init__ = new_socket  # type: ignore[method-assign]


def end_build() -> None:
    """From now on the network is what the host grants."""
    global _is_building
    _is_building = False
