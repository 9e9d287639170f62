"""What was there while the component was built is there at run time: modules, package data, files."""

from __future__ import annotations

import hashlib
import json
import unittest
from typing import Any

from host import Client, component, host, installed


class LateTest(unittest.TestCase):
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        packages = installed("tzdata", "tzdata==2026.6")
        module = component("late", "app:application", "--path", str(packages))
        cls.client = host().deploy(module, "late", "--scratch-mb", "1")

    def said(self, path: str) -> dict[str, Any]:
        answer = self.client.get(path)
        self.assertEqual(answer.status, 200, self.client.log())
        said = json.loads(answer.body)
        assert isinstance(said, dict)
        return said

    def test_imports(self) -> None:
        expected = {
            "by_name": "first",
            "namespace": "part of a namespace",
            "missing": "No module named 'plugins.none'",
            "xml": "text",
            "strptime": "2026-11-30T00:00:00",
            "codecs": ["é".encode(name).hex() for name in ("cp1252", "shift_jisx0213", "idna", "utf_7", "mac_roman")],
        }
        self.assertEqual(self.said("/imports"), expected)

    def test_packages(self) -> None:
        expected = {
            "modules": [["deep", True], ["first", False]],
            "walked": ["plugins.deep", "plugins.first"],
            "data": "Africa/Abidjan",
            "zone": "TZif",
            "version": "2026.6",
            "file": "__init__.py",
        }
        self.assertEqual(self.said("/packages"), expected)

    def test_the_rest_of_the_standard_library(self) -> None:
        expected = {
            # There is no module bz2, and the other is Windows' own.
            "codecs": ["bz2_codec", "mbcs"],
            "zones": True,
            "unknown_zones": [],
            "offset": "2026-07-01T00:00:00+10:30",
            "pool": "can't start new thread",
            "ssl": "ModuleNotFoundError: No module named '_ssl'",
            "pbkdf2": [hashlib.pbkdf2_hmac(name, b"password", b"salt", rounds).hex() for name in ("sha1", "sha512") for rounds in (2, 2000)],
            "scrypt": hashlib.scrypt(b"password", salt=b"salt", n=16, r=8, p=1, dklen=16).hex(),
        }
        self.assertEqual(self.said("/library"), expected)

    def test_files(self) -> None:
        expected = {
            "lines": ["one", "two"],
            "untouched": "one\r\ntwo\n",
            "scanned": [["text.txt", True, 9, "data/text.txt"]],
            "walked": [["plugins", ["deep"], ["__init__.py", "first.py"]], ["plugins/deep", [], ["__init__.py"]]],
            "glob": ["data/text.txt"],
            "pathlib": ["data/text.txt"],
            "is": [True, True, True, False, False],
            "real": "/0/data/text.txt",
            "size": 9,
            "copy": "one\ntwo\n",
        }
        self.assertEqual(self.said("/files"), expected)

    def test_errors(self) -> None:
        expected = {
            "write": ["OSError", "Read-only file system"],
            "none": ["FileNotFoundError", "No such file or directory"],
            "folder": ["IsADirectoryError", "Is a directory"],
            "list": ["NotADirectoryError", "Not a directory"],
            "hidden": ["FileNotFoundError", "No such file or directory"],
            "nul": ["ValueError", None],
            "sqlite": ["OperationalError", None],
        }
        self.assertEqual(self.said("/errors"), expected)
