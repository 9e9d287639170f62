"""Bottle from PyPI runs unchanged."""

from __future__ import annotations

import unittest

from host import Client, component, host, installed


class BottleTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        packages = installed("bottle", "bottle==0.13.4")
        cls.client = host().deploy(component("bottle", "app:application", "--path", str(packages)), "bottle")

    def test_a_template_file(self) -> None:
        answer = self.client.get("/")
        self.assertEqual(answer.status, 200)
        self.assertEqual(
            answer.text,
            "<h1 class=\"a 'b'\">&lt;Fruit&gt;</h1>\n<li>apple</li>\n<li>pear &amp; plum</li>\n",
        )

    def test_a_static_file(self) -> None:
        answer = self.client.get("/static/code.js")
        self.assertEqual((answer.status, answer.text), (200, "hello = 1;\n"))
        self.assertIn("javascript", answer.headers["content-type"])
        part = self.client.get("/static/code.js", {"Range": "bytes=0-4"})
        self.assertEqual((part.status, part.text), (206, "hello"))
        self.assertEqual(self.client.get("/static/..%2fapp.py").status, 403)
        self.assertEqual(self.client.get("/static/none.js").status, 404)

    def test_a_form(self) -> None:
        self.assertEqual(self.client.post("/form", b"name=%C3%A9t%C3%A9").text, '{"name": "\\u00e9t\\u00e9", "color": "none"}')

    def test_a_signed_cookie(self) -> None:
        client = Client(host(), "bottle")
        self.assertEqual([client.get("/cookie").text for _ in range(3)], ["0", "1", "2"])

    def test_errors(self) -> None:
        self.assertEqual(self.client.get("/missing").status, 404)
        self.assertIn("it is not here", self.client.get("/missing").text)
        answer = self.client.get("/error")
        self.assertEqual(answer.status, 500)
        self.assertNotIn("undefined_name", answer.text)
        self.assertIn("NameError: name 'undefined_name' is not defined", self.client.log())

    def test_a_stream(self) -> None:
        self.assertEqual(self.client.get("/stream").text, "".join(f"{number}\n" for number in range(100)))
