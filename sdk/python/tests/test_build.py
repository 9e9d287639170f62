"""The build says in one line what is wrong, before it starts."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from host import run_build


class BuildTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, path: str, text: str = "") -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def package(self, name: str, *requirements: str, machine_code: bool = False) -> None:
        """A package as pip leaves it in packages/."""
        module = name.replace("-", "_")
        self.write(f"packages/{module}/__init__.py")
        records = [f"{module}/__init__.py,,"]
        if machine_code:
            self.write(f"packages/{module}/core.cpython-314-x86_64-linux-gnu.so")
            records.append(f"{module}/core.cpython-314-x86_64-linux-gnu.so,,")
        info = f"packages/{module}-1.0.dist-info"
        needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requirements)
        self.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}")
        self.write(f"{info}/RECORD", "\n".join(records))

    def refused(self, *arguments: str, application: str = "app:application") -> str:
        ended = run_build(self.folder, "wsgi", application, "-o", "build/app.wasm", *arguments)
        self.assertEqual(ended.returncode, 1, ended.stderr)
        self.assertFalse((self.folder / "build" / "app.wasm").exists())
        return ended.stderr

    def test_a_module_that_is_not_there(self) -> None:
        self.write("app.py", "import json\nfrom helpers import tools\n")
        self.write("helpers/__init__.py")
        self.write("helpers/tools.py", "import json\n\nimport not_there.at_all\n")
        self.assertEqual(
            self.refused(),
            "wfn.build: helpers/tools.py:3: there is no module not_there; install its package into the project's .venv, "
            "or say where it is with --path\n",
        )

    def test_a_module_of_machine_code_and_who_asks_for_it(self) -> None:
        self.package("numpy", machine_code=True)
        self.package("pandas", 'numpy>=1.22 ; python_version < "3.20"', "pyarrow ; extra == 'arrow'", machine_code=True)
        self.package("charts", "tables")
        self.package("tables", "numpy (>=1)")
        self.write("app.py", "import numpy\nimport pandas as pd\nfrom charts import draw\n")
        error = self.refused("--path", "packages")
        self.assertIn("app.py:1: numpy is machine code and cannot run in a component (imported here); instead: use lists", error)
        self.assertIn("app.py:2: pandas is machine code", error)
        self.assertIn("app.py:3: numpy is machine code and cannot run in a component (asked for by tables ← charts)", error)

    def test_what_there_is_instead_of_well_known_packages(self) -> None:
        for name in ("numpy", "pandas", "cryptography", "lxml", "pydantic-core"):
            self.package(name, machine_code=True)
        self.package("pydantic", "pydantic-core")
        self.package("fastapi", "pydantic>=2")
        self.write("app.py", "import pandas\nimport cryptography\nimport lxml\nimport pydantic\n\nimport fastapi\n")
        error = self.refused("--path", "packages")
        for line in (
            "app.py:1: pandas is machine code and cannot run in a component (imported here); instead: use csv, sqlite3 or statistics",
            "app.py:2: cryptography is machine code and cannot run in a component (imported here); instead: let the host do TLS and sign tokens",
            "app.py:3: lxml is machine code and cannot run in a component (imported here); instead: use xml.etree.ElementTree",
            "app.py:4: pydantic-core is machine code and cannot run in a component (asked for by pydantic); instead: use dataclasses",
            "app.py:6: pydantic-core is machine code and cannot run in a component (asked for by pydantic ← fastapi); instead: use dataclasses",
        ):
            self.assertIn(line, error)

    def test_an_import_with_another_way_is_no_error(self) -> None:
        self.write(
            "app.py",
            "try:\n    import orjson as json\nexcept ImportError:\n    import json\n"
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lxml\n"
            "def later():\n    import not_there\nimport ctypes\n",
        )
        self.assertEqual(
            self.refused(),
            "wfn.build: note: app.py:9: there is no module not_there; install its package into the project's .venv, "
            "or say where it is with --path\n"
            "wfn.build: app.py:10: ctypes is not in the component's Python; there is no machine code to call\n",
        )

    def test_what_is_written_wrong(self) -> None:
        self.assertIn("there is no module app: no file app.py here or in --path", self.refused())
        self.assertIn("'app' does not say where the application is", self.refused(application="app"))
        self.write("app.py", "def application(:\n")
        self.assertIn("app.py:1: invalid syntax", self.refused())
        self.write("app.py", "application = None\n")
        self.assertIn("there is no folder nowhere", self.refused("--path", "nowhere"))
        self.assertIn("--env X: write NAME=VALUE", self.refused("--env", "X"))
        self.write("more/wfn/__init__.py")
        self.assertIn("more has a module wfn of its own; rename it", self.refused("--path", "more"))

    def test_an_application_that_cannot_be_imported(self) -> None:
        self.write("app.py", "import os\n\nSECRET = os.environ['SECRET']\n")
        error = self.refused()
        self.assertEqual(error.splitlines()[0], "wfn.build: app.py:3: KeyError: 'SECRET'")
        self.assertIn("--env SECRET=VALUE", error.splitlines()[1])
        self.assertNotIn("backtrace", error)
