"""Functions of an Azure Functions app that queues, blobs and timers call, and what they write."""

from __future__ import annotations

import json
import tempfile
import unittest

from apps_of_azure import blob, blobs, deployed, wait_for
from host import Client, host


class TriggersTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.client = deployed("azure-sync")

    def put(self, name: str, text: str) -> None:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            host().wfn("blob", "put", "azure-sync", "texts", name, file.name)

    def test_a_request_becomes_a_message_and_that_a_blob_and_another_message(self) -> None:
        answer = self.client.post("/api/orders/7", b"a lamp")
        self.assertEqual((answer.status, answer.text), (202, "accepted"))
        self.assertEqual(blob("azure-sync", "receipts", "7/"), "a lamp")
        self.assertRegex(blobs("azure-sync", "receipts", "7/")[0], r"^7/[0-9a-f-]{36}-20\d\d\.txt$")
        wait_for("done 7", lambda: "done 7 True" in host().wfn("queue", "peek", "azure-sync", "state"))

    def test_a_list_is_as_many_messages(self) -> None:
        self.assertEqual(self.client.post("/api/many", b"").text, "sent")
        sent = host().wfn("queue", "peek", "azure-sync", "state")
        self.assertIn("  first\n", sent)
        self.assertIn("  second\n", sent)

    def test_objects_in_a_list_of_events_stay_whole(self) -> None:
        self.assertEqual(self.client.post("/api/hub", b'["text", {"id": 1, "body": "x"}]', "application/json").status, 200)
        sent = host().wfn("queue", "peek", "azure-sync", "hub")
        self.assertIn("  text\n", sent)
        self.assertIn('  {"id": 1, "body": "x"}\n', sent)

    def test_what_a_binding_cannot_write_is_named(self) -> None:
        self.assertEqual(self.client.post("/api/hub", b'{"id": 1}', "application/json").status, 500)
        self.assertIn("the binding serviceBus (message) cannot write dict; it takes text or bytes", self.client.log())

    def test_formats_of_identifiers_and_dates(self) -> None:
        self.assertEqual(self.client.post("/api/named", b"").status, 200)
        self.assertRegex(blobs("azure-sync", "texts", "named/")[0], r"^named/[0-9a-f]{32} 20\d\d [A-Z][a-z]{2} [1-9]\d?$")

    def test_a_queue_whose_name_is_another_here_has_a_poison_queue(self) -> None:
        host().wfn("queue", "send", "azure-sync", "odd", "a message")
        wait_for("the poisonous message", lambda: "INFO: odd and poisonous: a message" in self.client.log())

    def test_what_fails_for_the_last_time_goes_to_the_poison_queue(self) -> None:
        self.client.post("/api/orders/8", b"bad")
        self.assertEqual(json.loads(blob("azure-sync", "receipts", "poison/8")), {"number": "8", "body": "bad"})
        log = self.client.log()
        self.assertIn("INFO: working on 8, time 1, sent 20", log)
        self.assertIn("INFO: working on 8, time 2, sent 20", log)
        self.assertNotIn("working on 8, time 3", log)
        self.assertIn("work failed for the last time; the message goes to the queue orders-poison:", log)
        self.assertIn("RuntimeError: order 8 is bad", log)

    def test_a_message_that_is_no_json_is_a_dead_letter_of_the_poison_queue(self) -> None:
        host().wfn("queue", "send", "azure-sync", "orders", "no JSON")
        dead = wait_for("a dead letter", lambda: host().wfn("queue", "dead", "azure-sync", "orders-poison"))
        self.assertIn("no JSON", dead)
        self.assertIn("{number} has no value; the trigger knows", self.client.log())

    def test_a_blob_is_read_and_another_written(self) -> None:
        self.put("in/letters/a/b.txt", "some text")
        self.put("in/letters/a.md", "not a text")
        self.put("in/alone.txt", "in no folder")
        self.assertEqual(blob("azure-sync", "texts", "out/"), "texts/in/letters/a/b.txt 9: SOME TEXT")
        self.put("settings/suffix", "!")
        self.put("in/x/y.txt", "more")
        self.assertEqual(blob("azure-sync", "texts", "out/y.x.txt"), "texts/in/x/y.txt 4: MORE!")
        self.assertEqual(len(blobs("azure-sync", "texts", "out/")), 2)

    def test_braces_in_a_path_are_written_twice(self) -> None:
        self.put("{odd}/x", "text")
        self.put("even/x", "text")
        wait_for("the call", lambda: "INFO: in braces: texts/{odd}/x" in self.client.log())

    def test_a_blob_that_fails_for_the_last_time_becomes_a_message(self) -> None:
        self.put("bad/x", "text")
        self.assertEqual(blob("azure-sync", "receipts", "blob/texts/bad/x"), "Functions.bad")
        self.assertIn("bad failed for the last time; the queue webjobs-blobtrigger-poison gets a message:", self.client.log())

    def test_a_timer(self) -> None:
        self.assertIn("yearly has run", host().wfn("trigger", "fire", "azure-sync", "yearly"))
        seen = json.loads(blob("azure-sync", "texts", "timer"))
        self.assertFalse(seen["past_due"])
        self.assertRegex(seen["next"], r"^20\d\d-01-01T00:00:00Z$")

    def test_a_timer_with_a_retry_policy(self) -> None:
        self.assertIn("third-time has run", host().wfn("trigger", "fire", "azure-sync", "third-time"))
        log = self.client.log()
        for run in ("WARNING: run 1, retry 0 of 2", "WARNING: run 2, retry 1 of 2", "WARNING: run 3, retry 2 of 2"):
            self.assertIn(run, log)
        self.assertIn("third_time failed; it runs again in 0 s:", log)

    def test_a_client_cannot_call_them(self) -> None:
        headers = {"wfn-trigger": "yearly", "ce-id": "1"}
        self.assertEqual(self.client.call("POST", "/yearly", b"{}", headers).status, 404)


if __name__ == "__main__":
    unittest.main()
