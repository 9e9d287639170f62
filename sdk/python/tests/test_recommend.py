"""`wfn bench --recommend` tells applications that compute, wait, or do both what fits them. From measuring, so this needs a quiet machine."""

from __future__ import annotations

import re
import unittest

from host import BUILT, TESTS, installed, run_build
from outbound import deploy, trusting_host

APP = TESTS / "apps" / "workloads"


def deployed(kind: str, application: str, name: str, *requirements: str) -> None:
    """Builds one of the applications, with packages from PyPI, and deploys it."""
    output = BUILT / f"{name}.wasm"
    path = ["--path", str(installed(name, *requirements))] if requirements else []
    ended = run_build(APP, kind, application, "-o", str(output), *path)
    assert ended.returncode == 0, ended.stderr
    deploy(output, name, "max_instances = 20")


def advice(app: str, path: str) -> str:
    """What the command recommends for a path."""
    return trusting_host().wfn("bench", app, path, "--recommend", "--clients", "32", "--duration", "3s").partition("Recommended:")[2]


def concurrency(text: str) -> int:
    found = re.search(r"--concurrency (\d+)", text)
    if found is None:
        raise AssertionError(text)
    return int(found[1])


class WsgiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        deployed("wsgi", "app:application", "workloads")

    def test_one_that_computes_needs_cores(self) -> None:
        text = advice("workloads", "/cpu")
        print(text)
        self.assertIn("bound by the processor", text)
        self.assertIn("a Python worker computes for one invocation at a time", text)

    def test_one_that_waits_needs_more_at_once_or_async(self) -> None:
        text = advice("workloads", "/io")
        print(text)
        self.assertIn("bound by what it waits for", text)
        self.assertIn("under ASGI", text)
        self.assertGreaterEqual(concurrency(text), 6)

    def test_one_that_does_both(self) -> None:
        text = advice("workloads", "/mixed")
        print(text)
        self.assertRegex(text, "the app is (mixed|bound by)")
        self.assertIn("concurrency", text)


class AsgiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        deployed("asgi", "app_async:application", "workloads-async", "aiohttp==3.14.5")

    def test_one_that_waits_waits_in_one_worker(self) -> None:
        text = advice("workloads-async", "/io")
        print(text)
        self.assertIn("one worker waits for many calls", text)
        self.assertGreaterEqual(concurrency(text), 6)


if __name__ == "__main__":
    unittest.main()
