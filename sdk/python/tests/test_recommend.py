"""`wfn bench --recommend` tells applications that compute, wait, or do both what fits them. From measuring, so this needs a quiet machine."""

from __future__ import annotations

import json
import unittest
from typing import Any

from host import BUILT, TESTS, installed, run_build
from outbound import deploy, trusting_host
from upstream import upstream

APP = TESTS / "apps" / "workloads"
UPSTREAM = "UPSTREAM = \"http://{}/wait?ms=50\""


class Recommended(unittest.TestCase):
    name: str
    kind: str
    application: str
    packages: tuple[str, ...] = ()

    @classmethod
    def setUpClass(cls) -> None:
        if cls is Recommended:
            raise unittest.SkipTest("not an application")
        output = BUILT / f"{cls.name}.wasm"
        path = ["--path", str(installed(cls.name, *cls.packages))] if cls.packages else []
        ended = run_build(APP, cls.kind, cls.application, "-o", str(output), *path)
        assert ended.returncode == 0, ended.stderr
        deploy(output, cls.name, "max_instances = 20")
