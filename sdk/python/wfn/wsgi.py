"""The bridge from WASI HTTP 0.2 to a WSGI application (PEP 3333). It runs inside the component."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    Fields,
    Method_Other,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
    Scheme_Https,
)

from wfn.runtime import begin_instance

# The most that one call of blocking-write-and-flush takes.
WRITE_BYTES_MAX = 4096
# Fields that belong to the connection, which is the host's. Servers of WSGI leave them out.
CONNECTION_FIELDS = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade".split()
)
STATUSES_WITHOUT_BODY = frozenset((204, 304))

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def handler(application: Application) -> type:
    """The class that a component exports so that `application` answers its requests."""
    if not callable(application):
        raise TypeError(f"the application is {application!r}, which cannot be called")

    class IncomingHandler(exports.IncomingHandler):  # type: ignore[misc]
        def handle(self, request: Any, response_out: Any) -> None:
            begin_instance()
            # What the host lends is given back in order: a stream before its body, that before its request.
            with request, request.consume() as body, body.stream() as stream:
                environ = request_environ(request, io.BufferedReader(RequestBody(stream)))
                Exchange(environ, response_out).run(application)

    return IncomingHandler


class RequestBody(io.RawIOBase):
    """The request's body as the file that `wsgi.input` is. It ends where the body ends, with a length or without."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer`; 0 is the end. Raises OSError if the body broke off."""
        try:
            data = self.stream.blocking_read(len(buffer))
        except Err as error:
            if isinstance(error.value, StreamError_Closed):
                return 0
            raise OSError("the request's body broke off") from error
        buffer[: len(data)] = data
        return len(data)


class Exchange:
    """One request: calls the application and hands its answer to the host."""

    def __init__(self, environ: Environ, response_out: Any) -> None:
        self.environ = environ
        self.response_out = response_out
        self.status = 0
        self.headers: list[tuple[str, str]] | None = None
        # A body's length that the application named; None without one.
        self.length: int | None = None
        self.sent_bytes = 0
        self.body: Any = None
        self.stream: Any = None

    def run(self, application: Application) -> None:
        """Answers the request. What the application raises goes to the log; the answer is a 500, or is cut off."""
        chunks: Iterable[bytes] = ()
        is_whole = False
        try:
            try:
                chunks = application(self.environ, self.start_response)
                self.send_all(chunks)
                is_whole = True
            finally:
                close = getattr(chunks, "close", None)
                if close is not None:
                    close()
        except BaseException as error:
            # Also SystemExit: one request must not end the instance.
            print(f"{self.environ['REQUEST_METHOD']} {self.environ['PATH_INFO']} failed:", file=sys.stderr)
            traceback.print_exception(error)
            if self.body is None:
                self.send_failure()
                is_whole = True
        self.end(is_whole)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """What an application calls with its status and headers. Returns PEP 3333's `write`."""
        if exc_info:
            try:
                if self.body is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.headers is not None:
            raise RuntimeError("start_response was called twice without exc_info")
        code, checked, length = checked_head(status, headers)
        self.status, self.headers, self.length = code, checked, length
        return self.write

    def write(self, data: bytes) -> None:
        """Sends a part of the body, after the head if that is not sent yet."""
        if not isinstance(data, bytes):
            raise TypeError(f"a WSGI application's body is bytes, not {type(data).__name__}")
        self.send_head()
        if not self.has_body():
            return
        self.sent_bytes += len(data)
        if self.length is not None and self.sent_bytes > self.length:
            raise ValueError(f"the body is longer than its Content-Length of {self.length} bytes")
        for start in range(0, len(data), WRITE_BYTES_MAX):
            try:
                self.stream.blocking_write_and_flush(data[start : start + WRITE_BYTES_MAX])
            except Err as error:
                raise OSError("the client has gone before it had the whole answer") from error

    def send_all(self, chunks: Iterable[bytes]) -> None:
        if self.headers is not None and self.length is None and isinstance(chunks, (list, tuple)) and self.has_body():
            # The length of a body that is there as a whole is known.
            self.length = sum(map(len, chunks)) + self.sent_bytes
            if self.body is None:
                self.headers.append(("Content-Length", str(self.length)))
        for data in chunks:
            # PEP 3333: the head waits for the first part that is not empty.
            if data or not isinstance(data, bytes):
                self.write(data)
        self.send_head()
        if self.length is not None and self.has_body() and self.sent_bytes < self.length:
            raise ValueError(f"the body has {self.sent_bytes} bytes, its Content-Length says {self.length}")

    def has_body(self) -> bool:
        return self.environ["REQUEST_METHOD"] != "HEAD" and self.status not in STATUSES_WITHOUT_BODY

    def send_head(self) -> None:
        if self.body is not None:
            return
        if self.headers is None:
            raise RuntimeError("the application gave a body before it called start_response")
        response = OutgoingResponse(fields_of(self.headers))
        response.set_status_code(self.status)
        self.body = response.body()
        self.stream = self.body.write()
        ResponseOutparam.set(self.response_out, Ok(response))

    def send_failure(self) -> None:
        text = b"The application failed. Its log says why.\n"
        self.status = 500
        self.length = len(text)
        self.sent_bytes = 0
        self.headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
        try:
            self.write(text)
        except OSError:
            # The client has gone; nobody is there to read it.
            pass

    def end(self, is_whole: bool) -> None:
        """Gives the body back. Without `finish` the host cuts the answer off, so it does not look whole."""
        self.stream.__exit__(None, None, None)
        if is_whole:
            try:
                OutgoingBody.finish(self.body, None)
            except Err as error:
                print(f"the answer could not be finished: {error.value}", file=sys.stderr)
        else:
            self.body.__exit__(None, None, None)


