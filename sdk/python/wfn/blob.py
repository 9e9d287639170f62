"""Blobs of the host: named bytes of any length, durable, streamed in and out (docs/blobs.md).

    with Container("images").get("cat.png") as blob:
        data = blob.read()

`Container` waits for the host. In an ASGI application use `AsyncContainer`, whose methods are awaited: others run meanwhile. What a
container refuses raises `Refused`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, NamedTuple, Self

from wfn.outbound.blocking import Exchange
from wfn.service import AsyncBody, Body, Call, Refused, Reply, begin, begin_async, encoded, nothing, run, run_async

__all__ = ["AsyncBlob", "AsyncContainer", "Blob", "Container", "Entry", "Page", "Refused"]

ABSENT = {404: "no-such-blob"}
CHANGED = {412: "blob-changed"}


class Entry(NamedTuple):
    """The properties of a blob in a list. `bytes` is its length; `modified` is a time as RFC 3339 writes it."""

    name: str
    bytes: int
    content_type: str
    modified: str
    etag: str


class Page(NamedTuple):
    """Some blobs, in the order of the bytes of their names. `next` is the `after` of the next page; None if this is the last one."""

    blobs: list[Entry]
    next: str | None


class _Properties:
    """What comes before the bytes of a blob."""

    def __init__(self, reply: Reply) -> None:
        # Their media type, and the version of the blob: each change gives it another one.
        self.content_type = reply.headers.get("content-type", "")
        self.etag = reply.headers.get("etag", "")


class Blob(_Properties):
    """A blob, or a part of it, as a stream. Use it in `with`, or read it whole."""

    def __init__(self, exchange: Exchange, reply: Reply) -> None:
        super().__init__(reply)
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        """The bytes in pieces. Raises OSError if they break off."""
        return self._exchange.pieces()

    def read(self) -> bytes:
        """All bytes that were not read yet."""
        with self:
            return b"".join(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exchange.close()


class AsyncBlob(_Properties):
    """`Blob` for ASGI applications: use it in `async with` and `async for`."""

    def __init__(self, answer: Any, reply: Reply) -> None:
        super().__init__(reply)
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._answer.pieces():
            yield piece

    async def read(self) -> bytes:
        async with self:
            return b"".join([piece async for piece in self])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._answer.close()


class _Calls:
    """What both kinds of container ask the host for."""

    def __init__(self, name: str) -> None:
        self.path = f"blobs/{encoded(name)}"

    def blob(self, name: str) -> str:
        return f"{self.path}/{encoded(name)}"

    def read(self, name: str, start: int, end: int | None) -> Call[None]:
        """The bytes from `start` to before `end`. Raises ValueError for a range without bytes."""
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f"the range {start} to {end} has no bytes")
        headers = {} if (start, end) == (0, None) else {"range": f"bytes={start}-{'' if end is None else end - 1}"}
        return Call("GET", self.blob(name), nothing, headers, expected=ABSENT)

    def change(self, name: str, content_type: str, body: Any, condition: Mapping[str, str]) -> Call[str | None]:
        """A write, which may have a condition. The result is the new version, or None if the condition did not hold."""
        if isinstance(body, str):
            raise TypeError("a blob is bytes, not text; encode it")
        if isinstance(body, (bytearray, memoryview)):
            body = bytes(body)
        headers = {"content-type": content_type, **condition}
        return Call("PUT", self.blob(name), etag_of, headers, body, CHANGED if condition else {})

    def delete(self, name: str) -> Call[None]:
        return Call("DELETE", self.blob(name), nothing)

    def list(self, prefix: str, after: str) -> Call[Page]:
        return Call("GET", f"{self.path}?prefix={encoded(prefix)}&after={encoded(after)}", page_of)


class Container:
    """A container that the manifest names: `blob_containers = ["images"]`. When a change has returned, it is on disk."""

    def __init__(self, name: str) -> None:
        """The app's own container of this name, or another app's, `owner/name`, which its manifest shares."""
        self._calls = _Calls(name)

    def get(self, name: str, start: int = 0, end: int | None = None) -> Blob | None:
        """The blob of this name; None if there is none.

        With `start` or `end`: as many as it has of the bytes from `start` to before `end`.
        """
        call = self._calls.read(name, start, end)
        exchange, reply = begin(call)
        if 200 <= reply.status < 300:
            return Blob(exchange, reply)
        try:
            call.result(reply._replace(body=b"".join(exchange.pieces())))
        finally:
            exchange.close()
        return None

    def put(self, name: str, body: Body, content_type: str = "application/octet-stream") -> str:
        """Stores a blob, whole or not at all: if the body breaks off the old version stays. Returns the new version.

        `body` is bytes, a binary file, or an iterable of bytes.
        """
        return run(self._calls.change(name, content_type, body, {})) or ""

    def create(self, name: str, body: Body, content_type: str = "application/octet-stream") -> str | None:
        """Stores a blob if there is none of this name. Returns its version; None if there was one."""
        return run(self._calls.change(name, content_type, body, {"if-none-match": "*"}))

    def replace(self, name: str, body: Body, etag: str, content_type: str = "application/octet-stream") -> str | None:
        """Stores a blob if the present one has the version `etag`. Returns the new version; None if it had another one."""
        return run(self._calls.change(name, content_type, body, {"if-match": etag}))

    def delete(self, name: str) -> None:
        """Removes the blob, if it exists."""
        run(self._calls.delete(name))

    def list(self, prefix: str = "", after: str = "") -> Page:
        """Up to a thousand blobs whose names begin with `prefix` and come after `after`."""
        return run(self._calls.list(prefix, after))


class AsyncContainer:
    """`Container` for ASGI applications: the same methods, awaited. A body may be an asynchronous iterable, too."""

    def __init__(self, name: str) -> None:
        self._calls = _Calls(name)

    async def get(self, name: str, start: int = 0, end: int | None = None) -> AsyncBlob | None:
        call = self._calls.read(name, start, end)
        answer, reply = await begin_async(call)
        if 200 <= reply.status < 300:
            return AsyncBlob(answer, reply)
        try:
            call.result(reply._replace(body=b"".join([piece async for piece in answer.pieces()])))
        finally:
            answer.close()
        return None

    async def put(self, name: str, body: AsyncBody, content_type: str = "application/octet-stream") -> str:
        return await run_async(self._calls.change(name, content_type, body, {})) or ""

    async def create(self, name: str, body: AsyncBody, content_type: str = "application/octet-stream") -> str | None:
        return await run_async(self._calls.change(name, content_type, body, {"if-none-match": "*"}))

    async def replace(self, name: str, body: AsyncBody, etag: str, content_type: str = "application/octet-stream") -> str | None:
        return await run_async(self._calls.change(name, content_type, body, {"if-match": etag}))

    async def delete(self, name: str) -> None:
        await run_async(self._calls.delete(name))

    async def list(self, prefix: str = "", after: str = "") -> Page:
        return await run_async(self._calls.list(prefix, after))


def etag_of(reply: Reply) -> str | None:
    return None if reply.status == 412 else reply.headers.get("etag", "")


def page_of(reply: Reply) -> Page:
    page = reply.json()
    return Page([Entry(**entry) for entry in page["blobs"]], page["next"])
