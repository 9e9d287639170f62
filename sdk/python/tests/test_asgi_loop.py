"""asyncio inside a component: timers, tasks, and many requests at once in one worker."""

from __future__ import annotations

import json
import unittest
from typing import Any

from asgi import ONE_WORKER, asgi_component, get_all
from host import Client, host


class LoopTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.client = host().deploy(asgi_component("asgi"), "asgi-loop", *ONE_WORKER)

    def check(self, name: str) -> Any:
        answer = self.client.get(f"/check/{name}")
        self.assertEqual(answer.status, 200, self.client.log())
        return json.loads(answer.body)

    def test_timers_run_in_order_and_not_if_cancelled(self) -> None:
        self.assertEqual(self.check("timers"), {"ran": ["first", "second", "third"], "early": False})

    def test_timeouts(self) -> None:
        self.assertEqual(self.check("timeouts"), ["timeout", "wait_for", "in time", [1, 1]])

    def test_groups_of_tasks(self) -> None:
        expected = {
            "ended": ["long cancelled", "one of the group"],
            "gathered": ["a", "b", "one of the group"],
            "order": ["soon", "late"],
        }
        self.assertEqual(self.check("groups"), expected)

    def test_queues_locks_and_barriers(self) -> None:
        self.assertEqual(self.check("tools"), {"log": [0, 1, 2, 3, 4], "positions": [0, 1, 2], "locked": True})

    def test_what_should_run_in_a_thread_runs_at_once(self) -> None:
        expected = ["of the caller", 3, ["invalid literal for int() with base 10: 'no number'"]]
        self.assertEqual(self.check("threads"), expected)

    def test_tasks_have_contexts_of_their_own(self) -> None:
        self.assertEqual(self.check("contexts"), ["a", "b", "c", "outer"])

    def test_exception_handlers_and_task_factories(self) -> None:
        self.assertEqual(self.check("handlers"), ["in a callback", "made", "made"])
        self.assertIn("ValueError: in a callback", self.client.log())

    def test_a_second_loop_and_sockets_are_refused_with_words(self) -> None:
        words = self.check("runs")
        self.assertEqual(words[0], "asyncio.run() cannot be called from a running event loop")
        self.assertEqual(words[1], "This event loop is already running")
        self.assertIn("a function has no sockets", words[2])

    def test_an_import_of_the_host_can_be_cancelled(self) -> None:
        self.assertEqual(self.check("imports"), "cancelled")

    def test_asynchronous_generators_are_closed(self) -> None:
        self.assertEqual(self.check("generators"), 1)

    def test_a_busy_call_lets_timers_run(self) -> None:
        self.assertTrue(self.check("fair"))

    def test_cancelled_timers_leave_nothing_and_keep_no_call_alive(self) -> None:
        self.assertTrue(self.check("cancelled_timers"))
        self.check("timeouts")
        # The calls before had timers 30 s and an hour ahead, which were cancelled.
        self.assertEqual(self.client.get("/calls").text, "1")

    def test_sixteen_requests_wait_at_once_in_one_worker(self) -> None:
        answers = get_all(self.client, *["/together"] * 16)
        self.assertEqual({answer.status for answer in answers}, {200})
        self.assertEqual(max(int(answer.text) for answer in answers), 16)

    def test_a_request_wakes_another(self) -> None:
        waiting, opening = get_all(self.client, "/wait-for-gate", "/open-gate")
        self.assertEqual(waiting.text, "the other request opened the gate")
        self.assertEqual(opening.text, "open")


class HeldWorkerTest(unittest.TestCase):
    """A function that holds the worker is named in the log."""

    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.client = host().deploy(asgi_component("asgi"), "asgi-held", *ONE_WORKER)

    def reports(self) -> list[str]:
        return [line for line in self.client.log().splitlines() if "held the worker" in line]

    def test_each_function_is_named_once(self) -> None:
        for path in ("/held", "/held", "/held-thread", "/held-callback", "/held-not"):
            self.assertEqual(self.client.get(path).status, 200)
        reports = self.reports()
        self.assertEqual(len(reports), 3, reports)
        self.assertRegex(reports[0], r"coroutine function blocks_first \(/0/app.py:\d+\) held the worker for \d+ ms")
        self.assertRegex(reports[1], r"function blocks_in_a_thread \(/0/app.py:\d+\) held the worker for \d+ ms")
        self.assertRegex(reports[2], r"function holds_in_a_callback.<locals>.blocks_in_a_callback \(/0/app.py:\d+\)")


if __name__ == "__main__":
    unittest.main()
