"""Requests out by the libraries that people use, from a WSGI application that knows nothing of wfn."""

from __future__ import annotations

import base64
import json
import time
import unittest
from functools import cache

from host import BUILT, TESTS, Client, installed, run_build
from outbound import Outcome, deploy
from upstream import LARGE, upstream

PACKAGES = ()


@cache
def client() -> Client:
    output = BUILT / "outbound.wasm"
    ended = run_build(TESTS / "apps/outbound", "wsgi", "app:application", "-o", str(output))
    assert ended.returncode == 0, ended.stderr
    return deploy(output, "outbound", "--max-instances", "1")


class OutTest(unittest.TestCase):
    module: str

    def call(self, function: str) -> Outcome:
        return Outcome(json.loads(client().get(f"/{self.module}/{function}").text))


class UrllibTest(OutTest):
    module = "with_urllib"

    def test_get(self) -> None:
        status, kind, url, path, headers = self.call("get").returned
        self.assertEqual((status, kind), (200, "application/json"))
        self.assertEqual((url, path), (f"http://{upstream()}/echo/%C3%A4?a=%20b", "/echo/%C3%A4?a=%20b"))
        self.assertEqual((headers["x-own"], headers["host"]), ("mine", upstream()))
        self.assertIn("Python-urllib", headers["user-agent"])

    def test_bodies(self) -> None:
        self.assertEqual(self.call("post").returned, ["POST", "name=Zo%C3%AB", "application/x-www-form-urlencoded", "13"])
        self.assertEqual(self.call("post_chunks").returned, ["PUT", "first second"])

    def test_redirects_cookies_and_authentication(self) -> None:
        self.assertEqual(self.call("redirect").returned, [200, "/echo?redirected=yes", f"http://{upstream()}/echo?redirected=yes"])
        self.assertEqual(self.call("cookies").returned, "taste=sweet")
        self.assertEqual(self.call("basic_auth").returned, "welcome")

    def test_answers_without_a_body(self) -> None:
        self.assertEqual(self.call("head").returned, [200, str(len(LARGE)), 0])
        self.assertEqual(self.call("empty").returned, [204, ""])
        self.assertEqual(self.call("not_found").raised("HTTPError"), "HTTP Error 404: Not Found")

    def test_bodies_are_streams(self) -> None:
        self.assertEqual(self.call("stream").returned, ["piece 0\n", "piece 1\n", "piece 2\n"])
        self.assertEqual(self.call("large").returned, [100_000, 100_000, len(LARGE) - 200_000])
        self.assertEqual(self.call("left_unread").returned, "alive")
        self.call("cut").raised("ConnectionError")

    def test_the_host_does_tls(self) -> None:
        status, host = self.call("https").returned
        self.assertEqual((status, host.partition(":")[0]), (200, "localhost"))
        self.assertIn("the server's certificate is not valid", self.call("untrusted").raised("URLError"))

    def test_timeouts(self) -> None:
        begun = time.monotonic()
        self.call("timeout").raised("TimeoutError")
        self.call("read_timeout").raised("TimeoutError")
        self.assertLess(time.monotonic() - begun, 1)

    def test_what_does_not_connect(self) -> None:
        self.assertIn('allowed_outbound_hosts = ["https://example.com"]', self.call("refused").raised("URLError"))
        self.assertIn("needs an entry of its own", self.call("private_address").raised("URLError"))
        self.assertIn("the name has no address", self.call("unknown_name").raised("URLError"))
        self.assertIn("does not accept connections", self.call("nobody_listens").raised("URLError"))
        self.assertIn("there are no proxies", self.call("proxy").raised("URLError"))

    def test_connections_of_http_client(self) -> None:
        begun = time.monotonic()
        self.assertEqual(self.call("at_once").returned, ["waited"] * 10)
        self.assertLess(time.monotonic() - begun, 1)
        self.assertEqual(self.call("used_again").returned, ["number 0", "number 1", "number 2"])


if __name__ == "__main__":
    unittest.main()
