"""Requests by `aiohttp`, as in any Python."""

import asyncio
import os
import time

import aiohttp


async def get(base):
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{base}/echo/ä", params={"a": " b"}, headers={"X-Own": "mine"}) as answer:
            answer.raise_for_status()
            seen = await answer.json()
            return [answer.status, answer.reason, str(answer.url), answer.content_type, seen["path"], seen["headers"]]


async def ten_at_once(base):
    """How many seconds ten requests take that are answered after 50 ms."""
    async with aiohttp.ClientSession() as session:

        async def wait(ms):
            async with session.get(f"http://{base}/wait?ms={ms}") as answer:
                return await answer.text()

        await wait(0)
        begun = time.monotonic()
        texts = await asyncio.gather(*(wait(50) for _ in range(10)))
        return [time.monotonic() - begun, texts]


async def bodies(base):
    async def parts():
        for part in (b"first ", b"second"):
            await asyncio.sleep(0.01)
            yield part

    form = aiohttp.FormData()
    form.add_field("file", b"content", filename="a.txt")
    sent = [
        ("POST", {"json": {"name": "Zoë"}}),
        ("PUT", {"data": {"a": "1"}}),
        ("PATCH", {"data": b"x" * 300_000}),
        ("POST", {"data": parts()}),
        ("POST", {"data": form}),
        ("POST", {"data": b"waits for a word", "expect100": True}),
        ("DELETE", {}),
    ]
    got = []
    async with aiohttp.ClientSession() as session:
        for method, body in sent:
            async with session.request(method, f"http://{base}/echo", **body) as answer:
                seen = await answer.json()
                got.append([seen["method"], seen["headers"].get("content-type", "").partition(";")[0], seen["length"]])
    return got


async def early_answer(base):
    """The server answers before it has the whole body."""
    answered = asyncio.Event()

    async def parts():
        yield b"first"
        await answered.wait()
        yield b"late"

    async with aiohttp.ClientSession() as session, session.post(f"http://{base}/early", data=parts()) as answer:
        text = await answer.text()
        answered.set()
        return text


async def session(base):
    auth = aiohttp.BasicAuth("user", "pass word")
    # Cookies of a server without a name are kept only by such a jar.
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(f"http://{base}", auth=auth, headers={"X-Session": "yes"}, cookie_jar=jar) as session:
        async with session.get("/private") as answer:
            welcome = await answer.text()
        async with session.get("/cookie") as answer:
            cookie = (await answer.json())["headers"]["cookie"]
        async with session.get("/redirect?times=3") as answer:
            path, steps = (await answer.json())["path"], len(answer.history)
        async with session.get("/redirect", allow_redirects=False) as answer:
            stopped = answer.status
        async with session.head("/large") as answer:
            length = answer.content_length
        return [welcome, cookie, path, steps, stopped, length]


async def stream(base):
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{base}/chunks") as answer:
            lines = [line.decode() async for line in answer.content]
        async with session.get(f"http://{base}/large") as answer:
            sizes = [len(part) async for part in answer.content.iter_chunked(100_000)]
        async with session.get(f"http://{base}/gzip") as answer:
            unpacked = len(await answer.read())
    return [lines, sum(sizes), unpacked]


async def first_before_last(base):
    """The server sends a piece every 300 ms; how many seconds after the first one the last one came."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{base}/chunks?ms=300") as answer:
        times = [time.monotonic() async for _ in answer.content]
    return times[-1] - times[0]


async def left_unread(base):
    async with aiohttp.ClientSession() as session:
        for _ in range(30):
            async with session.get(f"http://{base}/large"):
                pass
            async with session.get(f"http://{base}/large") as answer:
                await answer.content.read(10)
    return "alive"


async def slow_reader(base):
    """Bytes wait in the server while nobody reads."""
    async with aiohttp.ClientSession(read_bufsize=1024) as session, session.get(f"http://{base}/large") as answer:
        await asyncio.sleep(0.05)
        return len(await answer.read())


async def cancelled(base):
    ended = []
    async with aiohttp.ClientSession() as session:
        for path in ("wait?ms=1000", "stall"):

            async def read():
                async with session.get(f"http://{base}/{path}") as answer:
                    await answer.read()

            task = asyncio.create_task(read())
            await asyncio.sleep(0.1)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                ended.append(path)
    return ended


async def fetch(url, **options):
    async with aiohttp.ClientSession() as session, session.get(url, **options) as answer:
        await answer.read()
        return answer.status


async def https(base):
    return await fetch(f"https://{os.environ['SECURE']}/echo")


async def untrusted(base):
    await fetch(f"https://{os.environ['UNTRUSTED']}/echo")


async def unverified(base):
    await fetch(f"https://{os.environ['SECURE']}/echo", ssl=False)


async def http_error(base):
    await fetch(f"http://{base}/status?code=503", raise_for_status=True)


async def timeout(base):
    await fetch(f"http://{base}/wait?ms=1000", timeout=aiohttp.ClientTimeout(total=0.1))


async def read_timeout(base):
    await fetch(f"http://{base}/stall", timeout=aiohttp.ClientTimeout(sock_read=0.2))


async def cut(base):
    await fetch(f"http://{base}/cut")


async def refused(base):
    await fetch("https://example.com/path")


async def unknown_name(base):
    await fetch("http://no-such-name.invalid/")


async def nobody_listens(base):
    await fetch(f"http://{os.environ['CLOSED']}/")


async def proxy(base):
    await fetch("http://example.com/", proxy=f"http://{base}")


async def websocket(base):
    async with aiohttp.ClientSession() as session:
        await session.ws_connect(f"http://{base}/echo")
