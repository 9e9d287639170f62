"""An app with `async def` as a component for WASI 0.3: one worker runs many calls, and while one awaits, others run."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from azure.functions import AsgiMiddleware
from componentize_py_types import Err, Ok
from wit_world import byte_stream
from wit_world import result_option_wasi_http_types_fields_wasi_http_types_error_code_future as trailers_future
from wit_world import result_unit_wasi_http_types_error_code_future as received_future
from wit_world.imports import client
from wit_world.imports import wasi_http_types as types

from wfn import asgi
from wfn.azure.invoke import App, Incoming, Outgoing
from wfn.azure.outputs import Answer
from wfn.runtime.timers import loop

READ_BYTES = 65536


class Services:
    """What the component does while other calls go on."""

    async def fetch(self, url: str, method: str = "GET", headers: Mapping[str, str] = {}, body: bytes = b"") -> Answer:
        """The host's answer; only `http://wfn.internal` is asked. Raises OSError where there is none."""
        authority, _, path = url.removeprefix("http://").partition("/")
        fields = types.Fields.from_list([(name, value.encode()) for name, value in headers.items()])
        writer, reader = byte_stream() if body else (None, None)
        ended, trailers = trailers_future(lambda: Ok(None))
        request, _ = types.Request.new(fields, reader, trailers, None)
        request.set_method(getattr(types, f"Method_{method.capitalize()}")())
        request.set_scheme(types.Scheme_Http())
        request.set_authority(authority)
        request.set_path_with_query(f"/{path}")
        sending = asyncio.create_task(self._send_body(writer, body, ended))
        try:
            response = await client.send(request)
        except Err as error:
            raise OSError(f"{url}: {error.value}") from error
        finally:
            await sending
        status = response.get_status_code()
        with response.get_headers() as found:
            named = {name.lower(): value.decode("latin-1") for name, value in found.copy_all()}
        stream, after = types.Response.consume_body(response, received_future(lambda: Ok(None))[1])
        parts = []
        while not stream.writer_dropped:
            parts.append(await stream.read(READ_BYTES))
        if isinstance(await after.read(), Err):
            raise OSError(f"{url}: the answer broke off")
        return Answer(status, named, b"".join(parts))

    async def _send_body(self, writer: Any, body: bytes, ended: Any) -> None:
        if writer is not None:
            with writer:
                await writer.write_all(body)
        await ended.write(Ok(None))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        # There are no threads: it runs in place, and is named if it takes long.
        return loop.watch.run_inline(functools.partial(function, **arguments))


async def start_once(middleware: Any) -> bool:
    """`AsgiMiddleware.notify_startup`, once in each instance. The lifespan of an app belongs to no call."""
    if not hasattr(middleware, "wfn_start"):
        middleware.wfn_start = loop.create_task(notify_startup(middleware), context=loop.home.context())
    return bool(await asyncio.shield(middleware.wfn_start))


notify_startup: Callable[[Any], Any] = AsgiMiddleware.notify_startup
AsgiMiddleware.notify_startup = start_once  # type: ignore[method-assign]
# The package runs a loop of its own for it. Here one runs already; App.call awaits what this returns.
AsgiMiddleware._handle = AsgiMiddleware.handle_async  # type: ignore[method-assign]


def application(folder: str, module: str, name: str) -> asgi.Application:
    app = App(Path(folder), Services(), module, name)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError("there is no lifespan")
        outgoing = await app.answer(await incoming_of(scope, receive))
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in outgoing.headers]
        if not any(name.lower() == b"content-length" for name, _ in headers):
            headers.append((b"content-length", str(len(outgoing.body)).encode()))
        await send({"type": "http.response.start", "status": outgoing.status, "headers": headers})
        await send({"type": "http.response.body", "body": outgoing.body})

    return answer


async def incoming_of(scope: Any, receive: Any) -> Incoming:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}" if name in headers else value
    parts = []
    is_more = True
    while is_more:
        event = await receive()
        if event["type"] != "http.request":
            raise OSError("the request's body broke off")
        # The body ends at the host's limit.
        parts.append(event["body"])
        is_more = event["more_body"]
    return Incoming(
        method=scope["method"],
        scheme=scope["scheme"],
        host=headers.get("host", ""),
        path=scope["raw_path"].decode("latin-1").removeprefix(scope["root_path"]),
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        body=b"".join(parts),
    )


handler = asgi.handler
