"""The bindings of WASI 0.2, whose names depend on whether the component has those of WASI 0.3, too."""

from __future__ import annotations

import importlib
from typing import Any


def bindings(*names: str) -> Any:
    """The first of these modules that is there."""
    for name in names:
        try:
            return importlib.import_module(f"wit_world.imports.{name}")
        except ModuleNotFoundError:
            continue
    raise ImportError(f"the component has no bindings for {names[0]}; build it with wfn.build")


types = bindings("wasi_http_types_0_2_0", "types")
monotonic_clock = bindings("wasi_clocks_monotonic_clock_0_2_0", "monotonic_clock")
outgoing_handler = bindings("outgoing_handler")
poll = bindings("poll")
streams = bindings("streams")
