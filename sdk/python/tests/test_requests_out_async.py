"""Requests out from an ASGI application that knows nothing of wfn: those that are awaited overlap."""

from __future__ import annotations

import json
import unittest
from functools import cache

from host import BUILT, TESTS, Client, installed, run_build
from outbound import Outcome, deploy
from upstream import LARGE, upstream

PACKAGES = ("httpx==0.28.1", "aiohttp==3.14.5", "requests==2.34.2", "urllib3==2.8.0")
# Of one worker in one instance, so that requests meet.
ONE_WORKER = "concurrency = 16\nmax_instances = 1\nworkers = 1"
# Ten requests take as long as one, 50 ms, and what the instance computes for ten; not 500 ms.
AT_ONCE_SECONDS_MAX = 0.3


@cache
def client() -> Client:
    output = BUILT / "outbound-async.wasm"
    packages = str(installed("outbound-async", *PACKAGES))
    ended = run_build(TESTS / "apps/outbound_async", "asgi", "app:application", "-o", str(output), "--path", packages)
    assert ended.returncode == 0, ended.stderr
    return deploy(output, "outbound-async", ONE_WORKER)


class OutTest(unittest.TestCase):
    module: str

    def call(self, function: str) -> Outcome:
        return Outcome(json.loads(client().get(f"/{self.module}/{function}").text))


class HttpxTest(OutTest):
    module = "async_httpx"

    def test_get(self) -> None:
        status, url, path, headers = self.call("get").returned
        self.assertEqual((status, url, path), (200, f"http://{upstream()}/echo/%C3%A4?a=+b", "/echo/%C3%A4?a=+b"))
        self.assertEqual((headers["x-own"], headers["host"]), ("mine", upstream()))

    def test_ten_requests_take_as_long_as_one(self) -> None:
        seconds, texts = self.call("ten_at_once").returned
        print(f"httpx: ten requests to a server that answers after 50 ms took {seconds * 1000:.0f} ms")
        self.assertEqual(texts, ["waited"] * 10)
        self.assertLess(seconds, AT_ONCE_SECONDS_MAX)

    def test_bodies(self) -> None:
        expected = [
            ["POST", "application/json", len('{"name":"Zoë"}'.encode())],
            ["PUT", "application/x-www-form-urlencoded", 3],
            ["POST", "", 12],
            ["POST", "", 300_000],
        ]
        got = self.call("bodies").returned
        self.assertEqual(got[:4], expected)
        self.assertEqual((got[4][:2], got[5]), (["POST", "multipart/form-data"], ["DELETE", "", 0]))
        self.assertEqual(self.call("early_answer").returned, "enough")
        self.assertEqual(self.call("failing_body").raised("LookupError"), "no more parts")

    def test_clients(self) -> None:
        self.assertEqual(self.call("client").returned, ["welcome", "taste=sweet", "/echo?redirected=yes", "yes"])

    def test_bodies_are_streams(self) -> None:
        self.assertEqual(self.call("stream").returned, [["piece 0", "piece 1", "piece 2"], len(LARGE), len(LARGE)])
        self.assertGreater(self.call("first_before_last").returned, 0.5)
        self.assertEqual(self.call("left_unread").returned, "alive")
        self.assertEqual(self.call("cancelled").returned, ["wait?ms=1000", "stall"])

    def test_errors_are_those_of_httpx(self) -> None:
        self.call("timeout").raised("ReadTimeout")
        self.call("read_timeout").raised("ReadTimeout")
        self.call("cut").raised("RemoteProtocolError")
        self.assertIn('allowed_outbound_hosts = ["https://example.com"]', self.call("refused").raised("ConnectError"))
        self.assertIn("the name has no address", self.call("unknown_name").raised("ConnectError"))
        self.assertIn("does not accept connections", self.call("nobody_listens").raised("ConnectError"))
        self.assertIn("there are no proxies", self.call("proxy").raised("ProxyError"))

    def test_the_host_does_tls(self) -> None:
        self.assertEqual(self.call("https").returned, 200)
        self.assertIn("certificate is not valid", self.call("untrusted").raised("ConnectError"))


