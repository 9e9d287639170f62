"""Says in the log which coroutine function held the worker: while one computes or blocks, no other call of the instance runs.

The interpreter tells where the app's own coroutines start, stop and wait (`sys.monitoring`). Other code is left alone after its first run,
because each such word costs microseconds. The time of what a coroutine of the app calls or awaits in a package is the coroutine's.
"""

import asyncio
import functools
import os
import sys
import time
from collections.abc import Callable
from types import CodeType
from typing import Any

# A step of the event loop that takes longer than this (seconds) is reported.
HELD_SECONDS_MAX = 0.05
# At most so many functions are named by one instance.
REPORTS_MAX = 100

CO_COROUTINE = 0x80
CO_ASYNC_GENERATOR = 0x200
TOOL = 4
# Folders whose coroutines are not the app's: Python's, what componentize-py made, and this package's.
FOREIGN_FOLDERS = ("/python/", "/world/", "/bundled/", os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/")


class Watch:
    """Measures the steps of an event loop and reports those that took too long, each function once."""

    def __init__(self) -> None:
        # Of each coroutine that runs: its code, when it began, and the seconds that coroutines it awaits took of that.
        self.running: list[list[Any]] = []
        # Coroutine functions that took too long in this step, with their own seconds.
        self.held: list[tuple[CodeType, float]] = []
        self.reported: set[Any] = set()
        self.foreign_folders: tuple[str, ...] = FOREIGN_FOLDERS

    def install(self) -> None:
        """Has the interpreter tell about coroutines from now on."""
        self.foreign_folders += tuple(f"{folder}/" for folder in sys.path if has_packages(folder))
        monitoring, events = sys.monitoring, sys.monitoring.events
        monitoring.use_tool_id(TOOL, "wfn")
        for event in (events.PY_START, events.PY_RESUME):
            monitoring.register_callback(TOOL, event, self._enter)
        for event in (events.PY_RETURN, events.PY_YIELD):
            monitoring.register_callback(TOOL, event, self._leave)
        monitoring.register_callback(TOOL, events.PY_THROW, self._enter_by_exception)
        monitoring.register_callback(TOOL, events.PY_UNWIND, self._leave_by_exception)
        monitoring.set_events(
            TOOL, events.PY_START | events.PY_RESUME | events.PY_RETURN | events.PY_YIELD | events.PY_THROW | events.PY_UNWIND
        )

    def _enter(self, code: CodeType, offset: int) -> object:
        if not self.is_watched(code):
            return sys.monitoring.DISABLE
        self.running.append([code, time.perf_counter(), 0.0])
        return None

    def _leave(self, code: CodeType, offset: int, value: object) -> object:
        if not self.is_watched(code):
            return sys.monitoring.DISABLE
        self._pop(code)
        return None

    def _enter_by_exception(self, code: CodeType, offset: int, error: BaseException) -> None:
        if self.is_watched(code):
            self.running.append([code, time.perf_counter(), 0.0])

    def _leave_by_exception(self, code: CodeType, offset: int, error: BaseException) -> None:
        if self.is_watched(code):
            self._pop(code)

    def _pop(self, code: CodeType) -> None:
        if not self.running or self.running[-1][0] is not code:
            return
        _, begun, awaited = self.running.pop()
        took = time.perf_counter() - begun
        if self.running:
            self.running[-1][2] += took
        if took - awaited > HELD_SECONDS_MAX:
            self.held.append((code, took - awaited))

    def is_watched(self, code: CodeType) -> bool:
        """Whether it is a coroutine function of the app."""
        return bool(code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR)) and not code.co_filename.startswith(self.foreign_folders)

    def run_inline(self, func: Callable[..., Any], *args: Any) -> Any:
        """Runs what should run in a thread. If it takes too long it is named itself, not the coroutine that waits for it."""
        begun, outer = time.perf_counter(), self.running
        self.running = []
        try:
            return func(*args)
        finally:
            took = time.perf_counter() - begun
            self.running = outer
            if outer:
                outer[-1][2] += took
            if took > HELD_SECONDS_MAX:
                self.held.append((function_of(func, args), took))

    def begin(self) -> float:
        """Before a step."""
        self.running.clear()
        self.held.clear()
        return time.perf_counter()

    def end(self, begun: float, handle: asyncio.Handle) -> None:
        """After the step of `handle`, which began at `begun`."""
        took = time.perf_counter() - begun
        if took <= HELD_SECONDS_MAX:
            return
        for key, seconds in self.held or [(callback_of(handle), took)]:
            if key not in self.reported and len(self.reported) < REPORTS_MAX:
                self.reported.add(key)
                print(
                    f"wfn: {described(key)} held the worker for {seconds * 1000:.0f} ms without await; "
                    "no other call in this instance ran meanwhile",
                    file=sys.stderr,
                )


def has_packages(folder: str) -> bool:
    """Whether packages are installed in a folder."""
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(folder))
    except OSError:
        return False


def function_of(func: Any, args: tuple[Any, ...]) -> Any:
    """The code of a function that something else calls for it: `functools.partial`, a context's `run`, a decorator. Or else its name."""
    while True:
        if isinstance(func, functools.partial):
            func, args = func.func, func.args + args
        elif getattr(func, "__name__", "") == "run" and args and callable(args[0]):
            func, args = args[0], args[1:]
        elif hasattr(func, "__wrapped__"):
            func = func.__wrapped__
        else:
            return getattr(func, "__code__", None) or repr(func)


def callback_of(handle: asyncio.Handle) -> Any:
    """What a step ran: the code of the innermost coroutine that its task waits in, or of its callback. Or else the name."""
    callback = handle._callback  # type: ignore[attr-defined]
    owner = getattr(callback, "__self__", None)
    if not isinstance(owner, asyncio.Task):
        return function_of(callback, tuple(handle._args or ()))
    coroutine: Any = owner.get_coro()
    while hasattr(getattr(coroutine, "cr_await", None), "cr_code"):
        coroutine = coroutine.cr_await
    return getattr(coroutine, "cr_code", None) or repr(coroutine)


def described(key: Any) -> str:
    """The function's name with file and line."""
    if not isinstance(key, CodeType):
        return f"function {key}"
    kind = "coroutine function" if key.co_flags & CO_COROUTINE else "async generator" if key.co_flags & CO_ASYNC_GENERATOR else "function"
    return f"{kind} {key.co_qualname} ({key.co_filename}:{key.co_firstlineno})"
