"""Input and output bindings: blobs that are read before the call, messages and blobs that are written after it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import azure.functions

from wfn.azure.app import Binding, Function
from wfn.azure.events import converter, input_stream
from wfn.azure.expressions import bound, own_name

# A blob that a function gets is in its memory as a whole, twice while it comes. The smallest memory class has 2,048 MB.
INPUT_BYTES_MAX = 256 * 1024 * 1024
TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
JSON = "application/json"
# Bindings → what a function may write to them.
TAKES = {
    "blob": "text, bytes, or a file that is open for reading",
    "eventHub": "text, bytes, a number, or a list",
    "queue": "text, bytes, a QueueMessage, or a list of text and QueueMessages",
    "serviceBus": "text or bytes",
}
# Bindings whose messages go to a queue → the field that names it.
QUEUES = {"queue": "queueName", "serviceBus": "queueName", "eventHub": "eventHubName"}


class Answer(NamedTuple):
    """What the host or another server has answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Services(Protocol):
    """What a component can do besides computing. The two kinds of components do it differently."""

    async def fetch(self, url: str, method: str = "GET", headers: Mapping[str, str] = {}, body: bytes = b"") -> Answer: ...

    async def sleep(self, seconds: float) -> None: ...

    def call(self, function: Any, arguments: dict[str, Any]) -> Any: ...


class Out(azure.functions.Out[Any]):
    """What a function sets for one of its output bindings."""

    def __init__(self) -> None:
        self.value: Any = None

    def set(self, val: Any) -> None:
        self.value = val

    def get(self) -> Any:
        return self.value


class BindingFailed(Exception):
    """The host did not do what a binding asks for; the text says what and why."""


async def read_blob(services: Services, path: str) -> Any | None:
    """The blob of `container/name` as an InputStream; None if there is none."""
    url = blob_url(path)
    head = await services.fetch(url, "HEAD")
    if head.status == 404:
        return None
    length = head.headers.get("content-length", "0")
    if head.status == 200 and int(length) > INPUT_BYTES_MAX:
        raise BindingFailed(f"the blob {path} has {length} bytes; a function gets at most {INPUT_BYTES_MAX}, read parts of it with wfn.fetch")
    answer = await services.fetch(url) if head.status == 200 else head
    if answer.status == 404:
        return None
    check(answer, f"read the blob {path}")
    properties = {"ContentType": answer.headers.get("content-type", ""), "ETag": answer.headers.get("etag", "")}
    return input_stream(path, answer.body, properties)


async def write(services: Services, binding: Binding, value: Any, data: Mapping[str, Any]) -> None:
    """Writes what a function has set or returned. Raises BindingFailed if the host does not take it."""
    kind = binding["type"]
    datum = encoded(kind, value)
    if datum is None:
        raise BindingFailed(f"the binding {kind} ({binding['name']}) cannot write {type(value).__name__}; it takes {TAKES[kind]}")
    if kind == "blob":
        path = bound(str(binding["path"]), data)
        body = datum.value.encode() if datum.type == "string" else datum.value
        content_type = {"content-type": TEXT if datum.type == "string" else BYTES}
        check(await services.fetch(blob_url(path), "PUT", content_type, body), f"write the blob {path}")
        return
    queue = own_name(bound(str(binding[QUEUES[kind]]), data), "queue")
    for content_type_of_one, message in messages_of(kind, datum):
        await send(services, queue, message, content_type_of_one)


def encoded(kind: str, value: Any) -> Any | None:
    """A value as the package encodes it for a kind of binding; None if it cannot."""
    try:
        datum = converter(kind).encode(value, expected_type=None)
    except NotImplementedError:
        return None
    return None if datum.type is None else datum


async def send(services: Services, queue: str, message: bytes, content_type: str) -> None:
    answer = await services.fetch(f"http://wfn.internal/queues/{queue}", "POST", {"content-type": content_type}, message)
    check(answer, f"send to the queue {queue}")


def messages_of(kind: str, datum: Any) -> Iterator[tuple[str, bytes]]:
    """The messages of an encoded value, each with its media type. A list is as many messages."""
    if datum.type != "json":
        yield (BYTES, datum.value) if isinstance(datum.value, bytes) else (TEXT, str(datum.value).encode())
        return
    value = json.loads(datum.value)
    for one in value if isinstance(value, list) else [value]:
        if kind == "queue" and isinstance(one, dict):
            # A QueueMessage; its id is only for the sender.
            one = one["body"]
        yield (TEXT, one.encode()) if isinstance(one, str) else (JSON, json.dumps(one).encode())


def blob_url(path: str) -> str:
    container, _, name = path.lstrip("/").partition("/")
    return f"http://wfn.internal/blobs/{quote(container, safe='')}/{quote(name)}"


def check(answer: Answer, what: str) -> None:
    if not 200 <= answer.status < 300:
        raise BindingFailed(f"cannot {what}: {answer.status} {answer.body[:500].decode('utf-8', 'replace').strip()}")


class Bindings:
    """The bindings of one call besides its trigger."""

    def __init__(self, function: Function, services: Services, data: Mapping[str, Any]) -> None:
        self.function, self.services, self.data = function, services, data
        self.outs = {binding["name"]: Out() for binding in function.outputs if binding["name"] != "$return"}

    async def arguments(self) -> dict[str, Any]:
        """What the function gets for them."""
        found: dict[str, Any] = dict(self.outs)
        for binding in self.function.inputs:
            found[binding["name"]] = await read_blob(self.services, bound(str(binding["path"]), self.data))
        return found

    async def write(self, returned: Any) -> None:
        """Writes what the function has set and returned, in the order of its bindings; an answer over HTTP is not among it."""
        for binding in self.function.outputs:
            value = returned if binding["name"] == "$return" else self.outs[binding["name"]].value
            if binding["type"] != "http" and value is not None:
                await write(self.services, binding, value, self.data)
