"""Makes fresh in each instance what the image froze: generators of random numbers, clocks, `uuid`'s state, the environment.

The seed of `hash` cannot be changed after Python has started; docs/python.md says what follows from that.
"""

from __future__ import annotations

import os
import random
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

CLOCKS = ("monotonic", "perf_counter", "process_time")
# What `uuid` remembers of the machine and of the last identifiers it made, and the values it begins with.
UUID_STATE = {
    "_node": None,
    "_last_timestamp": None,
    "_last_timestamp_v6": None,
    "_last_timestamp_v7": None,
    "_last_counter_v7": 0,
}

_real_seed = random.Random.seed
# Generators that were seeded by chance while the component was built. One seeded with a value stays as it is.
_unseeded: weakref.WeakSet[random.Random] = weakref.WeakSet()
_initial_environment: dict[str, str] = {}
# Names that `--env` set for the build only.
_build_settings: set[str] = set()
# What the application itself set while it was imported.
_set_at_build: dict[str, str] = {}
_clocks: list[Clock] = []
# Names of settings that were read while the component was built → the line that read them first.
_read_at_build: dict[str, str] = {}
_real_get: Callable[[Any, str], str] = os._Environ.__getitem__


class Clock:
    """A clock that continues in the instance where it was in the build.

    The clock of an instance begins near 0. A time that a module took while the component was built would lie ahead of it,
    and differences would be negative.
    """

    def __init__(self, name: str) -> None:
        self.real_ns: Callable[[], int] = getattr(time, f"{name}_ns")
        self.offset_ns = 0
        self.stopped_ns = 0

    def ns(self) -> int:
        return self.real_ns() + self.offset_ns

    def seconds(self) -> float:
        return (self.real_ns() + self.offset_ns) / 1e9

    def stop(self) -> None:
        """Remembers the time at the end of the build."""
        self.stopped_ns = self.ns()

    def resume(self) -> None:
        """Goes on from there."""
        self.offset_ns = self.stopped_ns - self.real_ns()


def install(build_settings: list[str]) -> None:
    """Replaces clocks and watches generators, before the application is imported."""
    for name in CLOCKS:
        clock = Clock(name)
        _clocks.append(clock)
        setattr(time, f"{name}_ns", clock.ns)
        setattr(time, name, clock.seconds)
    random.Random.seed = seed  # type: ignore[method-assign, assignment]
    _initial_environment.update(os.environ)
    _build_settings.update(build_settings)
    os._Environ.__getitem__ = get_setting  # type: ignore[method-assign, assignment]


def seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
    """`Random.seed` while the component is built: notes who was seeded by chance."""
    _real_seed(generator, a, version)
    if a is None:
        _unseeded.add(generator)
    else:
        _unseeded.discard(generator)


def get_setting(environment: Any, name: str) -> str:
    """`os.environ[name]` while the component is built: notes which line of the application reads it."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in ("os", "collections.abc", "_collections_abc"):
        frame = frame.f_back
    place = frame.f_code.co_filename
    if place.startswith("/0/") and isinstance(name, str):
        _read_at_build.setdefault(name, f"{place}:{frame.f_lineno}")
    value = _real_get(environment, name)
    assert isinstance(value, str)
    return value


def end_build() -> dict[str, str]:
    """Puts back what only the build needs, and remembers what the instances continue from.

    Returns the settings that the application read, and the line that read each.
    """
    random.Random.seed = _real_seed  # type: ignore[method-assign]
    os._Environ.__getitem__ = _real_get  # type: ignore[method-assign, assignment]
    for name, value in os.environ.items():
        if _initial_environment.get(name) != value:
            _set_at_build[name] = value
    for clock in _clocks:
        clock.stop()
    return {name: place for name, place in _read_at_build.items() if name not in _set_at_build}


def begin_instance() -> None:
    """Before the first request of an instance. componentize-py has filled `os.environ` with the instance's own by then."""
    for clock in _clocks:
        clock.resume()
    for generator in list(_unseeded):
        generator.seed()
    uuid = sys.modules.get("uuid")
    for name, state in UUID_STATE.items():
        if hasattr(uuid, name):
            setattr(uuid, name, state)
    for name, value in _set_at_build.items():
        os.environ.setdefault(name, value)
