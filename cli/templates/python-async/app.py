"""{{name}}: an HTTP function as an ASGI application. One instance answers many requests at a time."""

import asyncio
import json
import time
from urllib.parse import parse_qs


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    # The host removes the app's name from the path, and ASGI puts it back as root_path.
    path = scope["path"].removeprefix(scope["root_path"]) or "/"
    match path:
        case "/":
            await hello(scope, receive, send)
        case "/wait":
            await wait(scope, receive, send)
        case "/echo":
            await echo(scope, receive, send)
        case _:
            await answer(send, 404, b"not found\n")


async def lifespan(scope, receive, send):
    """Runs once in each instance, before its first request."""
    await receive()
    # What is here is in the scope of each request.
    scope["state"]["started"] = time.time()
    await send({"type": "lifespan.startup.complete"})


async def hello(scope, receive, send):
    name = parse_qs(scope["query_string"].decode()).get("name", ["world"])[0]
    await answer(send, 200, f"Hello, {name}, from {{name}}!\n".encode())


async def wait(scope, receive, send):
    """Waits for several things at once; other requests are answered meanwhile."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.sleep(0.1, number)) for number in range(10)]
    waited = [task.result() for task in tasks]
    milliseconds = (time.monotonic() - begun) * 1000
    # What is printed lands in the app's log.
    print(f"waited for {len(waited)} things in {milliseconds:.0f} ms")
    body = json.dumps({"waited_for": waited, "milliseconds": round(milliseconds)})
    await answer(send, 200, body.encode() + b"\n", b"application/json")


async def echo(scope, receive, send):
    """Sends the request's body back, piece by piece, as it arrives."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/octet-stream")]})
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        await send({"type": "http.response.body", "body": event["body"], "more_body": event["more_body"]})
        if not event["more_body"]:
            return


async def answer(send, status, body, content_type=b"text/plain; charset=utf-8"):
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type)]})
    await send({"type": "http.response.body", "body": body})
