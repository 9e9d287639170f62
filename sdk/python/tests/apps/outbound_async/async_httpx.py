"""Requests by `httpx`, asynchronous, as in any Python."""

import asyncio
import os
import time

import httpx

# Made while the component is built; it has no connection then.
CLIENT = httpx.AsyncClient(headers={"X-Session": "yes"})


async def get(base):
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{base}/echo/ä", params={"a": " b"}, headers={"X-Own": "mine"})
    answer.raise_for_status()
    seen = answer.json()
    return [answer.status_code, str(answer.url), seen["path"], seen["headers"]]


async def ten_at_once(base):
    """How many seconds ten requests take that are answered after 50 ms."""
    await CLIENT.get(f"http://{base}/wait?ms=0")
    begun = time.monotonic()
    answers = await asyncio.gather(*(CLIENT.get(f"http://{base}/wait?ms=50") for _ in range(10)))
    return [time.monotonic() - begun, [answer.text for answer in answers]]


async def bodies(base):
    async def parts():
        for part in (b"first ", b"second"):
            await asyncio.sleep(0.01)
            yield part

    url = f"http://{base}/echo"
    answers = [
        await CLIENT.post(url, json={"name": "Zoë"}),
        await CLIENT.put(url, data={"a": "1"}),
        await CLIENT.post(url, content=parts()),
        await CLIENT.post(url, content=b"x" * 300_000),
        await CLIENT.post(url, files={"file": ("a.txt", b"content")}),
        await CLIENT.delete(url),
    ]
    return [[seen["method"], seen["headers"].get("content-type", "").partition(";")[0], seen["length"]]
            for seen in (answer.json() for answer in answers)]  # fmt: skip


async def early_answer(base):
    """The server answers before it has the whole body, of which more never comes."""
    left = asyncio.Event()

    async def parts():
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            left.set()

    answer = await CLIENT.post(f"http://{base}/early", content=parts())
    await left.wait()
    return answer.text


async def failing_body(base):
    async def parts():
        yield b"first"
        raise LookupError("no more parts")

    await CLIENT.post(f"http://{base}/echo", content=parts())


async def client(base):
    async with httpx.AsyncClient(base_url=f"http://{base}", follow_redirects=True, auth=("user", "pass word")) as client:
        welcome = (await client.get("/private")).text
        cookie = (await client.get("/cookie")).json()["headers"]["cookie"]
        path = (await client.get("/redirect?times=3")).json()["path"]
        return [welcome, cookie, path, (await CLIENT.get(f"http://{base}/echo")).json()["headers"]["x-session"]]


async def stream(base):
    async with CLIENT.stream("GET", f"http://{base}/chunks") as answer:
        lines = [line async for line in answer.aiter_lines()]
    async with CLIENT.stream("GET", f"http://{base}/large") as answer:
        size = sum([len(part) async for part in answer.aiter_bytes()])
    return [lines, size, len((await CLIENT.get(f"http://{base}/gzip")).content)]


async def first_before_last(base):
    """The server sends a piece every 300 ms; how many seconds after the first one the last one came."""
    async with CLIENT.stream("GET", f"http://{base}/chunks?ms=300") as answer:
        times = [time.monotonic() async for _ in answer.aiter_raw()]
    return times[-1] - times[0]


async def left_unread(base):
    for _ in range(30):
        async with CLIENT.stream("GET", f"http://{base}/large") as answer:
            async for _ in answer.aiter_raw():
                break
    return "alive"


async def cancelled(base):
    """Cancelled while it waits for the head, and for more of the body."""
    ended = []
    for path in ("wait?ms=1000", "stall"):
        task = asyncio.create_task(CLIENT.get(f"http://{base}/{path}"))
        await asyncio.sleep(0.1)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            ended.append(path)
    return ended


async def https(base):
    return (await CLIENT.get(f"https://{os.environ['SECURE']}/echo")).status_code


async def untrusted(base):
    await CLIENT.get(f"https://{os.environ['UNTRUSTED']}/echo")


async def timeout(base):
    await CLIENT.get(f"http://{base}/wait?ms=1000", timeout=0.1)


async def read_timeout(base):
    await CLIENT.get(f"http://{base}/stall", timeout=0.2)


async def cut(base):
    await CLIENT.get(f"http://{base}/cut")


async def refused(base):
    await CLIENT.get("https://example.com/path")


async def unknown_name(base):
    await CLIENT.get("http://no-such-name.invalid/")


async def nobody_listens(base):
    await CLIENT.get(f"http://{os.environ['CLOSED']}/")


async def proxy(base):
    httpx.AsyncClient(proxy=f"http://{base}")
