"""Flask from PyPI runs unchanged."""

from __future__ import annotations

import hashlib
import http.client
import unittest

from host import Client, component, host, installed


class FlaskTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        packages = installed("flask", "flask==3.1.3")
        module = component("flask", "app:app", "--path", str(packages))
        cls.client = host().deploy(module, "flask")

    def test_a_template_with_quoted_text_and_links(self) -> None:
        answer = self.client.get("/page/Eve%20%3Cb%3E")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["content-type"], "text/html; charset=utf-8")
        self.assertIn('<link rel="stylesheet" href="/flask/static/style.css">', answer.text)
        self.assertIn("<p title=\"a &#34;quoted&#34; text\">Good day, Eve &lt;b&gt;</p>", answer.text)
        self.assertIn('<a href="/flask/page/Ann">', answer.text)
        self.assertIn("Good day, nobody", self.client.get("/").text)

    def test_a_static_file_and_its_etag(self) -> None:
        answer = self.client.get("/static/style.css")
        self.assertEqual((answer.status, answer.text), (200, "body { color: teal; }\n"))
        self.assertEqual(answer.headers["content-type"], "text/css; charset=utf-8")
        again = self.client.get("/static/style.css", {"If-None-Match": answer.headers["etag"]})
        self.assertEqual((again.status, again.body), (304, b""))
        self.assertEqual(self.client.get("/static/..%2fapp.py").status, 404)

    def test_a_session_lasts_from_request_to_request(self) -> None:
        client = Client(host(), "flask")
        self.assertEqual([client.get("/visits").text for _ in range(3)], [f'{{"visits":{n}}}\n' for n in (1, 2, 3)])
        client.cookies["session"] += "x"
        self.assertEqual(client.get("/visits").text, '{"visits":1}\n')

    def test_forms_files_and_json(self) -> None:
        self.assertEqual(self.client.post("/form", b"name=A%C3%A4").text, '{"file":null,"name":"A\\u00e4"}\n')
        body = (
            b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nAnn\r\n'
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\ncontent\r\n--x--\r\n'
        )
        answer = self.client.post("/form", body, "multipart/form-data; boundary=x")
        self.assertEqual(answer.text, '{"file":"content","name":"Ann"}\n')
        self.assertEqual(self.client.post("/json", b'[1,{"a":null}]', "application/json").text, '{"received":[1,{"a":null}]}\n')
        self.assertEqual(self.client.post("/json", b"[1,", "application/json").status, 400)
        self.assertEqual(self.client.post("/form", b"other=1").status, 400)

    def test_a_body_without_a_length_is_read(self) -> None:
        connection = http.client.HTTPConnection(host().address)
        connection.request("POST", "/flask/size", iter([b"x" * 10_000] * 20), encode_chunked=True)
        self.assertEqual(connection.getresponse().read(), b'{"bytes":200000}\n')
        connection.close()

    def test_errors(self) -> None:
        answer = self.client.get("/missing")
        self.assertEqual(answer.status, 404)
        self.assertIn("it is not here", answer.text)
        self.assertEqual(self.client.call("DELETE", "/").status, 405)
        answer = self.client.get("/error")
        self.assertEqual(answer.status, 500)
        self.assertNotIn("ZeroDivisionError", answer.text)
        self.assertIn("ZeroDivisionError: division by zero", self.client.log())
        self.assertIn("return 1 / len(())", self.client.log())

    def test_json_of_too_many_levels_is_an_error_and_ends_no_instance(self) -> None:
        answer = self.client.post("/json", b"[" * 100_000, "application/json")
        self.assertEqual(answer.status, 500)
        self.assertIn("RecursionError: the JSON has more than 900 levels", self.client.log())

    def test_streams(self) -> None:
        answer = self.client.get("/stream")
        self.assertEqual(answer.text, "".join(f"part {number}\n" for number in range(1000)))
        with self.assertRaises(http.client.IncompleteRead):
            self.client.get("/stream/broken")
        self.assertIn("RuntimeError: broken in the middle", self.client.log())

    def test_head_has_the_length_and_no_body(self) -> None:
        answer = self.client.call("HEAD", "/")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(int(answer.headers["content-length"]), len(self.client.get("/").body))

    def test_addresses(self) -> None:
        self.assertEqual(self.client.get("/away").headers["location"], f"http://{host().address}/flask/page/Bob")
        answer = self.client.get("/about?q=1", {"User-Agent": "test", "X_Forwarded_For": "1.2.3.4"})
        self.assertEqual(
            answer.text,
            f'{{"agent":"test","client":"127.0.0.1","root":"/flask","url":"http://{host().address}/flask/about?q=1"}}\n',
        )

    def test_a_password_hash_is_the_one_that_others_make(self) -> None:
        answer = self.client.get("/password")
        self.assertIn('"right":true', answer.text)
        self.assertIn('"wrong":false', answer.text)
        stored = answer.text.partition('"stored":"')[2].partition('"')[0]
        method, salt, value = stored.split("$")
        # Werkzeug's own choice.
        name, n, r, p = method.split(":")
        self.assertEqual(name, "scrypt")
        expected = hashlib.scrypt(b"correct horse", salt=salt.encode(), n=int(n), r=int(r), p=int(p), maxmem=2**26)
        self.assertEqual(expected.hex(), value)

    def test_scrypt_is_right_and_refuses_what_takes_too_long(self) -> None:
        expected = hashlib.scrypt(b"password", salt=b"NaCl", n=64, r=8, p=1).hex()
        self.assertEqual(self.client.get("/scrypt").text, expected)
        self.assertEqual(self.client.get("/scrypt/long").status, 500)
        self.assertIn("n, r, p: at most 67108864 for 128 n r", self.client.log())
