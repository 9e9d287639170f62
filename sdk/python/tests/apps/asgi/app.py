"""A bare ASGI application, one path for each thing that the tests ask for."""

import asyncio
import json
import os
import sys
import time

import loops
from wfn.runtime.timers import loop

PIECE = b"x" * 65536
PIECES = 1024

starts = 0
in_flight = 0
in_flight_most = 0
gate = asyncio.Event()
# Of the answers of /large: pieces that the host has taken, and how the last one ended.
taken = 0
ended = asyncio.Event()
how_ended = ""


async def lifespan(scope, receive, send):
    global starts
    mode = os.environ.get("MODE", "")
    if mode == "without":
        raise ValueError("this application knows no lifespan")
    event = await receive()
    assert event == {"type": "lifespan.startup"}
    # Waits, so that requests come meanwhile.
    await asyncio.sleep(0.05)
    starts += 1
    if mode == "raises":
        raise RuntimeError("the database is away")
    if mode == "fails":
        await send({"type": "lifespan.startup.failed", "message": "the database is closed"})
        return
    scope["state"]["made"] = ["at the start"]
    scope["state"]["ticks"] = 0
    ticking = asyncio.create_task(tick(scope["state"]))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    ticking.cancel()


async def tick(state):
    """Goes on as long as the instance does; it belongs to no request."""
    while True:
        await asyncio.sleep(0.01)
        state["made"].append("by a task of lifespan")


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    path = scope["path"].removeprefix(scope["root_path"])
    answer = PATHS.get(path.split("/")[1])
    if answer is None:
        return await text(send, "not found", 404)
    await answer(scope, receive, send)


async def text(send, content, status=200, headers=()):
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content.encode()})


async def show_scope(scope, receive, send):
    await text(send, repr({**scope, "state": scope.get("state", {}).get("made", [None])[0]}))


async def show_starts(scope, receive, send):
    await text(send, str(starts))


async def ticked(scope, receive, send):
    while len(scope["state"]["made"]) < 3:
        await asyncio.sleep(0.01)
    await text(send, scope["state"]["made"][2])


