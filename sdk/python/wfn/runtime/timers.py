"""asyncio's event loop inside a WASI 0.3 component: timers, tasks, locks and queues that work across calls.

componentize-py brings an event loop without timers, in which each call wakes only itself. `Loop` takes its place. The host calls this
component once for each invocation; each such call has its own queue of callbacks (`Call`), and the host polls it when one of the things
that it waits for is ready. Three rules follow:

- Code of a call runs only while the host polls that call, because the host accounts and logs by call, and an answer can only be
  returned from its own call. A callback for another call wakes that call through a stream of its own (`Wake`).
- A call ends when its last task has ended. Plain timers do not keep it alive.
- What belongs to no call (tasks of lifespan, timers whose call has ended) runs while any call is polled (`Home`).
"""

import asyncio
import contextvars
import heapq
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import componentize_py_async_support as support
import componentize_py_runtime as runtime
import wit_world
from componentize_py_types import Ok
from wit_world.imports import monotonic_clock

from wfn.runtime import begin_instance
from wfn.runtime.blocking import Watch
from wfn.runtime.threadless import LoopWithoutThreads

# One wait of the host's clock takes at most this long (nanoseconds). The host cannot be told that a wait is no longer needed.
ALARM_NANOSECONDS_MAX = 1_000_000_000
# A call that stays busy for this long (seconds) lets the other calls of its worker run.
POLL_SECONDS_MAX = 0.01
# Cancelled timers are removed from the heap when there are at least so many, and they are half of it.
CANCELLED_TIMERS_MIN = 100


class Call:
    """One call of the host into this component: its callbacks, and what it waits for.

    componentize-py makes one for each call and reads the fields without underscore (it calls the class `_FutureState`).
    """

    def __init__(self, waitable_set: int | None, futures: dict[int, Any], handles: list[asyncio.Handle], pending_count: int) -> None:
        self.handles = handles
        # Tasks that have not ended. At 0 the call ends.
        self.pending_count = pending_count
        self.futures: dict[int, Any] = Waiters()
        self.has_ended = False
        self.wake: Wake | None = None
        self._set = waitable_set

    @property
    def waitable_set(self) -> int | None:
        """The set through which the host wakes this call. A call that has ended uses the set of the call that is polled."""
        if self.has_ended:
            return loop.current.waitable_set if loop.current else None
        if self._set is None:
            self._set = runtime.waitable_set_new()
        return self._set

    @waitable_set.setter
    def waitable_set(self, value: int | None) -> None:
        self._set = value

    def drop_set(self) -> None:
        """Gives the set back to the host; nothing may be in it."""
        if self._set is not None:
            runtime.waitable_set_drop(self._set)
            self._set = None


class Waiters(dict[int, Any]):
    """What a call waits for, by the host's number. An event for something that has no call any more is `Home`'s."""

    def pop(self, waitable: int, *default: Any) -> Any:
        if waitable in self:
            return super().pop(waitable, *default)
        loop.keepers.pop(waitable, None)
        return loop.home.futures.pop(waitable, *default)


class Home(Call):
    """What belongs to no call. Its callbacks run while any call is polled; what it waits for is in the set of any call."""

    def __init__(self) -> None:
        super().__init__(None, {}, [], 1)
        self.has_ended = True
        self.futures = {}

    def context(self) -> contextvars.Context:
        """A context in which code belongs to no call."""
        context = contextvars.Context()
        context.run(support._future_state.set, self)
        return context


class Waiter:
    """A result of the host that somebody waits for, or no longer: then it is taken and dropped when it comes."""

    def __init__(self, future: asyncio.Future[int], promise: int) -> None:
        self.future = future
        self.promise = promise

    def set_result(self, event: int) -> None:
        if self.future.done():
            runtime.promise_get_result(event, self.promise)
        else:
            self.future.set_result(event)


