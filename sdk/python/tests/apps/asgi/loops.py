"""What asyncio does inside a component; each function returns what it saw."""

import asyncio
import contextvars

from wfn.runtime.timers import loop as component_loop
from wit_world.imports import monotonic_clock

variable = contextvars.ContextVar("variable", default="nothing")


async def timers():
    """Timers run in the order of their times, and none that was cancelled."""
    loop, ran, done = asyncio.get_running_loop(), [], asyncio.Event()
    begun = loop.time()
    loop.call_later(0.03, ran.append, "third")
    loop.call_at(begun + 0.02, ran.append, "second")
    cancelled = loop.call_later(0.015, ran.append, "cancelled")
    loop.call_later(0.01, ran.append, "first")
    loop.call_later(0.04, done.set)
    cancelled.cancel()
    await done.wait()
    return {"ran": ran, "early": loop.time() - begun < 0.04}


async def timeouts():
    seen = []
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(30)
    except TimeoutError:
        seen.append("timeout")
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)
    except TimeoutError:
        seen.append("wait_for")
    seen.append(await asyncio.wait_for(asyncio.sleep(0.01, "in time"), 30))
    done, pending = await asyncio.wait([asyncio.create_task(asyncio.sleep(n)) for n in (0.01, 30)], timeout=0.05)
    seen.append([len(done), len(pending)])
    for task in pending:
        task.cancel()
    return seen


async def groups():
    """TaskGroup, gather and as_completed; a failure cancels the others of its group."""
    ended = []

    async def sleeper(seconds, name):
        try:
            await asyncio.sleep(seconds)
            return name
        except asyncio.CancelledError:
            ended.append(f"{name} cancelled")
            raise

    async def fails():
        await asyncio.sleep(0.01)
        raise ValueError("one of the group")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper(30, "long"))
            group.create_task(fails())
    except* ValueError as errors:
        ended.append(str(errors.exceptions[0]))
    gathered = await asyncio.gather(sleeper(0.02, "a"), sleeper(0.01, "b"), fails(), return_exceptions=True)
    order = [await task for task in asyncio.as_completed([sleeper(0.03, "late"), sleeper(0.01, "soon")])]
    return {"ended": sorted(ended), "gathered": [str(value) for value in gathered], "order": order}


async def tools():
    """Event, Queue, Lock, Semaphore, Condition and Barrier between tasks."""
    queue, lock, log = asyncio.Queue(maxsize=2), asyncio.Lock(), []

    async def produces():
        for number in range(5):
            await queue.put(number)
        await queue.join()

    async def consumes():
        while True:
            number = await queue.get()
            async with lock:
                await asyncio.sleep(0)
                log.append(number)
            queue.task_done()

    consumers = [asyncio.create_task(consumes()) for _ in range(2)]
    await produces()
    for consumer in consumers:
        consumer.cancel()
    barrier = asyncio.Barrier(3)
    positions = await asyncio.gather(*(barrier.wait() for _ in range(3)))
    semaphore = asyncio.Semaphore(1)
    async with semaphore:
        is_locked = semaphore.locked()
    return {"log": sorted(log), "positions": sorted(positions), "locked": is_locked}


async def threads():
    """What should run in a thread runs at once, with the context of its caller."""
    variable.set("of the caller")
    errors = []
    try:
        await asyncio.to_thread(int, "no number")
    except ValueError as error:
        errors.append(str(error))
    loop = asyncio.get_running_loop()
    return [await asyncio.to_thread(variable.get), await loop.run_in_executor(None, sum, [1, 2]), errors]


async def contexts():
    """Each task has a context of its own."""

    async def sets(value):
        variable.set(value)
        await asyncio.sleep(0.01)
        return variable.get()

    variable.set("outer")
    values = await asyncio.gather(sets("a"), sets("b"))
    empty = await asyncio.create_task(sets("c"), context=contextvars.Context())
    return [*values, empty, variable.get()]


async def handlers():
    """An exception that nobody awaits reaches the loop's handler; a task factory makes the tasks."""
    loop, seen = asyncio.get_running_loop(), []

    def fails():
        raise ValueError("in a callback")

    loop.set_exception_handler(lambda _, context: seen.append(str(context["exception"])))
    loop.call_soon(fails)
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    loop.call_soon(fails)
    await asyncio.sleep(0)

    def factory(loop, coroutine, **options):
        seen.append(coroutine.__name__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def made():
        return "made"

    loop.set_task_factory(factory)
    try:
        seen.append(await asyncio.create_task(made()))
    finally:
        loop.set_task_factory(None)
    return seen


async def runs():
    """A second loop is refused with words."""
    coroutine, words = asyncio.sleep(0), []
    for attempt in (asyncio.run, asyncio.get_running_loop().run_until_complete):
        try:
            attempt(coroutine)
        except RuntimeError as error:
            words.append(str(error))
    coroutine.close()
    try:
        await asyncio.open_connection("127.0.0.1", 1)
    except (OSError, NotImplementedError) as error:
        words.append(str(error))
    return words


async def imports():
    """An import of the host can be cancelled; the host's answer to it is dropped when it comes."""
    try:
        await asyncio.wait_for(monotonic_clock.wait_for(30_000_000), 0.005)
    except TimeoutError:
        await monotonic_clock.wait_for(60_000_000)
        return "cancelled"


async def cancelled_timers():
    """Of timers far ahead that were cancelled nothing is left but a few entries."""
    for _ in range(1000):
        async with asyncio.timeout(3600):
            pass
    return len(component_loop._scheduled) < 250


async def generators():
    """An asynchronous generator that was left in the middle is closed."""
    closed = asyncio.Event()

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.set()

    async for number in numbers():
        break
    await asyncio.wait_for(closed.wait(), 20)
    return number


async def fair():
    """A call that is busy lets timers run."""
    loop, rounds = asyncio.get_running_loop(), 0
    rang = asyncio.Event()
    loop.call_later(0.03, rang.set)
    while not rang.is_set():
        rounds += 1
        await asyncio.sleep(0)
    return rounds > 1


CHECKS = {
    check.__name__: check
    for check in (timers, timeouts, groups, tools, threads, contexts, handlers, runs, imports, cancelled_timers, generators, fair)
}
