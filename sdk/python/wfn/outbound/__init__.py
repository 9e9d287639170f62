"""Requests out: makes the libraries that people use send them by the host.

`install` is called while the component is built. From then on each library is changed right after its import, whenever that is.
What is changed is the lowest part that knows of connections, so all that is built on it works as it is.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Module of a library → the function that changes it.
PATCHES = {
    "http.client": "for_http_client.patch_client",
    "urllib.request": "for_http_client.patch_request",
    "urllib3.connection": "for_urllib3.patch",
    "aiohttp.connector": "for_aiohttp.patch",
    "httpx._transports.default": "for_httpx.patch",
}


class Patcher(MetaPathFinder):
    """Finds the modules of `PATCHES` where the other finders do, and changes them when they are loaded."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in PATCHES:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                load = spec.loader.exec_module

                def exec_module(module: ModuleType) -> None:
                    load(module)
                    patch(module)

                setattr(spec.loader, "exec_module", exec_module)
                return spec
        return None


def patch(module: ModuleType) -> None:
    """Changes a module of `PATCHES`."""
    name, _, function = PATCHES[module.__name__].partition(".")
    getattr(importlib.import_module(f"{__name__}.{name}"), function)(module)


def install() -> None:
    """Makes the libraries send their requests by the host, those that are imported already and those that will be."""
    if any(isinstance(finder, Patcher) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Patcher())
    for name in PATCHES:
        if name in sys.modules:
            patch(sys.modules[name])
