"""Packages that cannot be imported without modules that this Python lacks, although they do not need them to answer requests.

anyio and hypercorn import `ssl`, and hypercorn `multiprocessing`, at their top. Those modules are lent to them while they are imported,
and taken back: a stub that stays would make other packages believe that TLS works.
"""

import contextvars
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

# Each package with all modules that ask for something lent, also those that it imports only when a request needs them.
BORROWERS: dict[str, tuple[str, ...]] = {
    "anyio": ("anyio", "anyio._backends._asyncio", "anyio.*", "anyio._core.*", "anyio.streams.*", "anyio.abc.*"),
    "hypercorn": ("hypercorn.config", "hypercorn.asyncio"),
}
# anyio's modules for programs and signals, which a component has not.
NOT_NEEDED = frozenset(("anyio.to_process", "anyio.to_interpreter", "anyio.pytest_plugin", "anyio._core._subprocesses"))


class Stub(ModuleType):
    """A module each of whose names is a class that cannot be used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        base = OSError if name.endswith("Error") else object

        def refuse(*_: Any, **__: Any) -> None:
            raise NotImplementedError(f"{self.__name__}.{name} is not there: this Python runs in WebAssembly")

        stub = type(name, (base,), {"__init__": refuse, "__module__": self.__name__, "SEM_VALUE_MAX": 1})
        setattr(self, name, stub)
        return stub


def install() -> None:
    """Imports the borrowers that are there. While the component is built, before the app is imported."""
    lent = [name for name in ("ssl", "_ssl", "_multiprocessing") if importlib.util.find_spec(name) is None or not can_import(name)]
    before = set(sys.modules)
    for name in lent:
        sys.modules[name] = Stub(name)
    try:
        for package, modules in BORROWERS.items():
            if importlib.util.find_spec(package) is not None:
                for module in modules:
                    import_all(module)
    finally:
        for name in lent:
            sys.modules.pop(name, None)
        # What was made with a stub, such as multiprocessing.synchronize, goes too.
        for name in set(sys.modules) - before:
            if name.startswith("multiprocessing"):
                del sys.modules[name]
    if "anyio" in sys.modules:
        run_threads_inline()


def can_import(name: str) -> bool:
    """Whether a module is there with all that it needs."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def import_all(name: str) -> None:
    """Imports a module, or with `.*` at its end the modules of a package."""
    if not name.endswith(".*"):
        importlib.import_module(name)
        return
    package = importlib.import_module(name[:-2])
    for module in pkgutil.iter_modules(package.__path__, name[:-1]):
        if module.name not in NOT_NEEDED:
            importlib.import_module(module.name)


def run_threads_inline() -> None:
    """`anyio.to_thread.run_sync`, which Starlette uses for `def` endpoints and files, runs its function at once: there are no threads."""
    from wfn.runtime.timers import loop

    backend = sys.modules["anyio._backends._asyncio"]

    async def run_sync_in_worker_thread(
        cls: type, func: Callable[..., Any], args: tuple[Any, ...], abandon_on_cancel: bool = False, limiter: Any = None
    ) -> Any:
        await cls.checkpoint()  # type: ignore[attr-defined]
        return loop.watch.run_inline(contextvars.copy_context().run, func, *args)

    backend.AsyncIOBackend.run_sync_in_worker_thread = classmethod(run_sync_in_worker_thread)
