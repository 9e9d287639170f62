#!/usr/bin/env bash
# azure-functions 1.26.0 (PyPI), seen 2026-12-01.
#
# One would guess: WsgiMiddleware, the package's bridge to WSGI, takes every application that keeps to PEP 3333. An application may
# call start_response(status, headers, exc_info) when it has failed, and it gets a write() callable back.
#
# What is so: start_response takes two arguments and returns None. So the page that an application shows for its own error becomes a
# TypeError (500 without its text), and an application that calls write() fails on None. A host that runs such apps unchanged
# has to bring a bridge of its own.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder" azure-functions==1.26.0

PYTHONPATH="$folder" python3 - <<'PYTHON'
import sys

import azure.functions as func


def shows_its_error(environ, start_response):
    try:
        raise ValueError("no such order")
    except ValueError:
        start_response("404 Not Found", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"no such order\n"]


def writes(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"first ")
    return [b"second\n"]


def served_by_wsgiref(application):
    """What the server of the standard library's tests sends for it."""
    from io import BytesIO, StringIO
    from wsgiref.handlers import SimpleHandler
    from wsgiref.util import setup_testing_defaults

    environ, sent, errors = {}, BytesIO(), StringIO()
    setup_testing_defaults(environ)
    SimpleHandler(BytesIO(), sent, errors, environ).run(application)
    return sent.getvalue().splitlines()


def served_by_azure(application):
    request = func.HttpRequest("GET", "http://localhost/api/orders", headers={}, params={}, route_params={}, body=b"")
    try:
        answer = func.WsgiMiddleware(application).handle(request)
        return f"{answer.status_code} {answer.get_body()!r}"
    except TypeError as error:
        return f"TypeError: {error}"


for application in (shows_its_error, writes):
    by_wsgiref, by_azure = served_by_wsgiref(application), served_by_azure(application)
    print(f"{application.__name__}: wsgiref sends {by_wsgiref[0].decode()} … {by_wsgiref[-1].decode()}; WsgiMiddleware: {by_azure}")
    assert not by_wsgiref[0].split(b" ", 1)[1].startswith(b"500"), "both keep to PEP 3333"
    assert by_azure.startswith("TypeError"), "this has changed"
PYTHON