class Started:
    """An import of the host that was started without a task. `done` is called when it has ended."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], done: Callable[[], None]) -> None:
        self.coroutine = coroutine
        self.done = done
        self.future: asyncio.Future[int] | None = None
        self.waitable: int | None = None
        try:
            loop.home_context.run(self._start)
        except StopIteration:
            pass

    def _start(self) -> None:
        self.future = self.coroutine.send(None)
        self.waitable = next(reversed(loop.home.futures))
        loop.home.futures[self.waitable] = self

    def set_result(self, event: int) -> None:
        assert self.future is not None
        self.future.set_result(event)
        try:
            loop.home_context.run(self.coroutine.send, None)
        except StopIteration:
            pass
        self.done()


class Wake:
    """Makes the host poll a call: a stream whose reader is in the call's set, and to which this component writes a byte itself."""

    def __init__(self) -> None:
        self.writer, self.reader = wit_world.byte_stream()
        self.call: Call | None = None

    def ring(self, call: Call) -> None:
        """Wakes `call` once."""
        self.call = call
        call.wake = self
        reading = Started(self.reader.read(1), self._heard)
        Started(self.writer.write(b"\0"), lambda: None)
        assert reading.waitable is not None
        loop.keep(reading.waitable, call)

    def _heard(self) -> None:
        if self.call is not None and self.call.wake is self:
            self.call.wake = None
        self.call = None
        loop.wakes.append(self)


class Alarm:
    """One wait for the host's clock, until `due` (seconds on the loop's clock)."""

    def __init__(self, due: float, nanoseconds: int) -> None:
        self.due = due
        self.waitable = Started(monotonic_clock.wait_for(nanoseconds), self._rung).waitable

    def _rung(self) -> None:
        loop.alarms.remove(self)


