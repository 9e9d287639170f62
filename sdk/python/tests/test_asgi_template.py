"""The template python-async: its build command makes a function that answers."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from host import BUILD_SECONDS_MAX, PACKAGE, ROOT, Client, host, tools

TEMPLATE = ROOT / "cli" / "templates" / "python-async"


class TemplateTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        with tempfile.TemporaryDirectory(prefix="wfn-template-") as folder:
            for file in TEMPLATE.iterdir():
                Path(folder, file.name).write_text(file.read_text().replace("{{name}}", "greet"))
            path = f"{tools() / 'bin'}{os.pathsep}{os.environ['PATH']}"
            environment = {**os.environ, "PATH": path, "WFN_SDK_PYTHON": str(PACKAGE)}
            command = [host().binary, "build", folder]
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX)
            if ended.returncode:
                raise AssertionError(ended.stdout + ended.stderr)
            host().wfn("deploy", folder)
        cls.client = Client(host(), "greet")

    def test_it_says_hello(self) -> None:
        self.assertEqual(self.client.get("/").text, "Hello, world, from greet!\n")
        self.assertEqual(self.client.get("?name=Ann").text, "Hello, Ann, from greet!\n")

    def test_it_waits_for_several_things_at_once(self) -> None:
        answer = json.loads(self.client.get("/wait").body)
        self.assertEqual(answer["waited_for"], list(range(10)))
        # One after the other they take 1,000 ms.
        self.assertLess(answer["milliseconds"], 900)
        self.assertIn("waited for 10 things", self.client.log())

    def test_it_streams_a_body_back(self) -> None:
        body = bytes(range(256)) * 1000
        self.assertEqual(self.client.call("POST", "/echo", body).body, body)

    def test_other_paths_are_404(self) -> None:
        self.assertEqual(self.client.get("/nothing").status, 404)


if __name__ == "__main__":
    unittest.main()
