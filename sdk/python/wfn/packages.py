"""Packages of machine code, which cannot run inside a component: which they are, and what there is instead."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions

# Name of the distribution → what there is instead. Only packages that cannot be imported without their machine code.
INSTEAD: dict[str, str] = {
    "argon2-cffi": "hash passwords with hashlib.pbkdf2_hmac",
    "asyncpg": "send requests to a service that holds the database",
    "bcrypt": "hash passwords with hashlib.pbkdf2_hmac",
    "cffi": "use a package in pure Python",
    "confluent-kafka": "use a queue of wfn (docs/queues.md)",
    "cryptography": "let the host do TLS and sign tokens (docs/capabilities.md); hashes and HMAC are in hashlib and hmac",
    "duckdb": "use sqlite3, which is there",
    "gevent": "use the asynchronous kind of guest (docs/guests.md)",
    "greenlet": "use the asynchronous kind of guest (docs/guests.md)",
    "grpcio": "send requests over HTTP; wfn has no gRPC",
    "h5py": "use json or sqlite3, which are there",
    "lxml": "use xml.etree.ElementTree, html.parser, or beautifulsoup4 with 'html.parser'",
    "matplotlib": "draw SVG as text, for example with the pure package pygal",
    "msgspec": "use json and dataclasses",
    "mysqlclient": "use PyMySQL",
    "numpy": "use lists, array or statistics; for much computing write that function in Rust",
    "opencv-python": "write that function in Rust",
    "orjson": "use json, whose parser is C code in this Python too",
    "pandas": "use csv, sqlite3 or statistics; for much computing write that function in Rust",
    "pillow": "write that function in Rust with the crate image",
    "polars": "use csv or sqlite3; for much computing write that function in Rust",
    "psutil": "there are no processes to look at",
    "psycopg2": "use pg8000",
    "psycopg2-binary": "use pg8000",
    "psycopg-binary": "use pg8000",
    "psycopg-c": "use pg8000",
    "pyarrow": "use csv or json",
    "pycryptodome": "hashes and HMAC are in hashlib and hmac",
    "pydantic-core": "use dataclasses, attrs or marshmallow",
    "pymongo": "send requests to a service that holds the database",
    "pymssql": "use python-tds",
    "pynacl": "hashes and HMAC are in hashlib and hmac",
    "pyodbc": "use a driver in pure Python, such as python-tds, pg8000 or PyMySQL",
    "pyzmq": "use a queue of wfn (docs/queues.md)",
    "rpds-py": "use jsonschema before version 4.18, which does not need it",
    "scikit-learn": "write that function in Rust",
    "scipy": "write that function in Rust",
    "tiktoken": "count tokens where the model runs",
    "tokenizers": "count tokens where the model runs",
    "torch": "call a service that runs the model",
    "ujson": "use json, whose parser is C code in this Python too",
    "uvloop": "use asyncio's own loop",
}  # fmt: skip

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def normal(name: str) -> str:
    """A distribution's name as package registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Installed:
    """The distributions in some folders, and which modules and requirements each has."""

    def __init__(self, folders: Iterable[str]) -> None:
        self.by_name: dict[str, Distribution] = {}
        self.by_module: dict[str, set[str]] = {}
        for distribution in distributions(path=list(folders)):
            name = normal(distribution.metadata["Name"])
            if name in self.by_name:
                continue
            self.by_name[name] = distribution
            for file in distribution.files or ():
                top = file.parts[0]
                if not top.endswith((".dist-info", ".data")) and top != "..":
                    self.by_module.setdefault(top.partition(".")[0], set()).add(name)
                    if len(file.parts) > 1:
                        self.by_module.setdefault(f"{top}.{file.parts[1].partition('.')[0]}", set()).add(name)

    def key_of(self, module: str) -> str:
        """Under which name `by_module` has a module: its first part, or the first two in a namespace that distributions share."""
        parts = module.split(".")
        is_namespace = len(self.by_module.get(parts[0], ())) > 1 and f"{parts[0]}.__init__" not in self.by_module
        return ".".join(parts[:2]) if is_namespace else parts[0]

    def requirements(self, name: str) -> list[str]:
        """What a distribution needs without extras, as far as it is installed."""
        needed = []
        for requirement in self.by_name[name].requires or ():
            specifier, _, marker = requirement.partition(";")
            match = _NAME.match(specifier.strip())
            if match and "extra" not in marker and normal(match[0]) in self.by_name:
                needed.append(normal(match[0]))
        return needed

    def has_machine_code(self, name: str) -> bool:
        return any(file.suffix in (".so", ".pyd") for file in self.by_name[name].files or ())

    def chains_to_machine_code(self, module: str) -> list[list[str]]:
        """For the module that an application imports: the ways from its distribution to those of machine code."""
        found = []
        seen: set[str] = set()
        waiting = [[name] for name in sorted(self.by_module.get(module, ()))]
        while waiting:
            chain = waiting.pop(0)
            name = chain[-1]
            if name in seen:
                continue
            seen.add(name)
            if name in INSTEAD:
                found.append(chain)
                continue
            waiting.extend(chain + [needed] for needed in self.requirements(name))
        return found