class Loop(LoopWithoutThreads):
    """The event loop of an instance; all its calls share it."""

    # componentize-py raises this after each poll, which ends the instance: its own code failed, not the app's.
    exception: BaseException | None = None

    def __init__(self) -> None:
        super().__init__()
        self._thread_id = threading.get_ident()
        self.home = Home()
        self.home_context = self.home.context()
        self.calls: dict[Call, None] = {}
        # The call that the host polls right now. When that has ended, the one that takes what it left.
        self.current: Call | None = None
        self.has_current_ended = False
        # In whose set each thing is that `Home` waits for.
        self.keepers: dict[int, Call | None] = {}
        # The last one is due first.
        self.alarms: list[Alarm] = []
        self.wakes: list[Wake] = []
        self.watch = Watch()

    # What componentize-py calls.

    def poll(self, call: Call) -> None:
        """Runs what is ready in `call` and in `home`; the host has woken it or called it for the first time."""
        self.current = call
        try:
            if call not in self.calls:
                self._begin(call)
            until = self.time() + POLL_SECONDS_MAX
            while True:
                self._ready_timers()
                handles, call.handles = call.handles, []
                home_handles, self.home.handles = self.home.handles, []
                for handle in handles:
                    self._run(handle)
                for handle in home_handles:
                    self._run(handle)
                if not call.handles and not self.home.handles:
                    break
                if self.time() > until:
                    if call.pending_count > 0:
                        self._wake(call)
                    break
            if call.pending_count == 0:
                self._end(call)
            else:
                # componentize-py waits in it.
                assert call.waitable_set is not None
            self._set_alarm()
        finally:
            self.current = None
            self.has_current_ended = False
        if self.exception is not None:
            raise self.exception

    def _begin(self, call: Call) -> None:
        # Before anything asks for the time: the clocks of an instance continue from those of the build.
        begin_instance()
        self.calls[call] = None
        for waitable in [waitable for waitable, keeper in self.keepers.items() if keeper is None]:
            self.keep(waitable, call)

    def _end(self, call: Call) -> None:
        """What `call` leaves behind becomes `home`'s; another call, if there is one, takes it into its set."""
        del self.calls[call]
        heir = next(iter(self.calls), None)
        self.current, self.has_current_ended = heir, True
        self.home.handles += call.handles
        left = dict(call.futures)
        call.futures.clear()
        call.has_ended = True
        self.home.futures.update(left)
        self.keepers.update(dict.fromkeys(left, call))
        for waitable in [waitable for waitable, keeper in self.keepers.items() if keeper is call]:
            self.keep(waitable, heir)
        if self.home.handles and heir is not None:
            self._wake(heir)
        call.drop_set()

    def keep(self, waitable: int, call: Call | None) -> None:
        """Moves what `home` waits for into the set of `call`, or into none."""
        self.keepers[waitable] = call
        runtime.waitable_join(waitable, (call and call.waitable_set) or 0)

    # Callbacks.

    def call_of(self, context: contextvars.Context) -> Call:
        """The call to which code in `context` belongs."""
        call = context.get(support._future_state)
        if call is None:
            call = self.current or self.home
            context.run(support._future_state.set, call)
        return self.home if call.has_ended else call

    def _add(self, handle: asyncio.Handle) -> None:
        call = self.call_of(handle._context)  # type: ignore[attr-defined]
        call.handles.append(handle)
        is_polled = call is self.current and not self.has_current_ended
        if self.current is not None and not is_polled and call is not self.home:
            self._wake(call)

    def _call_soon(self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._add(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self._call_soon(callback, args, context)

    def _run(self, handle: asyncio.Handle) -> None:
        if handle._cancelled:
            return
        begun = self.watch.begin()
        try:
            handle._run()
        except (SystemExit, KeyboardInterrupt) as error:
            # asyncio lets these end the loop. Here that would end the other calls of the instance, too.
            self.call_exception_handler({"message": f"{type(error).__name__} in {handle!r}", "exception": error, "handle": handle})
        self.watch.end(begun, handle)

    def _wake(self, call: Call) -> None:
        if call.wake is None:
            (self.wakes.pop() if self.wakes else Wake()).ring(call)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        """A task; its call lives until it has ended."""
        task = super().create_task(coro, **options)
        call = self.call_of(task.get_context())
        if call is not self.home and not task.done():
            call.pending_count += 1

            def ended(_: asyncio.Task[Any]) -> None:
                call.pending_count -= 1

            task.add_done_callback(ended, context=task.get_context())
        return task

    # Timers.

    def _ready_timers(self) -> None:
        """Moves timers that are due to the calls they belong to."""
        if not self._scheduled:
            return
        now = self.time() + self._clock_resolution
        while self._scheduled and (self._scheduled[0]._cancelled or self._scheduled[0]._when <= now):
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            if timer._cancelled:
                self._timer_cancelled_count -= 1
            else:
                self._add(timer)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if not handle._scheduled:  # type: ignore[attr-defined]
            return
        self._timer_cancelled_count += 1
        if CANCELLED_TIMERS_MIN <= self._timer_cancelled_count and len(self._scheduled) <= 2 * self._timer_cancelled_count:
            kept = []
            for timer in self._scheduled:
                if timer._cancelled:
                    timer._scheduled = False
                else:
                    kept.append(timer)
            heapq.heapify(kept)
            self._scheduled = kept
            self._timer_cancelled_count = 0

    def _set_alarm(self) -> None:
        """Has the host wake the call with the next timer when that is due."""
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        if not self._scheduled or not self.calls:
            return
        timer = self._scheduled[0]
        call = self.call_of(timer._context)
        if call is self.home:
            call = next(iter(self.calls))
        if not self.alarms or timer._when < self.alarms[-1].due:
            now = self.time()
            nanoseconds = min(max(int((timer._when - now) * 1e9), 1), ALARM_NANOSECONDS_MAX)
            alarm = Alarm(now + nanoseconds / 1e9, nanoseconds)
            if alarm.waitable is None:
                self._wake(call)
                return
            self.alarms.append(alarm)
        waitable = self.alarms[-1].waitable
        assert waitable is not None
        if self.keepers.get(waitable) is not call:
            self.keep(waitable, call)


async def await_result(result: Any) -> Any:
    """The value of an import of the host. Unlike componentize-py's it may be cancelled: the host's result is dropped when it comes."""
    if isinstance(result, Ok):
        return result.value
    waitable, promise = result.value
    call = support._future_state.get(loop.home)
    future = loop.create_future()
    if call.has_ended:
        loop.home.futures[waitable] = Waiter(future, promise)
        loop.keepers[waitable] = loop.current
    else:
        call.futures[waitable] = Waiter(future, promise)
    if call.waitable_set is not None:
        runtime.waitable_join(waitable, call.waitable_set)
    return runtime.promise_get_result(await future, promise)


loop = Loop()


def install() -> None:
    """Makes `loop` the event loop of this component. To be called while it is built, before the app is imported."""
    support._FutureState = Call
    support._loop = loop
    support.await_result = await_result
    asyncio.set_event_loop(loop)
    asyncio.events._set_running_loop(loop)
    sys.set_asyncgen_hooks(firstiter=loop._asyncgen_firstiter_hook, finalizer=loop._asyncgen_finalizer_hook)
    loop.watch.install()
