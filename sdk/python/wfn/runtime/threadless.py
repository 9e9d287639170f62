"""The parts of an event loop that need threads, processes or sockets, none of which a component has."""

import asyncio
import sys
import traceback
from collections.abc import Callable
from typing import Any

from wfn.runtime.blocking import Watch

NO_SOCKETS = "a function has no sockets: send HTTP requests through wasi:http"


class LoopWithoutThreads(asyncio.BaseEventLoop):
    """An event loop that runs always. What should run in a thread runs at once; sockets are refused with words."""

    watch: Watch
    # What asyncio's own loop has, for type checkers.
    _asyncgen_finalizer_hook: Callable[[Any], None]
    _asyncgen_firstiter_hook: Callable[[Any], None]
    _clock_resolution: float
    _scheduled: list[Any]
    _timer_cancelled_count: int

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Runs `func` at once; nothing else in this instance runs meanwhile. `executor` is not used."""
        future = self.create_future()
        try:
            future.set_result(self.watch.run_inline(func, *args))
        except StopIteration as error:
            future.set_exception(RuntimeError(f"{func!r} raised StopIteration").with_traceback(error.__traceback__))
        except Exception as error:
            future.set_exception(error)
        return future

    def set_default_executor(self, executor: Any) -> None:
        """Nothing: there are no threads."""

    def run_forever(self) -> None:
        raise RuntimeError("the event loop of a component runs already")

    def stop(self) -> None:
        """Nothing: the loop lives as long as the instance."""

    def close(self) -> None:
        """Nothing: the loop lives as long as the instance."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Writes what nobody caught to the log, with its traceback."""
        print(f"asyncio: {context.get('message') or 'unhandled exception in event loop'}", file=sys.stderr)
        if (error := context.get("exception")) is not None:
            traceback.print_exception(error, file=sys.stderr)


def _no_sockets(*_: Any, **__: Any) -> Any:
    raise NotImplementedError(NO_SOCKETS)


for _name in (
    "add_reader", "remove_reader", "add_writer", "remove_writer", "create_connection", "create_server", "create_datagram_endpoint",
    "create_unix_connection", "create_unix_server", "connect_accepted_socket", "start_tls", "sendfile", "sock_accept", "sock_connect",
    "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into", "sock_sendall", "sock_sendfile", "sock_sendto",
):  # fmt: skip
    setattr(LoopWithoutThreads, _name, _no_sockets)
