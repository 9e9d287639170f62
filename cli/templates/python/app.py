"""{{name}}: an HTTP function as a WSGI application (PEP 3333)."""

import json
from urllib.parse import parse_qs


def application(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        return echo(environ, start_response)

    query = parse_qs(environ["QUERY_STRING"])
    name = query.get("name", ["world"])[0]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"Hello, {name}, from {{name}}!\n".encode()]


def echo(environ, start_response):
    try:
        received = json.load(environ["wsgi.input"])
    except ValueError as error:
        start_response("400 Bad Request", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"the body is not JSON: {error}\n".encode()]

    # What is printed lands in the app's log.
    print("received", type(received).__name__)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"received": received}).encode() + b"\n"]
