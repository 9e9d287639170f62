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

PACKAGES = ("requests==2.34.2", "urllib3==2.8.0", "httpx==0.28.1")


@cache
def client() -> Client:
    output = BUILT / "outbound.wasm"
    packages = str(installed("outbound", *PACKAGES))
    ended = run_build(TESTS / "apps/outbound", "wsgi", "app:application", "-o", str(output), "--path", packages)
    assert ended.returncode == 0, ended.stderr
    return deploy(output, "outbound", "max_instances = 1")


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
        self.assertIn("there is no network while the component is built", self.call("at_build").returned)

    def test_requests_that_are_all_sent_first_overlap(self) -> None:
        begun = time.monotonic()
        self.assertEqual(self.call("at_once").returned, ["waited"] * 10)
        self.assertEqual(self.call("by_fetch_all").returned, [200, "waited", "body", "application/json"])
        # One after the other they would take three seconds.
        self.assertLess(time.monotonic() - begun, 2)

    def test_a_connection_of_http_client_is_used_again(self) -> None:
        self.assertEqual(self.call("used_again").returned, ["number 0", "number 1", "number 2"])


class RequestsTest(OutTest):
    module = "with_requests"

    def test_get(self) -> None:
        status, reason, url, path, headers = self.call("get").returned
        self.assertEqual((status, reason), (200, "OK"))
        self.assertEqual((url, path), (f"http://{upstream()}/echo/%C3%A4?a=+b&c=1&c=2", "/echo/%C3%A4?a=+b&c=1&c=2"))
        self.assertEqual((headers["x-own"], headers["host"]), ("mine", upstream()))
        self.assertIn("python-requests", headers["user-agent"])

    def test_bodies(self) -> None:
        form = "application/x-www-form-urlencoded"
        expected = [
            ["POST", "application/json", len(json.dumps({"name": "Zoë"}))],
            ["PUT", form, 3],
            ["PATCH", None, 5],
            ["POST", None, 12],
            ["POST", None, 100_000],
            ["DELETE", None, 0],
            ["OPTIONS", None, 0],
        ]
        self.assertEqual(self.call("bodies").returned, expected)
        self.assertEqual(self.call("files").returned, ["multipart/form-data", True, True])

    def test_redirects(self) -> None:
        self.assertEqual(self.call("redirect").returned, ["/echo?redirected=yes", [302] * 3, 302, True])
        self.call("too_many_redirects").raised("TooManyRedirects")

    def test_sessions_and_authentication(self) -> None:
        self.assertEqual(self.call("session").returned, ["taste=sweet", "taste=sweet", "yes", {"taste": "sweet"}])
        self.assertEqual(self.call("basic_auth").returned, [401, "welcome", "welcome"])

    def test_bodies_are_streams(self) -> None:
        self.assertEqual(self.call("gzip").returned, len(LARGE))
        expected = [["piece 0", "piece 1", "piece 2"], [100_000, 100_000, len(LARGE) - 200_000], len(LARGE)]
        self.assertEqual(self.call("stream").returned, expected)
        self.assertGreater(self.call("first_before_last").returned, 0.5)
        self.assertEqual(self.call("left_unread").returned, "alive")

    def test_errors_are_those_of_requests(self) -> None:
        self.assertIn("503 Server Error", self.call("http_error").raised("HTTPError"))
        self.call("timeout").raised("ReadTimeout")
        self.call("read_timeout").raised("ConnectionError")
        self.call("cut").raised("ChunkedEncodingError")
        self.assertIn('allowed_outbound_hosts = ["https://example.com"]', self.call("refused").raised("ConnectionError"))
        self.assertIn("the name has no address", self.call("unknown_name").raised("ConnectionError"))
        self.assertIn("does not accept connections", self.call("nobody_listens").raised("ConnectionError"))
        self.call("retries").raised("RetryError")

    def test_the_host_does_tls(self) -> None:
        self.assertEqual(self.call("https").returned[0], 200)
        self.assertIn("certificate is not valid", self.call("untrusted").raised("SSLError"))
        self.assertIn("the host does TLS", self.call("unverified").raised("SSLError"))
        self.assertIn("the host does TLS", self.call("own_authority").raised("SSLError"))

    def test_what_does_not_exist_here_says_so(self) -> None:
        self.assertIn("there are no proxies", self.call("proxy").raised("ProxyError"))
        self.assertIn("there are no proxies", self.call("proxy_for_https").raised("ProxyError"))
        self.assertIn("the header Host is other.example", self.call("other_host").raised("ConnectionError"))


