"""The host's stores, from synchronous code."""

import io
import os

from wfn import secrets
from wfn.blob import Container
from wfn.kv import Entry, Refused, Store
from wfn.queue import Queue

try:
    secrets.get("TOKEN", "default")
except secrets.Missing as error:
    AT_BUILD = str(error)


def key_values(base):
    store = Store("notes")
    store.delete("a/ä")
    before = store.get("a/ä"), store.entry("a/ä")
    created = store.create("a/ä", "first"), store.create("a/ä", b"second")
    entry = store.entry("a/ä")
    assert isinstance(entry, Entry)
    replaced = store.replace("a/ä", b"\x00\xff", entry.version), store.replace("a/ä", b"late", entry.version)
    value = store.get("a/ä")
    store.delete("a/ä")
    return [before, created, entry.value.decode(), replaced, list(value), store.get("a/ä")]


def numbers_and_json(base):
    store = Store("notes")
    store.delete("count")
    store.put_json("place", {"x": [1, 2]})
    store.put("empty", b"")
    counts = [store.increment("count"), store.increment("count", -5)]
    return [*counts, store.get_json("place"), store.get_json("none"), store.get("empty") == b""]


def pages(base):
    store = Store("many")
    for number in range(1005):
        store.put(f"key {number:04}", b"x")
    first = store.keys("key 0")
    second = store.keys("key", first.keys[-1])
    return [len(first.keys), first.next, second.keys[0], len(second.keys), second.next]


def other_store(base):
    try:
        Store("secret").get("key")
    except Refused as error:
        return [error.status, error.code, error.message]


def large_value(base):
    try:
        Store("notes").put("large", b"x" * (1024 * 1024 + 1))
    except Refused as error:
        return [error.status, error.code]


def blobs(base):
    container = Container("images")
    container.delete("a/ä.bin")
    before = container.get("a/ä.bin")
    data = bytes(range(256)) * 4096
    first = container.put("a/ä.bin", data, "image/x-test")
    blob = container.get("a/ä.bin")
    properties = [blob.content_type, blob.etag == first, blob.read() == data]
    with container.get("a/ä.bin") as blob:
        pieces = sum(1 for _ in blob)
    part = container.get("a/ä.bin", 254, 258).read()
    rest = container.get("a/ä.bin", len(data) - 3).read()
    created = container.create("a/ä.bin", b"other")
    second = container.replace("a/ä.bin", io.BytesIO(b"y" * 300_000), first)
    late = container.replace("a/ä.bin", b"z", first)
    page = container.list("a/")
    entry = page.blobs[0]
    container.delete("a/ä.bin")
    return [
        before, properties, pieces > 1, list(part), list(rest), created, second == entry.etag, late, entry.name, entry.bytes, page.next,
    ]  # fmt: skip


def broken_upload(base):
    """The old version stays."""
    container = Container("images")
    container.put("kept", b"old")

    def parts():
        yield b"new"
        raise LookupError("no more parts")

    try:
        container.put("kept", parts())
    except LookupError:
        return container.get("kept").read().decode()


def empty_blob(base):
    container = Container("images")
    container.put("empty", b"")
    return [len(container.get("empty").read()), len(container.list("empty").blobs)]


def no_range(base):
    Container("images").get("kept", 5, 5)


def messages(base):
    queue = Queue("orders")
    first = queue.send_json({"article": "Lampe ä"}, id="order 1", session="customer/1", delay=3600)
    again = queue.send("text", id="order 1")
    own = queue.send(b"\x00\xff", "application/octet-stream", time_to_live=60.5)
    return [first, again, own.duplicate, bool(own.id)]


def other_queue(base):
    try:
        Queue("secret").send("x")
    except Refused as error:
        return [error.status, error.code]


def app_secrets(base):
    missing = None
    try:
        secrets.get("NOT_SET")
    except secrets.Missing as error:
        missing = str(error)
    return [secrets.get("TOKEN") == os.environ["EXPECTED"], secrets.get("NOT_SET", "default"), missing, AT_BUILD]
