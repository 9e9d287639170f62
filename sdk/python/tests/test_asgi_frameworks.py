"""Starlette and Quart from PyPI run unchanged."""

from __future__ import annotations

import unittest

from asgi import ONE_WORKER, asgi_component, get_all
from host import Client, host, installed

STARLETTE = ("starlette==1.10.0", "anyio==4.16.0", "python-multipart==0.0.34", "jinja2==3.1.6")
QUART = ("quart==0.22.0", "hypercorn==0.18.0", "werkzeug==3.1.9", "flask==3.1.3")

FORM = (
    b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nAnn\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\ncontent\r\n--x--\r\n'
)
MULTIPART = "multipart/form-data; boundary=x"


def wait_for_log(client: Client, text: str) -> str:
    """The app's log, as soon as it has the text."""
    for _ in range(2000):
        if text in (log := client.log()):
            return log
        # Lets the instance work on.
        client.get("/")
    raise AssertionError(f"{text!r} is not in the log")


class StarletteTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        module = asgi_component("starlette", "--path", str(installed("starlette", *STARLETTE)))
        cls.client = host().deploy(module, "starlette", *ONE_WORKER, "--scratch-mb", "16")

    def test_routes_links_state_and_middleware(self) -> None:
        answer = self.client.get("/?a=1")
        url = f"http://{host().address}/starlette/"
        self.assertEqual(answer.text, f'{{"started":"with state","item":"{url}item/5","url":"{url}?a=1"}}')
        self.assertEqual(answer.headers["x-stamp"], "by the middleware")
        self.assertEqual(self.client.get("/item/7").text, "item 7")
        self.assertEqual(self.client.get("/item/seven").status, 404)
        self.assertEqual(self.client.post("/item/7", b"").status, 405)
        self.assertEqual(self.client.get("/away").headers["location"], url)

    def test_def_endpoints_run_at_once(self) -> None:
        self.assertEqual(self.client.get("/def?name=Ann").text, "from def, Ann")

    def test_streams_and_files(self) -> None:
        self.assertEqual(self.client.get("/stream").text, "0\n1\n2\n")
        self.assertEqual(self.client.get("/iterator").text, "ab")
        answer = self.client.get("/file")
        self.assertEqual((answer.text, answer.headers["content-disposition"]), ("a static text\n", 'attachment; filename="given.txt"'))
        self.assertEqual(self.client.get("/file", {"Range": "bytes=2-7"}).text, "static")

    def test_static_files(self) -> None:
        answer = self.client.get("/static/text.txt")
        self.assertEqual((answer.status, answer.text), (200, "a static text\n"))
        again = self.client.get("/static/text.txt", {"If-None-Match": answer.headers["etag"]})
        self.assertEqual((again.status, again.body), (304, b""))
        self.assertEqual(self.client.get("/static/..%2fapp.py").status, 404)

    def test_forms_and_bodies(self) -> None:
        self.assertEqual(self.client.post("/form", FORM, MULTIPART).text, '{"name":"Ann","file":"f.txt","bytes":7}')
        # Starlette keeps a file of more than 1 MiB in /tmp.
        large = FORM.replace(b"content\r\n", b"x" * 3_000_000 + b"\r\n")
        self.assertEqual(self.client.post("/form", large, MULTIPART).text, '{"name":"Ann","file":"f.txt","bytes":3000000}')
        self.assertEqual(self.client.post("/body", b"x" * 1_000_000).text, '{"bytes":1000000}')

    def test_templates(self) -> None:
        text = self.client.get("/page?name=%3CEve%3E").text
        self.assertIn("&lt;Eve&gt;", text)
        self.assertIn(f'href="http://{host().address}/starlette/item/7">Ä<', text)

    def test_background_tasks_run_after_the_answer(self) -> None:
        self.assertEqual(self.client.get("/background").text, "answered")
        wait_for_log(self.client, "the background task is done")

    def test_exceptions(self) -> None:
        answer = self.client.get("/fail")
        self.assertEqual((answer.status, answer.text), (500, "Internal Server Error"))
        wait_for_log(self.client, "ValueError: a secret in the exception")
        self.assertEqual((self.client.get("/gone").status, self.client.get("/gone").text), (410, "gone for good"))

    def test_waits_overlap(self) -> None:
        for answer in get_all(self.client, *["/together"] * 8):
            self.assertEqual(answer.text, "[0,1,2,3,4,5,6,7,8,9]")

    def test_a_def_endpoint_that_blocks_is_named(self) -> None:
        self.client.get("/blocks")
        self.assertRegex(self.client.log(), r"function blocks \(/0/app.py:\d+\) held the worker for \d+ ms")


class QuartTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        module = asgi_component("quart", "--path", str(installed("quart", *QUART)))
        cls.client = host().deploy(module, "quart", *ONE_WORKER)

    def test_routes_and_the_start(self) -> None:
        self.assertEqual(self.client.get("/").text, '{"path":"/","started":["before serving"]}\n')
        self.assertEqual(self.client.get("/nothing").status, 404)
        self.assertEqual(self.client.get("/def").text, "from def")

    def test_templates_and_static_files(self) -> None:
        text = self.client.get("/page/%3CEve%3E").text
        self.assertIn("&lt;Eve&gt;", text)
        self.assertIn('href="/quart/page/x">Ä<', text)
        self.assertEqual(self.client.get("/static/text.txt").text, "a static text\n")

    def test_streams(self) -> None:
        self.assertEqual(self.client.get("/stream").text, "0\n1\n2\n")

    def test_forms_files_json_and_sessions(self) -> None:
        self.assertEqual(self.client.post("/form", FORM, MULTIPART).text, '{"file":"content","name":"Ann"}\n')
        self.assertEqual(self.client.post("/json", b'[1,{"a":null}]', "application/json").text, '{"received":[1,{"a":null}]}\n')
        self.assertEqual(self.client.post("/json", b"[1,", "application/json").status, 400)
        client = Client(host(), "quart")
        self.assertEqual([client.get("/visits").text for _ in range(2)], ['{"visits":1}\n', '{"visits":2}\n'])

    def test_background_tasks_run_after_the_answer(self) -> None:
        self.assertEqual(self.client.get("/background").text, "answered")
        wait_for_log(self.client, "the background task is done")

    def test_exceptions(self) -> None:
        answer = self.client.get("/fail")
        self.assertEqual(answer.status, 500)
        self.assertNotIn("secret", answer.text)
        wait_for_log(self.client, "ValueError: a secret in the exception")


if __name__ == "__main__":
    unittest.main()
