"""What the image froze is fresh in each instance: every call here has an instance of its own."""

from __future__ import annotations

import json
import random
import time
import unittest
from typing import Any

from host import BUILT, TESTS, host, run_build


class FreshTest(unittest.TestCase):
    notes: str
    answers: list[dict[str, Any]]
    begun: float

    @classmethod
    def setUpClass(cls) -> None:
        output = BUILT / "fresh.wasm"
        begun = time.monotonic()
        ended = run_build(TESTS / "apps/fresh", "wsgi", "app:application", "-o", str(output), "--env", "ONLY_BUILD=yes")
        assert ended.returncode == 0, ended.stderr
        cls.notes = ended.stderr
        settings = ["-e", "SETTING=own", "-e", "SET_BY_BOTH=own"]
        client = host().deploy(output, "fresh", "--isolation", "fresh", *settings)
        cls.begun = begun
        cls.answers = [json.loads(client.get("/").text) for _ in range(3)]

    def differs(self, name: str) -> None:
        values = [answer[name] for answer in self.answers]
        self.assertEqual(len(set(values)), len(values), values)

    def test_generators_of_random_numbers(self) -> None:
        self.differs("own")
        self.differs("module")

    def test_a_generator_with_a_seed_of_its_own_stays(self) -> None:
        self.assertEqual({answer["seeded"] for answer in self.answers}, {random.Random(5).random()})

    def test_uuid_and_the_systems_random_bytes(self) -> None:
        for name in ("uuid1", "uuid4", "urandom", "node"):
            self.differs(name)

    def test_clocks_go_on_from_the_build(self) -> None:
        for answer in self.answers:
            self.assertGreater(answer["since_import"], 0)
            self.assertGreater(answer["counted"], 0)
            # And they do not run ahead of the clock here.
            self.assertLess(answer["since_import"], time.monotonic() - self.begun)
            self.assertLess(answer["counted"], time.monotonic() - self.begun)

    def test_the_environment_is_the_instances(self) -> None:
        expected = {"SETTING": "own", "SET_BY_BOTH": "own", "SET_BY_THE_APPLICATION": "default"}
        self.assertEqual([answer["environment"] for answer in self.answers], [expected] * 3)

    def test_what_a_module_read_while_building_stays_and_is_named(self) -> None:
        self.assertEqual({answer["read_early"] for answer in self.answers}, {"absent"})
        self.assertEqual({answer["only_build"] for answer in self.answers}, {"yes"})
        self.assertIn("app.py:17 reads the setting SETTING while the component is built", self.notes)
        self.assertIn("app.py:18 reads the setting ONLY_BUILD", self.notes)
        self.assertNotIn("SET_BY_THE_APPLICATION", self.notes)

    def test_the_seed_of_hash_is_that_of_the_build(self) -> None:
        # Python cannot change it after it has started; docs/python.md says what follows.
        self.assertEqual(len({answer["hash"] for answer in self.answers}), 1)

    def test_the_network_is_not_used_while_building_and_leaves_nothing_behind(self) -> None:
        for answer in self.answers:
            self.assertIn("there is no network while the component is built", answer["refused"])
            # Sockets are not open, and that is an error, not the end of the instance.
            self.assertIn(answer["socket"], ("PermissionError", "gaierror", "OSError"))
