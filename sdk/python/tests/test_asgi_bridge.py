"""ASGI over a host: scope, streams of both bodies, errors, lifespan, work after the answer."""

from __future__ import annotations

import ast
import http.client
import json
import os
import socket
import unittest
from typing import Any

from asgi import ONE_WORKER, asgi_component, get_all
from host import Client, host


class BridgeTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.client = host().deploy(asgi_component("asgi"), "asgi", *ONE_WORKER)

    def scope(self, path: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        scope = ast.literal_eval(self.client.get(path, headers).text)
        assert isinstance(scope, dict)
        return scope

    def last(self, mark: str) -> str:
        return [line for line in self.client.log().splitlines() if mark in line][-1]

    def test_the_scope_of_a_request(self) -> None:
        scope = self.scope("/scope/%C3%A4%2Fb%20c?x=%20y&x=z", {"X-Mixed": "One", "X-Latin": "\xe9"})
        self.assertEqual((scope["type"], scope["method"], scope["http_version"], scope["scheme"]), ("http", "GET", "1.1", "http"))
        self.assertEqual(scope["asgi"], {"version": "3.0", "spec_version": "2.4"})
        self.assertEqual((scope["root_path"], scope["path"]), ("/asgi", "/asgi/scope/ä/b c"))
        self.assertEqual((scope["raw_path"], scope["query_string"]), (b"/asgi/scope/%C3%A4%2Fb%20c", b"x=%20y&x=z"))
        self.assertEqual((scope["client"], scope["state"]), (("127.0.0.1", 0), "at the start"))
        address, _, port = host().address.rpartition(":")
        self.assertEqual(scope["server"], (address, int(port)))
        self.assertEqual(dict(scope["headers"])[b"host"], host().address.encode())
        self.assertIn((b"x-mixed", b"One"), scope["headers"])
        self.assertIn((b"x-latin", b"\xe9"), scope["headers"])

    def test_a_path_that_is_no_utf_8_does_not_fail(self) -> None:
        self.assertEqual(self.scope("/scope/%ff%")["path"], "/asgi/scope/\ufffd%")

    def test_headers_keep_their_order_and_the_client_cannot_forge_its_address(self) -> None:
        connection = http.client.HTTPConnection(host().address)
        connection.putrequest("GET", "/asgi/scope")
        for name, value in (("X-B", "1"), ("X-A", "2"), ("X-B", "3"), ("X-Forwarded-For", "10.9.8.7"), ("X-Forwarded-Prefix", "/evil")):
            connection.putheader(name, value)
        connection.endheaders()
        scope = ast.literal_eval(connection.getresponse().read().decode())
        connection.close()
        # The host puts fields of one name together.
        own = [pair for pair in scope["headers"] if pair[0] in (b"x-a", b"x-b")]
        self.assertEqual(own, [(b"x-b", b"1"), (b"x-b", b"3"), (b"x-a", b"2")])
        self.assertEqual((scope["client"][0], scope["root_path"]), ("127.0.0.1", "/asgi"))

    def test_bodies_stream_in_both_directions(self) -> None:
        body = bytes(range(256)) * 8192
        self.assertEqual(self.client.call("POST", "/echo", body).body, body)
        seen = json.loads(self.last("echo").partition("echo ")[2])
        self.assertGreater(seen["pieces"], 8)
        self.assertLessEqual(seen["largest"], 65536)
        self.assertEqual(seen["after"], "http.disconnect")
        self.assertEqual(self.client.call("POST", "/echo", b"").body, b"")

    def begin_upload(self, path: str) -> http.client.HTTPConnection:
        """A request whose body follows in chunks."""
        connection = http.client.HTTPConnection(host().address, timeout=20)
        connection.putrequest("POST", f"/asgi{path}")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        return connection

    def test_a_piece_is_answered_before_the_next_is_sent(self) -> None:
        connection = self.begin_upload("/echo")
        connection.send(b"5\r\nfirst\r\n")
        response = connection.getresponse()
        self.assertEqual(response.read(5), b"first")
        assert response.fp is not None
        client = socket.socket(fileno=os.dup(response.fp.fileno()))
        client.sendall(b"6\r\nsecond\r\n")
        self.assertEqual(response.read(6), b"second")
        client.sendall(b"0\r\n\r\n")
        self.assertEqual(response.read(), b"")
        client.close()
        connection.close()

    def test_a_cancelled_receive_loses_nothing(self) -> None:
        connection = self.begin_upload("/impatient")
        connection.send(b"5\r\nfirst\r\n")
        # These requests are answered while the body is waited for.
        while int(self.client.get("/calls").text) < 2:
            pass
        self.client.get("/together")
        connection.send(b"6\r\nsecond\r\n0\r\n\r\n")
        answer = json.loads(connection.getresponse().read())
        connection.close()
        self.assertEqual(answer["body"], "firstsecond")
        self.assertGreater(answer["cancelled"], 0)

    def test_an_answer_before_the_end_of_the_body(self) -> None:
        connection = self.begin_upload("/gives-up")
        connection.send(b"5\r\nfirst\r\n")
        self.assertEqual(connection.getresponse().read(), b"the rest is not waited for")
        connection.close()
        # The client has gone. The call ends, and with it nothing else.
        while self.client.get("/calls").text != "1":
            pass
        self.assertEqual(self.client.get("/starts").text, "1")

    def test_a_body_that_is_not_read_does_no_harm(self) -> None:
        self.assertEqual(self.client.call("POST", "/unread", b"x" * 300_000).text, "the body was not read")
        self.assertEqual(self.client.get("/calls").text, "1")

    def test_send_waits_for_the_client_and_fails_when_it_goes(self) -> None:
        with socket.create_connection(tuple(host().address.split(":")), timeout=20) as client:
            client.sendall(b"GET /asgi/large HTTP/1.1\r\nhost: x\r\n\r\n")
            client.recv(1000)
            waiting = json.loads(self.client.get("/large-state/0.3").body)
            self.assertEqual(waiting["ended"], "")
            self.assertLess(waiting["taken"], 512)
        gone = json.loads(self.client.get("/large-state/20").body)
        self.assertEqual(gone["ended"], "OSError: the client has gone")

    def test_a_large_answer_comes_whole(self) -> None:
        self.assertEqual(len(self.client.get("/large").body), 1024 * 65536)
        self.assertEqual(json.loads(self.client.get("/large-state/20").body), {"taken": 1024, "ended": "whole"})

    def test_an_exception_is_500_with_its_traceback_in_the_log_only(self) -> None:
        answer = self.client.get("/fail")
        self.assertEqual((answer.status, answer.text), (500, "Internal Server Error\n"))
        self.assertIn("ValueError: a secret in the exception", self.client.log())
        self.assertEqual(self.client.get("/fail-exit").status, 500)
        self.assertEqual(self.client.get("/silent").status, 500)
        self.assertIn("the application returned before its answer was complete", self.client.log())
        self.assertEqual(self.client.get("/starts").text, "1", "the instance went on")

    def test_an_exception_after_the_head_does_not_look_whole(self) -> None:
        try:
            answer = self.client.get("/fail-late")
        except (http.client.IncompleteRead, ConnectionError):
            return
        # The host had not sent the head yet.
        self.assertGreaterEqual(answer.status, 500)

    def test_what_breaks_the_protocol_is_500_with_the_reason_in_the_log(self) -> None:
        reasons = {
            "body-first": "http.response.body was sent before http.response.start",
            "start-twice": "http.response.start was sent twice",
            "text-header": "is not bytes",
            "bad-header": "the answer's headers are refused",
            "bad-status": "the status 99 is not one of 200 to 599",
            "unknown": "the event 'http.response.trailers' is not supported",
        }
        for name, reason in reasons.items():
            self.assertEqual(self.client.get(f"/wrong?{name}").status, 500, name)
            self.assertIn(reason, self.client.log())

    def test_answers_without_a_body(self) -> None:
        for status in (204, 304):
            answer = self.client.get(f"/no-body?{status}")
            self.assertEqual((answer.status, answer.body, answer.headers["x-a"]), (status, b"", "1"))
        answer = self.client.call("HEAD", "/no-body?200")
        self.assertEqual((answer.status, answer.body, answer.headers["x-a"]), (200, b"", "1"))

    def test_websockets_are_refused(self) -> None:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "AAAA", "Sec-WebSocket-Version": "13"}
        answer = self.client.get("/scope", headers)
        self.assertEqual(answer.status, 501)
        self.assertIn("wfn has no WebSockets", answer.text)

    def test_work_after_the_answer_runs_to_its_end(self) -> None:
        before = len(self.client.log())
        self.client.get("/background")
        self.assertEqual(json.loads(self.client.get("/background-done").body), ["the coroutine", "the task"])
        self.assertIn("the task is done", self.client.log()[before:])

    def test_tasks_of_lifespan_go_on_while_requests_do(self) -> None:
        self.assertEqual(self.client.get("/ticked").text, "by a task of lifespan")


class LifespanTest(unittest.TestCase):
    def deploy(self, name: str, mode: str) -> Client:
        return host().deploy(asgi_component("asgi"), name, *ONE_WORKER, "--env", f"MODE={mode}")

    def test_the_start_runs_once_and_before_the_first_requests(self) -> None:
        client = self.deploy("asgi-starts", "")
        self.assertEqual([answer.text for answer in get_all(client, *["/starts"] * 8)], ["1"] * 8)

    def test_an_application_without_lifespan_works(self) -> None:
        client = self.deploy("asgi-without", "without")
        self.assertEqual(client.get("/starts").text, "0")
        self.assertNotIn("lifespan", client.log())

    def test_a_failed_start_is_500_for_every_request(self) -> None:
        for mode, reason in (("fails", "the database is closed"), ("raises", "RuntimeError: the database is away")):
            client = self.deploy(f"asgi-{mode}", mode)
            for _ in range(2):
                answer = client.get("/starts")
                self.assertEqual((answer.status, answer.text), (500, "Internal Server Error\n"))
            self.assertEqual(client.log().count(f"the application's start failed: {reason}"), 2 + (mode == "fails"))


if __name__ == "__main__":
    unittest.main()