class AiohttpTest(OutTest):
    module = "with_aiohttp"

    def test_get(self) -> None:
        status, reason, url, kind, path, headers = self.call("get").returned
        self.assertEqual((status, reason, kind), (200, "OK", "application/json"))
        self.assertEqual((url, path), (f"http://{upstream()}/echo/%C3%A4?a=+b", "/echo/%C3%A4?a=+b"))
        self.assertEqual((headers["x-own"], headers["host"]), ("mine", upstream()))

    def test_ten_requests_take_as_long_as_one(self) -> None:
        seconds, texts = self.call("ten_at_once").returned
        print(f"aiohttp: ten requests to a server that answers after 50 ms took {seconds * 1000:.0f} ms")
        self.assertEqual(texts, ["waited"] * 10)
        self.assertLess(seconds, AT_ONCE_SECONDS_MAX)

    def test_bodies(self) -> None:
        got = self.call("bodies").returned
        expected = [
            ["POST", "application/json", len(json.dumps({"name": "Zoë"}))],
            ["PUT", "application/x-www-form-urlencoded", 3],
            ["PATCH", "application/octet-stream", 300_000],
            ["POST", "application/octet-stream", 12],
        ]
        self.assertEqual(got[:4], expected)
        self.assertEqual(got[4][:2], ["POST", "multipart/form-data"])
        self.assertEqual(got[5:], [["POST", "application/octet-stream", 16], ["DELETE", "", 0]])
        self.assertEqual(self.call("early_answer").returned, "enough")

    def test_sessions(self) -> None:
        self.assertEqual(self.call("session").returned, ["welcome", "taste=sweet", "/echo?redirected=yes", 3, 302, len(LARGE)])

    def test_bodies_are_streams(self) -> None:
        self.assertEqual(self.call("stream").returned, [["piece 0\n", "piece 1\n", "piece 2\n"], len(LARGE), len(LARGE)])
        self.assertGreater(self.call("first_before_last").returned, 0.5)
        self.assertEqual(self.call("slow_reader").returned, len(LARGE))
        self.assertEqual(self.call("left_unread").returned, "alive")
        self.assertEqual(self.call("cancelled").returned, ["wait?ms=1000", "stall"])

    def test_errors_are_those_of_aiohttp(self) -> None:
        self.call("http_error").raised("ClientResponseError")
        self.call("timeout").raised("TimeoutError")
        self.call("read_timeout").raised("SocketTimeoutError")
        self.call("cut").raised("ClientPayloadError")
        self.assertIn('allowed_outbound_hosts = ["https://example.com"]', self.call("refused").raised("ClientConnectorError"))
        self.assertIn("the name has no address", self.call("unknown_name").raised("ClientConnectorDNSError"))
        self.assertIn("does not accept connections", self.call("nobody_listens").raised("ClientConnectorError"))

    def test_the_host_does_tls(self) -> None:
        self.assertEqual(self.call("https").returned, 200)
        self.assertIn("certificate is not valid", self.call("untrusted").raised("ClientConnectorSSLError"))
        self.assertIn("the host does TLS", self.call("unverified").raised("ClientConnectorSSLError"))

    def test_what_does_not_exist_here_says_so(self) -> None:
        self.assertIn("there are no proxies", self.call("proxy").raised("ClientProxyConnectionError"))
        self.assertIn("no WebSockets", self.call("websocket").raised("ClientOSError"))


class BlockingTest(OutTest):
    """Synchronous libraries inside `async def`."""

    module = "blocking"

    def test_they_work_and_the_log_says_that_they_hold_the_worker(self) -> None:
        self.assertEqual(self.call("by_requests").returned, "waited")
        self.assertIn("coroutine function by_requests (/0/blocking.py", client().log())
        self.assertEqual(self.call("by_fetch").returned, "waited")
        self.assertEqual(self.call("by_fetch_all").returned, ["waited"] * 10)


if __name__ == "__main__":
    unittest.main()