def checked_head(status: str, headers: list[tuple[str, str]]) -> tuple[int, list[tuple[str, str]], int | None]:
    """Status code, header fields and length of an answer. Raises ValueError or TypeError where PEP 3333 is broken."""
    if not isinstance(status, str) or not (status[:3].isascii() and status[:3].isdecimal()) or status[3:4].strip():
        raise ValueError(f"the status {status!r} is not of the kind '200 OK'")
    code = int(status[:3])
    if code < 200:
        raise ValueError(f"the status {status!r} is not one of a whole answer")
    checked = []
    length = None
    for name, value in headers:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"the header {name!r}: {value!r} is not text")
        if any(character in value for character in "\r\n\0"):
            raise ValueError(f"the value of the header {name} contains a line break or a NUL")
        lower = name.lower()
        if lower in CONNECTION_FIELDS:
            continue
        if lower == "content-length":
            if not (value.isascii() and value.isdecimal()):
                raise ValueError(f"Content-Length is {value!r}, not a number of bytes")
            length = int(value)
        checked.append((name, value))
    return code, checked, length


def fields_of(headers: list[tuple[str, str]]) -> Any:
    """The host's form of header fields. Raises ValueError for a name or value that HTTP does not allow."""
    entries = [(name, value.encode("latin-1")) for name, value in headers]
    try:
        return Fields.from_list(entries)
    except Err as error:
        raise ValueError(f"HTTP does not allow one of the headers {headers!r}: {error.value}") from error


def request_environ(request: Any, body: io.BufferedReader) -> Environ:
    """What CGI says about a request, as WSGI wants it: bytes as latin-1 text."""
    target = request.path_with_query() or "/"
    path, _, query = target.partition("?")
    scheme = "https" if isinstance(request.scheme(), Scheme_Https) else "http"
    authority = request.authority() or "localhost"
    host, _, port = authority.rpartition(":")
    if not (port.isascii() and port.isdecimal()):
        host, port = authority, "443" if scheme == "https" else "80"
    fields: dict[str, str] = {}
    with request.headers() as headers:
        for name, value in headers.entries():
            add_field(fields, name, value.decode("latin-1"))
    # Only the host sets these two. The prefix is the part of the path that it removed.
    prefix = fields.get("HTTP_X_FORWARDED_PREFIX", "").rstrip("/")
    client = fields.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
    return {
        **fields,
        "HTTP_HOST": authority,
        "REQUEST_METHOD": method_name(request.method()),
        "REQUEST_URI": prefix + target,
        "SCRIPT_NAME": prefix,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "REMOTE_ADDR": client,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": body,
        # The body ends by itself. Without this, Werkzeug takes a body without a length for an empty one.
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def add_field(fields: dict[str, str], name: str, value: str) -> None:
    """Adds a header field under its CGI name; fields of the same name become one."""
    if "_" in name:
        # `x_forwarded_for` would get the CGI name of `x-forwarded-for`, which only the host may set.
        return
    key = name.upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = "HTTP_" + key
    if key in fields:
        value = fields[key] + ("; " if key == "HTTP_COOKIE" else ", ") + value
    fields[key] = value


def method_name(method: Any) -> str:
    if isinstance(method, Method_Other):
        return str(method.value)
    return type(method).__name__.removeprefix("Method_").upper()
