"""Serves `application` of app.py (WSGI, PEP 3333) as a WASI HTTP component; nothing to change here."""

import io
import sys
from urllib.parse import unquote_to_bytes
from wsgiref.handlers import BaseHandler

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import Fields, Method_Other, OutgoingBody, OutgoingResponse, ResponseOutparam

from app import application

# The most that one call of blocking-write-and-flush takes.
WRITE_BYTES_MAX = 4096


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        # What the host lends is given back in order: a stream before its body, that before its request.
        with request, request.consume() as body, body.stream() as stream:
            wsgi_input = io.BufferedReader(RequestBody(stream))
            Exchange(request_environ(request), wsgi_input, response_out).run(application)


class RequestBody(io.RawIOBase):
    """The request's body as the file that `wsgi.input` is."""

    def __init__(self, stream):
        self.stream = stream

    def readable(self):
        return True

    def readinto(self, buffer):
        try:
            data = self.stream.blocking_read(len(buffer))
        except Err as error:
            if isinstance(error.value, StreamError_Closed):
                return 0
            raise OSError("the request's body broke off") from error
        buffer[: len(data)] = data
        return len(data)


class Exchange(BaseHandler):
    """One request: wsgiref calls the application, this hands its answer to the host."""

    wsgi_multithread = False
    wsgi_multiprocess = True
    wsgi_run_once = False
    os_environ = {}

    def __init__(self, environ, body, response_out):
        self.request_environ = environ
        self.request_body = body
        self.response_out = response_out

    def get_stdin(self):
        return self.request_body

    def get_stderr(self):
        return sys.stderr

    def add_cgi_vars(self):
        self.environ.update(self.request_environ)

    def send_headers(self):
        self.cleanup_headers()
        self.headers_sent = True
        fields = [(name, value.encode("latin-1")) for name, value in self.headers.items()]
        response = OutgoingResponse(Fields.from_list(fields))
        response.set_status_code(int(self.status.split(" ", 1)[0]))
        self.response_body = response.body()
        self.stream = self.response_body.write()
        ResponseOutparam.set(self.response_out, Ok(response))

    def _write(self, data):
        for start in range(0, len(data), WRITE_BYTES_MAX):
            self.stream.blocking_write_and_flush(data[start : start + WRITE_BYTES_MAX])

    def _flush(self):
        pass

    def close(self):
        # The base class forgets it.
        is_begun = self.headers_sent
        super().close()
        if is_begun:
            self.stream.__exit__(None, None, None)
            OutgoingBody.finish(self.response_body, None)


def request_environ(request):
    """What CGI says about a request, as WSGI wants it: bytes as latin-1 text."""
    path, _, query = (request.path_with_query() or "/").partition("?")
    authority = request.authority() or "localhost"
    host, _, port = authority.rpartition(":") if authority.rpartition(":")[2].isdigit() else (authority, "", "80")
    environ = {
        "REQUEST_METHOD": method_name(request.method()),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": authority,
    }
    with request.headers() as headers:
        for name, value in headers.entries():
            key = name.upper().replace("-", "_")
            if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                key = "HTTP_" + key
            value = value.decode("latin-1")
            if key in environ and key != "HTTP_HOST":
                value = environ[key] + ("; " if key == "HTTP_COOKIE" else ", ") + value
            environ[key] = value
    return environ


def method_name(method):
    if isinstance(method, Method_Other):
        return method.value
    return type(method).__name__.removeprefix("Method_").upper()
