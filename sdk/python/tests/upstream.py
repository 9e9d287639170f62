"""A server for requests out, in the process of the tests."""

from __future__ import annotations

import base64
import gzip
import http.server
import json
import ssl
import threading
import time
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

# A body of several pieces.
LARGE = bytes(range(256)) * 1024


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise a body waits up to 40 ms until the client has acknowledged the head.
    disable_nagle_algorithm = True

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def handle_one(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        name = url.path.strip("/").partition("/")[0]
        body = b"" if name == "early" else self.read_body()
        getattr(self, f"path_{name}", self.missing)(query, body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = handle_one

    def missing(self, query: dict[str, str], body: bytes) -> None:
        self.answer(b"not here", 404)

    def path_echo(self, query: dict[str, str], body: bytes) -> None:
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": base64.b64encode(body).decode() if query.get("binary") else body.decode(errors="replace"),
            "length": len(body),
        }
        self.answer(json.dumps(seen).encode(), Content_Type="application/json")

    def path_early(self, query: dict[str, str], body: bytes) -> None:
        """An answer to the first piece of a request. A close before that is read would be a reset."""
        self.rfile.read(int(self.rfile.readline(), 16) + 2)
        self.close_connection = True
        self.answer(b"enough", 413, Connection="close")

    def path_status(self, query: dict[str, str], body: bytes) -> None:
        self.answer(b"", int(query["code"]))

    def path_wait(self, query: dict[str, str], body: bytes) -> None:
        time.sleep(int(query["ms"]) / 1000)
        self.answer(b"waited")

    def path_redirect(self, query: dict[str, str], body: bytes) -> None:
        left = int(query.get("times", "1")) - 1
        to = f"/redirect?times={left}" if left else "/echo?redirected=yes"
        self.answer(b"", int(query.get("code", "302")), Location=to)

    def path_cookie(self, query: dict[str, str], body: bytes) -> None:
        self.answer(b"", 302, Location="/echo", Set_Cookie="taste=sweet; Path=/")

    def path_gzip(self, query: dict[str, str], body: bytes) -> None:
        self.answer(gzip.compress(LARGE), Content_Encoding="gzip")

    def path_large(self, query: dict[str, str], body: bytes) -> None:
        self.answer(LARGE)

    def path_private(self, query: dict[str, str], body: bytes) -> None:
        wanted = "Basic " + base64.b64encode(b"user:pass word").decode()
        if self.headers.get("Authorization") == wanted:
            self.answer(b"welcome")
        else:
            self.answer(b"who?", 401, WWW_Authenticate='Basic realm="here"')

    def begin_chunks(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def path_chunks(self, query: dict[str, str], body: bytes) -> None:
        self.begin_chunks()
        for number in range(3):
            data = b"piece %d\n" % number
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.flush()
            time.sleep(int(query.get("ms", "0")) / 1000)
        self.wfile.write(b"0\r\n\r\n")

    def path_cut(self, query: dict[str, str], body: bytes) -> None:
        """An answer that breaks off."""
        self.begin_chunks()
        self.wfile.write(b"5\r\nfirst\r\n")
        self.close_connection = True

    def path_stall(self, query: dict[str, str], body: bytes) -> None:
        """An answer that does not go on for a second."""
        self.begin_chunks()
        self.wfile.write(b"5\r\nfirst\r\n")
        self.wfile.flush()
        time.sleep(1)
        self.wfile.write(b"4\r\nlate\r\n0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing: some tests leave before the answer."""


@cache
def upstream(certificates: Path | None = None) -> str:
    """A server's address, such as `127.0.0.1:4711`. With a folder of certificates it speaks TLS."""
    server = Server(("127.0.0.1", 0), Handler)
    if certificates is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"
