"""The older model of Azure Functions (function.json beside the code), and a WSGI application as an app."""

from __future__ import annotations

import json
import unittest

from apps_of_azure import blob, deployed


class OlderTest(unittest.TestCase):
    def test_functions_with_a_function_json(self) -> None:
        client = deployed("azure-older")
        answer = client.get("/api/dump/more")
        seen = {"method": "GET", "what": "more", "folder": "/0/http-dump", "greeting": "good day, older"}
        self.assertEqual((answer.status, json.loads(answer.body)), (200, seen))
        self.assertEqual(blob("azure-older", "kept", "more.json"), f"good day, worker: {json.dumps(seen)}")
        self.assertEqual(client.post("/api/dump", b"").status, 200)
        self.assertEqual(client.get("/api/dump/x").status, 404)
        self.assertEqual(client.call("PUT", "/api/dump", b"").status, 404)


class WsgiTest(unittest.TestCase):
    def test_a_flask_application(self) -> None:
        client = deployed("azure-wsgi")
        self.assertEqual(json.loads(client.get("/hello/ann?q=1").body), {"hello": "ann", "query": "1"})
        self.assertEqual(json.loads(client.post("/echo", b"x" * 1000).body), {"bytes": 1000})
        self.assertEqual(client.get("/missing").status, 404)


if __name__ == "__main__":
    unittest.main()
