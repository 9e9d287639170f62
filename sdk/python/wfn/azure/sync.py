"""An app without `async def` as a component for WASI 0.2: each call has its worker to itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from http.client import responses
from pathlib import Path
from typing import Any

from wfn import fetch, wsgi
from wfn.azure.invoke import App, Incoming, Outgoing
from wfn.azure.outputs import Answer


class Services:
    """What the component does by waiting in place."""

    async def fetch(self, url: str, method: str = "GET", headers: Mapping[str, str] = {}, body: bytes = b"") -> Answer:
        return Answer(*fetch.fetch(url, method, headers, body))

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def call(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        return function(**arguments)


def run(coroutine: Coroutine[Any, Any, Outgoing]) -> Outgoing:
    """The result of a coroutine that never waits for anything outside itself."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        outgoing = ended.value
        assert isinstance(outgoing, Outgoing)
        return outgoing
    coroutine.close()
    raise RuntimeError("a function awaits something, but no function of the app is 'async def'; write it so and build again")


def application(folder: str, module: str, name: str) -> wsgi.Application:
    app = App(Path(folder), Services(), module, name)

    def answer(environ: wsgi.Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        outgoing = run(app.answer(incoming_of(environ)))
        status = f"{outgoing.status} {responses.get(outgoing.status, '')}".rstrip()
        start_response(status, outgoing.headers)
        return [outgoing.body]

    return answer


def incoming_of(environ: wsgi.Environ) -> Incoming:
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if name in environ:
            headers[name.replace("_", "-").lower()] = environ[name]
    # The body ends at the host's limit.
    return Incoming(
        method=environ["REQUEST_METHOD"],
        scheme=environ["wsgi.url_scheme"],
        host=environ["HTTP_HOST"],
        path=environ["REQUEST_URI"].removeprefix(environ["SCRIPT_NAME"]).partition("?")[0],
        query=environ["QUERY_STRING"],
        headers=headers,
        body=environ["wsgi.input"].read(),
    )


handler = wsgi.handler
