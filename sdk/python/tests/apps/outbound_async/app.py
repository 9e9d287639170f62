"""Calls one function of one of the modules beside it: /MODULE/FUNCTION. The answer is JSON: what it returned, or what it raised."""

import importlib
import inspect
import json
import os

MODULES = {name: importlib.import_module(name) for name in ("async_httpx", "with_aiohttp", "blocking", "async_stores")}


async def application(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError("this application knows only HTTP")
    module, _, function = scope["path"].removeprefix(scope["root_path"]).strip("/").partition("/")
    try:
        result = getattr(MODULES[module], function)(os.environ["UPSTREAM"])
        result = {"returned": await result if inspect.isawaitable(result) else result}
    except Exception as error:
        result = {"raised": [kind.__name__ for kind in type(error).__mro__], "text": str(error)}
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(result).encode()})
