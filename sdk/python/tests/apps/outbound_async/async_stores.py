"""The host's stores, awaited."""

import asyncio

from wfn.blob import AsyncContainer
from wfn.kv import AsyncStore, Refused
from wfn.queue import AsyncQueue


async def key_values(base):
    store = AsyncStore("notes")
    await store.delete("a")
    created = [await store.create("a", "first"), await store.create("a", "second")]
    entry = await store.entry("a")
    replaced = [await store.replace("a", b"third", entry.version), await store.replace("a", b"late", entry.version)]
    await store.put_json("place", [1])
    await store.delete("count")
    counts = await asyncio.gather(*(store.increment("count") for _ in range(10)))
    keys = await store.keys("pl")
    value, place, none = await asyncio.gather(store.get("a"), store.get_json("place"), store.get("none"))
    return [created, replaced, value.decode(), place, sorted(counts), keys, none]


async def other_store(base):
    try:
        await AsyncStore("secret").get("key")
    except Refused as error:
        return [error.status, error.code]


async def blobs(base):
    container = AsyncContainer("images")
    await container.delete("a")

    async def parts():
        for _ in range(10):
            await asyncio.sleep(0)
            yield b"x" * 50_000

    before = await container.get("a")
    first = await container.put("a", parts(), "image/x-test")
    async with await container.get("a") as blob:
        size = sum([len(piece) async for piece in blob])
    part = await (await container.get("a", 1, 3)).read()
    created = await container.create("a", b"other")
    second = await container.replace("a", b"new", first)
    page = await container.list("a")
    return [before, blob.content_type, blob.etag == first, size, part.decode(), created, second == page.blobs[0].etag]


async def broken_upload(base):
    """The old version stays."""
    container = AsyncContainer("images")
    await container.put("kept", b"old")

    async def parts():
        yield b"new"
        raise LookupError("no more parts")

    try:
        await container.put("kept", parts())
    except LookupError:
        return (await (await container.get("kept")).read()).decode()


async def messages(base):
    sent = await AsyncQueue("orders").send_json({"article": "lamp"}, id="order 1")
    return [sent, (await AsyncQueue("orders").send("x", id="order 1")).duplicate]
