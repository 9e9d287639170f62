"""An Azure Functions app with `async def`: calls overlap; Service Bus with lists and sessions, Event Hubs."""

from __future__ import annotations

import json
import re
import unittest

from apps_of_azure import blobs, deployed, wait_for
from asgi import get_all
from host import Client, host


class AsyncTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.client = deployed("azure-async", "--concurrency", "16", "--max-instances", "1", "--workers", "1")

    def texts(self, prefix: str) -> list[str]:
        return [host().wfn("blob", "get", "azure-async", "reports", name) for name in blobs("azure-async", "reports", prefix)]

    def test_calls_of_one_worker_overlap(self) -> None:
        answers = get_all(self.client, *["/wait/0.5"] * 4)
        self.assertEqual([answer.status for answer in answers], [200] * 4)
        self.assertEqual(max(int(answer.text) for answer in answers), 4)

    def test_a_function_without_async_is_in_the_same_app(self) -> None:
        answer = self.client.get("/plain")
        self.assertEqual((answer.body, answer.headers["content-type"]), (b"\x00\xff", "application/octet-stream"))

    def test_an_exception_is_500_with_its_traceback_in_the_log_only(self) -> None:
        answer = self.client.get("/fails")
        self.assertEqual((answer.status, answer.body), (500, b""))
        self.assertIn("ValueError: a secret in the exception", self.client.log())

    def test_the_case_study_takes_readings_and_works_on_them_in_lists(self) -> None:
        for number in range(5):
            self.assertEqual(self.client.post("/readings", f"reading {number}".encode(), "text/plain").status, 202)

        def all_of(prefix: str, count: int) -> list[str]:
            found = self.texts(prefix)
            return found if sum(text.count("reading") for text in found) == count else []

        reports = [row for text in wait_for("all readings", lambda: all_of("batch-", 5)) for row in json.loads(text)]
        self.assertEqual(sorted(reports), [[f"reading {number}", 1, True] for number in range(5)])
        events = "\n".join(wait_for("all events", lambda: all_of("events-", 5))).splitlines()
        self.assertEqual(len([event for event in events if event.startswith("event of reading ")]), 5)

    def test_messages_of_a_session_come_in_order_and_sessions_side_by_side(self) -> None:
        for number in range(3):
            for session in ("ann", "bob"):
                host().wfn("queue", "send", "azure-async", "visits", str(number), "--session", session)
        wait_for("the last visits", lambda: len(re.findall(r"visit 2 of \w+ ends", self.client.log())) == 2)
        log = self.client.log()
        for session in ("ann", "bob"):
            seen = re.findall(rf"visit (\d) of {session} (begins|ends)", log)
            self.assertEqual(seen, [(str(number), what) for number in range(3) for what in ("begins", "ends")])

    def test_a_timer(self) -> None:
        self.assertIn("yearly has run", host().wfn("trigger", "fire", "azure-async", "yearly"))
        self.assertIn("INFO: once a year, past due: False", self.client.log())


class AsgiTest(unittest.TestCase):
    def test_a_starlette_application(self) -> None:
        client = deployed("azure-asgi", "--concurrency", "16", "--max-instances", "1", "--workers", "1")
        answers = get_all(client, *[f"/hello/{name}?q=%C3%A4" for name in ("ann", "bob", "cas", "dan")])
        self.assertEqual(
            [json.loads(answer.body) for answer in answers],
            [{"hello": name, "query": {"q": "ä"}, "starts": 1} for name in ("ann", "bob", "cas", "dan")],
        )
        answer = client.call("POST", "/echo", b"x" * 100_000, {"X-Mixed": "One"})
        self.assertEqual(json.loads(answer.body), {"bytes": 100_000, "header": "One"})
        self.assertEqual(client.get("/missing").status, 404)


if __name__ == "__main__":
    unittest.main()
