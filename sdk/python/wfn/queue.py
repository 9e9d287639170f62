"""Queues of the host: messages that are delivered to a function until it answers with success (docs/queues.md).

    Queue("orders").send_json({"article": "lamp"}, id="order-7")

`Queue` waits for the host. In an ASGI application use `AsyncQueue`, whose methods are awaited: others run meanwhile. What a queue refuses
raises `Refused`.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from wfn.service import Call, Refused, encoded, run, run_async

__all__ = ["AsyncQueue", "Queue", "Refused", "Sent"]


class Sent(NamedTuple):
    """The answer to a message: its name, and whether one of this name was sent within ten minutes, so that this one was not stored."""

    id: str
    duplicate: bool


class _Calls:
    """What both kinds of queue ask the host for."""

    def __init__(self, name: str) -> None:
        self.path = f"queues/{encoded(name)}"

    def send(self, body: bytes | str, content_type: str | None, parameters: dict[str, Any]) -> Call[Sent]:
        query = "&".join(f"{name}={encoded(str(value))}" for name, value in parameters.items() if value is not None)
        data = body.encode() if isinstance(body, str) else bytes(body)
        headers = {} if content_type is None else {"content-type": content_type}
        return Call("POST", f"{self.path}?{query}", lambda reply: Sent(**reply.json()), headers, data)


class Queue:
    """A queue that the manifest names: `queues = ["orders"]`. When `send` has returned, the message is on disk."""

    def __init__(self, name: str) -> None:
        """The app's own queue of this name, or another app's, `owner/name`, which its manifest shares."""
        self._calls = _Calls(name)

    def send(
        self,
        body: bytes | str,
        content_type: str | None = None,
        *,
        id: str | None = None,
        session: str | None = None,
        delay: float | None = None,
        time_to_live: float | None = None,
    ) -> Sent:
        """Sends a message of at most 256 KiB; text is sent as UTF-8.

        `id` names it: for ten minutes a second one of that name is not stored. `session` is what it belongs to. It is delivered only after
        `delay` seconds. If its delivery has not begun after `time_to_live` seconds, it becomes a dead letter.
        """
        return run(self._calls.send(body, content_type, {"id": id, "session": session, "delay": delay, "ttl": time_to_live}))

    def send_json(self, value: Any, **options: Any) -> Sent:
        """Sends `value` as JSON. The options are those of `send`."""
        return self.send(json.dumps(value), "application/json", **options)


class AsyncQueue:
    """`Queue` for ASGI applications: the same methods, awaited."""

    def __init__(self, name: str) -> None:
        self._calls = _Calls(name)

    async def send(
        self,
        body: bytes | str,
        content_type: str | None = None,
        *,
        id: str | None = None,
        session: str | None = None,
        delay: float | None = None,
        time_to_live: float | None = None,
    ) -> Sent:
        return await run_async(self._calls.send(body, content_type, {"id": id, "session": session, "delay": delay, "ttl": time_to_live}))

    async def send_json(self, value: Any, **options: Any) -> Sent:
        return await self.send(json.dumps(value), "application/json", **options)