async def echo(scope, receive, send):
    """Sends each piece of the body back, and says how many there were and what followed."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    sizes = []
    more = True
    while more:
        event = await receive()
        sizes.append(len(event["body"]))
        more = event["more_body"]
        await send({"type": "http.response.body", "body": event["body"], "more_body": True})
    await send({"type": "http.response.body"})
    after = await receive()
    print("echo", json.dumps({"pieces": len(sizes), "largest": max(sizes), "after": after["type"]}), file=sys.stderr)


async def impatient(scope, receive, send):
    """Cancels `receive` until the body comes, which must lose none of it."""
    cancelled, body, more = 0, b"", True
    while more:
        try:
            event = await asyncio.wait_for(receive(), 0.01)
        except TimeoutError:
            cancelled += 1
            continue
        body += event["body"]
        more = event["more_body"]
    await text(send, json.dumps({"cancelled": cancelled, "body": body.decode()}))


async def gives_up(scope, receive, send):
    """Answers while it still waits for the body."""
    await receive()
    try:
        await asyncio.wait_for(receive(), 0.01)
    except TimeoutError:
        pass
    await text(send, "the rest is not waited for")


async def unread(scope, receive, send):
    await text(send, "the body was not read")


async def large(scope, receive, send):
    """64 MiB, which no buffer between here and the client holds."""
    global taken, how_ended
    taken, how_ended = 0, ""
    ended.clear()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        for _ in range(PIECES):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            taken += 1
        await send({"type": "http.response.body"})
        how_ended = "whole"
    except OSError as error:
        how_ended = f"OSError: {error}"
        raise
    finally:
        ended.set()


async def large_state(scope, receive, send):
    """How /large ended; waits for that as long as the path says."""
    try:
        await asyncio.wait_for(ended.wait(), float(scope["path"].rpartition("/")[2]))
    except TimeoutError:
        pass
    await text(send, json.dumps({"taken": taken, "ended": how_ended}))


async def together(scope, receive, send):
    """Says how many requests were in flight at once in this worker."""
    global in_flight, in_flight_most
    in_flight += 1
    in_flight_most = max(in_flight_most, in_flight)
    await asyncio.sleep(0.1)
    in_flight -= 1
    await text(send, str(in_flight_most))


async def wait_for_gate(scope, receive, send):
    gate.clear()
    await asyncio.wait_for(gate.wait(), 20)
    await text(send, "the other request opened the gate")


async def open_gate(scope, receive, send):
    """Waits until another request stands at the gate, then lets it through."""
    while not gate._waiters:
        await asyncio.sleep(0)
    gate.set()
    await text(send, "open")


async def fail(scope, receive, send):
    raise ValueError("a secret in the exception")


async def fail_late(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    raise ValueError("after the head")


async def fail_exit(scope, receive, send):
    sys.exit("this must not end the instance")


async def silent(scope, receive, send):
    pass


async def wrong(scope, receive, send):
    """Breaks ASGI in the way that the query names, and says what came of it."""
    start = {"type": "http.response.start", "status": 200, "headers": []}
    events = {
        "body-first": [{"type": "http.response.body"}],
        "start-twice": [start, start],
        "text-header": [{**start, "headers": [("a", "b")]}],
        "bad-header": [{**start, "headers": [(b"a b", b"c\r\nd: e")]}, {"type": "http.response.body"}],
        "bad-status": [{**start, "status": 99}],
        "unknown": [{"type": "http.response.trailers"}],
    }[scope["query_string"].decode()]
    for event in events:
        await send(event)


async def no_body(scope, receive, send):
    headers = [(b"x-a", b"1"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": int(scope["query_string"]), "headers": headers})
    await send({"type": "http.response.body", "body": b"ignored"})


async def background(scope, receive, send):
    """Answers, then works on in the same coroutine and in a task."""

    async def work(name):
        await asyncio.sleep(0.2)
        print(f"{name} is done", file=sys.stderr)
        done.append(name)

    done.clear()
    asyncio.create_task(work("the task"))
    await text(send, str(len(loop.calls)))
    await work("the coroutine")


done: list[str] = []


async def background_done(scope, receive, send):
    while len(done) < 2:
        await asyncio.sleep(0.01)
    # The other call ends as soon as its tasks have.
    while len(loop.calls) > 1:
        await asyncio.sleep(0.001)
    await text(send, json.dumps(sorted(done)))


async def calls(scope, receive, send):
    """How many calls the worker has now; the one that asks is one of them."""
    await text(send, str(len(loop.calls)))


async def holds_the_worker(scope, receive, send):
    await blocks_first()
    await text(send, "held")


async def blocks_first():
    time.sleep(0.06)


async def holds_in_a_thread(scope, receive, send):
    await asyncio.to_thread(blocks_in_a_thread)
    await text(send, "held")


def blocks_in_a_thread():
    time.sleep(0.06)


async def holds_nothing(scope, receive, send):
    await asyncio.sleep(0.08)
    await text(send, "waited")


async def holds_in_a_callback(scope, receive, send):
    event = asyncio.Event()

    def blocks_in_a_callback():
        time.sleep(0.06)
        event.set()

    asyncio.get_running_loop().call_soon(blocks_in_a_callback)
    await event.wait()
    await text(send, "held")


async def checks(scope, receive, send):
    await text(send, json.dumps(await loops.CHECKS[scope["path"].rpartition("/")[2]]()))


PATHS = {
    "scope": show_scope, "starts": show_starts, "ticked": ticked, "echo": echo, "impatient": impatient, "gives-up": gives_up, "unread": unread,
    "large": large, "large-state": large_state, "together": together, "wait-for-gate": wait_for_gate, "open-gate": open_gate,
    "fail": fail, "fail-late": fail_late, "fail-exit": fail_exit, "silent": silent, "wrong": wrong, "no-body": no_body,
    "background": background, "background-done": background_done, "calls": calls, "held": holds_the_worker,
    "held-thread": holds_in_a_thread, "held-not": holds_nothing, "held-callback": holds_in_a_callback, "check": checks,
}  # fmt: skip
