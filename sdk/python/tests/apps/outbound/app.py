"""Calls one function of one of the modules beside it: /MODULE/FUNCTION. The answer is JSON: what it returned, or what it raised."""

import importlib
import json
import os

# Imported while the component is built. The others are when they are first asked for.
for name in ("with_urllib", "with_requests", "with_urllib3", "stores"):
    importlib.import_module(name)


def application(environ, start_response):
    module, _, function = environ["PATH_INFO"].strip("/").partition("/")
    try:
        result = {"returned": getattr(importlib.import_module(module), function)(os.environ["UPSTREAM"])}
    except Exception as error:
        result = {"raised": [kind.__name__ for kind in type(error).__mro__], "text": str(error)}
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps(result).encode()]
