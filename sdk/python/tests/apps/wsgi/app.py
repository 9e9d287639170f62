"""A WSGI application that tries what PEP 3333 says, a path for each."""

import json
import os
import sys
from wsgiref.validate import validator

closed = []
environment_at_build = os.environ.get("AT_BUILD")


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/checked"):
        return validator(checked)(environ, start_response)
    name = path.strip("/").replace("-", "_")
    return globals()["path_" + name](environ, start_response)


def start(start_response, status="200 OK", *headers):
    return start_response(status, [("Content-Type", "text/plain"), *headers])


def checked(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.errors"].write("checked\n")
    environ["wsgi.errors"].flush()
    start(start_response, "200 Fine")
    return iter([b"got ", body])


def path_environ(environ, start_response):
    start(start_response)
    return [json.dumps({key: value for key, value in environ.items() if isinstance(value, str)}).encode()]


def path_lines(environ, start_response):
    source = environ["wsgi.input"]
    first = source.readline()
    part = source.readline(3)
    rest = list(source)
    start(start_response)
    return [repr((first, part, rest, source.read(), source.read(5))).encode()]


def path_write(environ, start_response):
    write = start(start_response)
    write(b"written, ")
    return [b"", b"returned"]


def path_replaced(environ, start_response):
    start(start_response, "200 OK", ("X-First", "1"))
    try:
        raise ValueError("before the head")
    except ValueError:
        start(lambda status, headers: start_response(status, headers, sys.exc_info()), "503 Later")
    return [b"replaced"]


def path_too_late(environ, start_response):
    start(start_response)(b"x" * 10_000)
    try:
        raise ValueError("after the head")
    except ValueError:
        start(lambda status, headers: start_response(status, headers, sys.exc_info()), "503 Later")
    return []


def path_twice(environ, start_response):
    start(start_response)
    start(start_response)
    return []


class Closing:
    def __init__(self, name, parts):
        self.name, self.parts = name, parts

    def __iter__(self):
        return iter(self.parts())

    def close(self):
        closed.append(self.name)


def path_close(environ, start_response):
    start(start_response)
    return Closing("whole", lambda: [b"body"])


def path_close_broken(environ, start_response):
    def parts():
        yield b"first" * 2000
        raise RuntimeError("no more")

    start(start_response)
    return Closing("broken", parts)


def path_closed(environ, start_response):
    start(start_response)
    return [",".join(closed).encode()]


def path_exit(environ, start_response):
    sys.exit("leaving")


def path_text(environ, start_response):
    start(start_response)
    return ["text"]


def path_header(environ, start_response):
    start(start_response, "200 OK", ("X-Bad", "a\r\nb: c"))
    return []


def path_hop(environ, start_response):
    start(start_response, "200 OK", ("Connection", "close"), ("X-Kept", "yes"))
    return [b"ok"]


def path_short(environ, start_response):
    start(start_response, "200 OK", ("Content-Length", "10"))
    return [b"only 5"]


def path_long(environ, start_response):
    start(start_response, "200 OK", ("Content-Length", "3"))
    return [b"more than 3"]


def path_empty(environ, start_response):
    start_response("204 No Content", [])
    return []


def path_no_start(environ, start_response):
    return [b"body"]


def path_recursion(environ, start_response):
    def again(x):
        return sorted([x], key=again)

    try:
        again(1)
    except RecursionError as error:
        start(start_response)
        return [type(error).__name__.encode()]
