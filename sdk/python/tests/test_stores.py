"""The host's key-value stores, blobs, queues and secrets, from a WSGI and from an ASGI application."""

from __future__ import annotations

import json
import unittest

import test_requests_out
import test_requests_out_async
from host import Client
from outbound import Outcome, trusting_host


class StoresTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.client = test_requests_out.client()

    def call(self, function: str) -> Outcome:
        return Outcome(json.loads(self.client.get(f"/stores/{function}").text))

    def test_key_values(self) -> None:
        self.assertEqual(self.call("key_values").returned, [[None, None], [True, False], "first", [True, False], [0, 255], None])
        self.assertEqual(self.call("numbers_and_json").returned, [1, -4, {"x": [1, 2]}, None, True])

    def test_lists_of_keys_come_in_pages(self) -> None:
        self.assertEqual(self.call("pages").returned, [1000, None, "key 1000", 5, None])

    def test_what_a_store_refuses(self) -> None:
        status, code, message = self.call("other_store").returned
        self.assertEqual((status, code), (403, "access-denied"))
        self.assertIn("key_value_stores", message)
        self.assertEqual(self.call("large_value").returned[0], 413)

    def test_blobs(self) -> None:
        got = self.call("blobs").returned
        self.assertEqual(got[:5], [None, ["image/x-test", True, True], True, [254, 255, 0, 1], [253, 254, 255]])
        self.assertEqual(got[5:], [None, True, None, "a/ä.bin", 300_000, None])
        self.assertEqual(self.call("broken_upload").returned, "old")
        self.assertEqual(self.call("empty_blob").returned, [0, 1])
        self.call("no_range").raised("ValueError")

    def test_queues(self) -> None:
        first, again, is_duplicate, has_id = self.call("messages").returned
        self.assertEqual((first, again), (["order 1", False], ["order 1", True]))
        self.assertEqual((is_duplicate, has_id), (False, True))
        waiting = trusting_host().wfn("queue", "peek", self.client.app, "orders", "--waiting")
        self.assertIn('{"article": "Lampe', waiting)
        self.assertEqual(self.call("other_queue").returned[1], "access-denied")

    def test_secrets(self) -> None:
        is_right, default, missing, at_build = self.call("app_secrets").returned
        self.assertEqual((is_right, default), (True, "default"))
        self.assertIn("wfn secret put APP NOT_SET", missing)
        self.assertIn("the secret TOKEN is not there while the component is built", at_build)


class AsyncStoresTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.client = test_requests_out_async.client()

    def call(self, function: str) -> Outcome:
        return Outcome(json.loads(self.client.get(f"/async_stores/{function}").text))

    def test_key_values(self) -> None:
        expected = [[True, False], [True, False], "third", [1], list(range(1, 11)), [["place"], None], None]
        self.assertEqual(self.call("key_values").returned, expected)
        self.assertEqual(self.call("other_store").returned, [403, "access-denied"])

    def test_blobs(self) -> None:
        self.assertEqual(self.call("blobs").returned, [None, "image/x-test", True, 500_000, "xx", None, True])
        self.assertEqual(self.call("broken_upload").returned, "old")

    def test_queues(self) -> None:
        self.assertEqual(self.call("messages").returned, [["order 1", False], True])


if __name__ == "__main__":
    unittest.main()
