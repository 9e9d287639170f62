"""What the tests of ASGI share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from host import BUILT, TESTS, Answer, Client, run_build

# Of one worker in one instance, so that requests meet.
ONE_WORKER = ("--concurrency", "16", "--max-instances", "1", "--workers", "1")


@cache
def asgi_component(name: str, *arguments: str) -> Path:
    """The component of one of the ASGI applications in apps/."""
    output = BUILT / f"{name}.wasm"
    ended = run_build(TESTS / "apps" / name, "asgi", "app:application", "-o", str(output), *arguments)
    if ended.returncode:
        raise AssertionError(f"{name} was not built:\n{ended.stderr}")
    return output


def get_all(client: Client, *paths: str) -> list[Answer]:
    """The answers to several requests that are sent at once."""
    with ThreadPoolExecutor(len(paths)) as threads:
        return list(threads.map(client.get, paths))
