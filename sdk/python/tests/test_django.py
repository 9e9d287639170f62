"""Django from PyPI runs unchanged: templates, forms, sessions, SQLite, migrations, the admin site."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unittest
from datetime import datetime, timezone

from host import Client, component, host, installed


class DjangoTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        packages = installed("django", "django==5.2.19", "tzdata==2026.6")
        module = component("django", "site_of_notes.wsgi:application", "--path", str(packages))
        # One instance, because each has a database of its own.
        cls.client = host().deploy(module, "django", "--scratch-mb", "16", "--max-instances", "1", "--timeout", "60s")

    def test_a_form_writes_to_the_database(self) -> None:
        page = self.client.get("/")
        self.assertEqual(page.status, 200, page.text)
        self.assertIn('<link rel="stylesheet" href="/django/static/notes.css">', page.text)
        self.assertIn('action="/django/"', page.text)
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[0]
        answer = self.client.post("/", f"csrfmiddlewaretoken={token}&text=Buy+%3Cmilk%3E".encode())
        self.assertEqual((answer.status, answer.headers["location"]), (302, "/django/"))
        year = datetime.now(timezone.utc).year
        self.assertRegex(self.client.get("/").text, f'<li title="Buy &lt;milk&gt;">Buy &lt;milk&gt; {year}</li>')

    def test_a_form_without_its_token_is_refused(self) -> None:
        self.assertEqual(Client(host(), "django").post("/", b"text=x").status, 403)

    def test_a_form_that_is_not_valid_is_shown_again(self) -> None:
        page = self.client.get("/")
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[0]
        answer = self.client.post("/", f"csrfmiddlewaretoken={token}&text={'x' * 201}".encode())
        self.assertEqual(answer.status, 200)
        self.assertIn("Ensure this value has at most 200 characters (it has 201).", answer.text)

    def test_a_session_lasts(self) -> None:
        client = Client(host(), "django")
        self.assertEqual([client.get("/visits/").text for _ in range(3)], ["1", "2", "3"])

    def test_a_static_file(self) -> None:
        answer = self.client.get("/static/notes.css")
        self.assertEqual((answer.status, answer.text), (200, "li { color: teal; }\n"))
        self.assertEqual(self.client.get("/static/none.css").status, 404)

    def test_zones_come_from_tzdata(self) -> None:
        answer = self.client.get("/time/").text
        self.assertEqual(
            json.loads(answer), {"here": "2026-07-01T14:00:00+02:00", "there": "2026-07-01T08:00:00-04:00"}
        )

    def test_a_password_hash_is_the_one_that_others_make(self) -> None:
        answer = json.loads(self.client.get("/password/").text)
        self.assertIs(answer["right"], True)
        _, iterations, salt, value = answer["stored"].split("$")
        expected = hashlib.pbkdf2_hmac("sha256", b"correct horse", salt.encode(), int(iterations))
        self.assertEqual(base64.b64decode(value), expected)

    def test_the_login_page_of_the_admin_site(self) -> None:
        answer = self.client.get("/admin/")
        self.assertEqual((answer.status, answer.headers["location"]), (302, "/django/admin/login/?next=/django/admin/"))
        page = self.client.get("/admin/login/?next=/django/admin/")
        self.assertEqual(page.status, 200)
        self.assertIn("Django administration", page.text)
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[0]
        form = f"csrfmiddlewaretoken={token}&username=nobody&password=wrong"
        self.assertIn("Please enter the correct username", self.client.post("/admin/login/", form.encode()).text)

    def test_an_error(self) -> None:
        answer = self.client.get("/error/")
        self.assertEqual(answer.status, 500)
        self.assertNotIn("nothing was found", answer.text)
        self.assertIn("LookupError: nothing was found", self.client.log())
