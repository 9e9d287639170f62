"""Key-value stores of the host: durable, shared by all instances (docs/key-value.md).

    visits = Store("visits").increment(page)

`Store` waits for the host. In an ASGI application use `AsyncStore`, whose methods are awaited: others run meanwhile. What a store refuses
raises `Refused`: a store that the manifest does not name, a value that is too long.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from wfn.service import Call, Refused, Reply, encoded, nothing, run, run_async

__all__ = ["AsyncStore", "Entry", "Page", "Refused", "Store"]

ABSENT = {404: "no-such-key"}
CHANGED = {412: "key-changed"}


class Entry(NamedTuple):
    """The value of a key, and its version: each change gives it another one."""

    value: bytes
    version: str


class Page(NamedTuple):
    """Some keys, in the order of their bytes. `next` is the `after` of the next page; None if this is the last one."""

    keys: list[str]
    next: str | None


class _Calls:
    """What both kinds of store ask the host for."""

    def __init__(self, name: str) -> None:
        self.path = f"kv/{encoded(name)}"

    def key(self, key: str) -> str:
        return f"{self.path}/{encoded(key)}"

    def entry(self, key: str) -> Call[Entry | None]:
        return Call("GET", self.key(key), entry_of, expected=ABSENT)

    def change(self, key: str, value: bytes | str, condition: Mapping[str, str]) -> Call[bool]:
        """A write, which may have a condition. The result is whether it held."""
        data = value.encode() if isinstance(value, str) else bytes(value)
        return Call("PUT", self.key(key), lambda reply: reply.status != 412, condition, data, CHANGED if condition else {})

    def delete(self, key: str) -> Call[None]:
        return Call("DELETE", self.key(key), nothing)

    def increment(self, key: str, by: int) -> Call[int]:
        return Call("POST", f"{self.key(key)}/increment?by={by:d}", lambda reply: int(reply.body))

    def keys(self, prefix: str, after: str) -> Call[Page]:
        return Call("GET", f"{self.path}?prefix={encoded(prefix)}&after={encoded(after)}", lambda reply: Page(**reply.json()))


class Store:
    """A store that the manifest names: `key_value_stores = ["visits"]`. When a change has returned, it is on disk."""

    def __init__(self, name: str) -> None:
        """The app's own store of this name, or another app's, `owner/name`, which its manifest shares."""
        self._calls = _Calls(name)

    def get(self, key: str) -> bytes | None:
        """The value of `key`; None if there is none."""
        entry = self.entry(key)
        return None if entry is None else entry.value

    def get_json(self, key: str) -> Any:
        """The value of `key`, read as JSON; None if there is none."""
        return value_of_json(self.get(key))

    def entry(self, key: str) -> Entry | None:
        """The value of `key`, and its version for `replace`."""
        return run(self._calls.entry(key))

    def put(self, key: str, value: bytes | str) -> None:
        """Sets the value of `key`. Text is stored as UTF-8."""
        run(self._calls.change(key, value, {}))

    def put_json(self, key: str, value: Any) -> None:
        """Sets the value of `key` to `value` as JSON."""
        self.put(key, json.dumps(value))

    def create(self, key: str, value: bytes | str) -> bool:
        """Sets the value of `key` if there is none. Returns whether it did."""
        return run(self._calls.change(key, value, {"if-none-match": "*"}))

    def replace(self, key: str, value: bytes | str, version: str) -> bool:
        """Sets the value of `key` if it still has `version`. Returns whether it did."""
        return run(self._calls.change(key, value, {"if-match": version}))

    def delete(self, key: str) -> None:
        """Removes `key`, if it exists."""
        run(self._calls.delete(key))

    def increment(self, key: str, by: int = 1) -> int:
        """Adds `by` to the number of `key` (0 if there is none) and returns the sum. Increments at the same time are all counted."""
        return run(self._calls.increment(key, by))

    def keys(self, prefix: str = "", after: str = "") -> Page:
        """Up to a thousand keys that begin with `prefix` and come after `after`."""
        return run(self._calls.keys(prefix, after))


class AsyncStore:
    """`Store` for ASGI applications: the same methods, awaited."""

    def __init__(self, name: str) -> None:
        self._calls = _Calls(name)

    async def get(self, key: str) -> bytes | None:
        entry = await self.entry(key)
        return None if entry is None else entry.value

    async def get_json(self, key: str) -> Any:
        return value_of_json(await self.get(key))

    async def entry(self, key: str) -> Entry | None:
        return await run_async(self._calls.entry(key))

    async def put(self, key: str, value: bytes | str) -> None:
        await run_async(self._calls.change(key, value, {}))

    async def put_json(self, key: str, value: Any) -> None:
        await self.put(key, json.dumps(value))

    async def create(self, key: str, value: bytes | str) -> bool:
        return await run_async(self._calls.change(key, value, {"if-none-match": "*"}))

    async def replace(self, key: str, value: bytes | str, version: str) -> bool:
        return await run_async(self._calls.change(key, value, {"if-match": version}))

    async def delete(self, key: str) -> None:
        await run_async(self._calls.delete(key))

    async def increment(self, key: str, by: int = 1) -> int:
        return await run_async(self._calls.increment(key, by))

    async def keys(self, prefix: str = "", after: str = "") -> Page:
        return await run_async(self._calls.keys(prefix, after))


def entry_of(reply: Reply) -> Entry | None:
    return None if reply.status == 404 else Entry(reply.body, reply.headers.get("etag", ""))


def value_of_json(value: bytes | None) -> Any:
    return None if value is None else json.loads(value)
