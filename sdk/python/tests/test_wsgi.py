"""The bridge does what PEP 3333 says."""

from __future__ import annotations

import http.client
import json
import unittest

from host import Client, component, host


class WsgiTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.client = host().deploy(component("wsgi", "app:application"), "wsgi", "--max-instances", "1")

    def test_the_validator_of_the_standard_library_finds_nothing(self) -> None:
        self.assertEqual(self.client.get("/checked").text, "got ")
        self.assertEqual(self.client.post("/checked?a=%20b", b"x" * 5000).text, "got " + "x" * 5000)
        self.assertIn("checked", self.client.log())

    def test_the_environment(self) -> None:
        headers = {"X-Twice": "1", "Cookie": "a=b", "X_Forwarded_Prefix": "/evil", "X-Forwarded-Proto": "https"}
        environ = json.loads(self.client.call("PURGE", "/environ/?q=%C3%A4", headers=headers).text)
        expected = {
            "REQUEST_METHOD": "PURGE",
            "SCRIPT_NAME": "/wsgi",
            "PATH_INFO": "/environ/",
            "QUERY_STRING": "q=%C3%A4",
            "REQUEST_URI": "/wsgi/environ/?q=%C3%A4",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": host().address,
            "SERVER_PORT": host().address.rpartition(":")[2],
            "HTTP_X_TWICE": "1",
            "HTTP_COOKIE": "a=b",
            "wsgi.url_scheme": "http",
        }
        self.assertEqual({key: environ.get(key) for key in expected}, expected)

    def test_the_body_is_a_file(self) -> None:
        body = b"first\nsecond\nthird"
        expected = "(b'first\\n', b'sec', [b'ond\\n', b'third'], b'', b'')"
        self.assertEqual(self.client.post("/lines", body).text, expected)
        connection = http.client.HTTPConnection(host().address)
        connection.request("POST", "/wsgi/lines", iter([body[:3], body[3:]]), encode_chunked=True)
        self.assertEqual(connection.getresponse().read().decode(), expected)
        connection.close()

    def test_write_and_exc_info(self) -> None:
        self.assertEqual(self.client.get("/write").text, "written, returned")
        answer = self.client.get("/replaced")
        self.assertEqual((answer.status, answer.text, answer.headers["x-first"]), (503, "replaced", None))
        with self.assertRaises(http.client.IncompleteRead):
            self.client.get("/too-late")
        self.assertIn("ValueError: after the head", self.client.log())

    def test_close_is_always_called(self) -> None:
        self.assertEqual(self.client.get("/close").text, "body")
        with self.assertRaises(http.client.IncompleteRead):
            self.client.get("/close-broken")
        self.assertEqual(self.client.get("/closed").text, "whole,broken")

    def test_a_fault_of_the_application_is_a_500_with_the_reason_in_the_log(self) -> None:
        for path, reason in (
            ("/exit", "SystemExit: leaving"),
            ("/twice", "start_response was called twice"),
            ("/text", "a WSGI application's body is bytes, not str"),
            ("/header", "the value of the header X-Bad contains a line break"),
            ("/no-start", "the application gave a body before it called start_response"),
            ("/nothing", "KeyError: 'path_nothing'"),
        ):
            with self.subTest(path):
                answer = self.client.get(path)
                self.assertEqual((answer.status, answer.text), (500, "The application failed. Its log says why.\n"))
                self.assertIn(reason, self.client.log())

    def test_a_body_of_another_length_than_said_does_not_look_whole(self) -> None:
        for path in ("/short", "/long"):
            try:
                status = self.client.get(path).status
            except http.client.IncompleteRead:
                continue
            # The host knew before it had sent the head.
            self.assertEqual(status, 502, path)

    def test_fields_of_the_connection_are_the_hosts(self) -> None:
        answer = self.client.get("/hop")
        self.assertEqual((answer.text, answer.headers["x-kept"]), ("ok", "yes"))

    def test_answers_without_a_body(self) -> None:
        answer = self.client.get("/empty")
        self.assertEqual((answer.status, answer.body), (204, b""))
        answer = self.client.call("HEAD", "/write")
        self.assertEqual((answer.status, answer.body), (200, b""))

    def test_recursion_raises_in_time(self) -> None:
        self.assertEqual(self.client.get("/recursion").text, "RecursionError")