class Urllib3Test(OutTest):
    module = "with_urllib3"

    def test_requests(self) -> None:
        self.assertEqual(self.call("get").returned, [200, "/echo?a=b", "mine", "application/json"])
        self.assertEqual(self.call("post").returned, ["POST", '{"a":1}', "multipart/form-data"])
        self.assertEqual(self.call("redirect").returned, [200, "/echo?redirected=yes", 2])
        self.assertEqual(self.call("stream").returned, [[100_000, 100_000, len(LARGE) - 200_000], len(LARGE)])

    def test_the_host_does_tls(self) -> None:
        self.assertEqual(self.call("https").returned, 200)
        self.assertIn("certificate is not valid", self.call("untrusted").raised("MaxRetryError"))
        self.assertIn("the host does TLS", self.call("unverified").raised("MaxRetryError"))

    def test_errors_are_those_of_urllib3(self) -> None:
        self.call("timeout").raised("ReadTimeoutError")
        self.assertIn("allowed_outbound_hosts", self.call("refused").raised("NewConnectionError"))
        self.call("unknown_name").raised("NameResolutionError")
        self.assertIn("there are no proxies", self.call("proxy").raised("ProxyError"))

    def test_the_import_of_urllib3_leaves_no_socket_behind(self) -> None:
        self.call("sockets_still_fail_politely").raised("OSError")


class HttpxTest(OutTest):
    module = "with_httpx"

    def test_get(self) -> None:
        status, reason, url, path, headers, version = self.call("get").returned
        self.assertEqual((status, reason, version), (200, "OK", "HTTP/1.1"))
        self.assertEqual((url, path), (f"http://{upstream()}/echo/%C3%A4?a=+b", "/echo/%C3%A4?a=+b"))
        self.assertEqual((headers["x-own"], headers["host"]), ("mine", upstream()))
        self.assertIn("python-httpx", headers["user-agent"])

    def test_bodies(self) -> None:
        expected = [
            ["POST", "application/json", len('{"name":"Zoë"}'.encode())],
            ["PUT", "application/x-www-form-urlencoded", 3],
            ["POST", "", 12],
            ["POST", "multipart/form-data", True],
            ["DELETE", "", 0],
            ["POST", "", 0],
        ]
        self.assertEqual(self.call("bodies").returned, expected)
        self.assertEqual(self.call("failing_body").raised("LookupError"), "no more parts")

    def test_clients(self) -> None:
        self.assertEqual(self.call("client").returned, ["welcome", "taste=sweet", "/echo?redirected=yes", "yes"])

    def test_bodies_are_streams(self) -> None:
        self.assertEqual(self.call("stream").returned, [["piece 0", "piece 1", "piece 2"], len(LARGE), len(LARGE)])
        self.assertEqual(self.call("left_unread").returned, "alive")

    def test_errors_are_those_of_httpx(self) -> None:
        self.call("http_error").raised("HTTPStatusError")
        self.call("timeout").raised("ReadTimeout")
        self.call("read_timeout").raised("ReadTimeout")
        self.call("cut").raised("RemoteProtocolError")
        self.assertIn('allowed_outbound_hosts = ["https://example.com"]', self.call("refused").raised("ConnectError"))
        self.assertIn("the name has no address", self.call("unknown_name").raised("ConnectError"))
        self.assertIn("does not accept connections", self.call("nobody_listens").raised("ConnectError"))

    def test_the_host_does_tls(self) -> None:
        self.assertEqual(self.call("https").returned, 200)
        self.assertIn("certificate is not valid", self.call("untrusted").raised("ConnectError"))
        self.assertIn("the host does TLS", self.call("unverified").raised("ConnectError"))

    def test_what_does_not_exist_here_says_so(self) -> None:
        self.assertIn("there are no proxies", self.call("proxy").raised("ProxyError"))
        self.assertIn("the header Host is other.example", self.call("other_host").raised("UnsupportedProtocol"))
        self.assertIn("uds=", self.call("unix_socket").raised("UnsupportedProtocol"))


if __name__ == "__main__":
    unittest.main()
