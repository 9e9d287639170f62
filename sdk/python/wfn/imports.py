"""Which modules an application imports, and which of them a component cannot have. Read from the source, before the build."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from wfn.packages import INSTEAD, Installed

# Modules of the standard library that componentize-py's Python lacks → what to do.
MISSING_STANDARD = {
    "bz2": "use zlib or gzip",
    "ctypes": "there is no machine code to call",
    "curses": "there is no terminal",
    "dbm.gnu": "use sqlite3",
    "dbm.ndbm": "use sqlite3",
    "fcntl": "/tmp is the instance's own, so it needs no locks",
    "grp": "there are no users",
    "lzma": "use zlib or gzip",
    "mmap": "read the file",
    "pwd": "there are no users",
    "readline": "there is no terminal",
    "resource": "set limits in wfn.toml (docs/manifest.md)",
    "ssl": "the host does TLS (docs/capabilities.md)",
    "syslog": "print: what is printed lands in the app's log",
    "termios": "there is no terminal",
    "tkinter": "there is no screen",
}

# What the build adds.
GENERATED = ("wfn", "wasi_fetch", "wit_world", "componentize_py_types", "__app__")


@dataclass(frozen=True)
class Import:
    """One import statement of the application."""

    module: str
    file: str
    line: int
    # False where it is in a function, so that it may never happen.
    is_certain: bool
    # It is the `b` of a certain `from a import b`, which may be a module or not.
    is_part: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Project:
    """The application's own modules and the packages beside it."""

    def __init__(self, folders: list[str], packages: list[str]) -> None:
        self.folders = folders
        self.packages = packages

    def file_of(self, module: str) -> str | None:
        """The source of one of the application's own modules."""
        for folder in self.folders:
            base = os.path.join(folder, *module.split("."))
            for file in (os.path.join(base, "__init__.py"), base + ".py"):
                if os.path.isfile(file):
                    return os.path.relpath(file)
        return None

    def is_there(self, module: str) -> bool:
        """Whether a top-level module can be found at all, in the application, in packages or in the standard library."""
        if module in sys.stdlib_module_names or module in GENERATED:
            return True
        for folder in self.folders + self.packages:
            base = os.path.join(folder, module)
            if os.path.isdir(base) or os.path.isfile(base + ".py") or has_machine_module(folder, module):
                return True
        return False

    def imports(self, module: str) -> Iterator[Import]:
        """The imports of a module of the application and of all its own modules that it leads to.

        Raises SyntaxError for a module that is not Python.
        """
        seen = set()
        # First all that is certain to be imported, then what perhaps is.
        waiting = [module]
        perhaps: list[str] = []
        is_certain = True
        while waiting or perhaps:
            if not waiting:
                is_certain = False
            name = (waiting or perhaps).pop()
            file = self.file_of(name)
            if file is None or file in seen:
                continue
            seen.add(file)
            with open(file, "rb") as source:
                tree = ast.parse(source.read(), file)
            package = name if os.path.basename(file) == "__init__.py" else name.rpartition(".")[0]
            for found in imports_of(tree, file, package, is_certain):
                yield found
                parts = found.module.split(".")
                names = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
                (waiting if found.is_certain or found.is_part else perhaps).extend(names)


def has_machine_module(folder: str, module: str) -> bool:
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return any(name.startswith(module + ".") and name.endswith((".so", ".pyd")) for name in names)


def imports_of(tree: ast.Module, file: str, package: str, is_certain: bool) -> Iterator[Import]:
    """The modules that a source names; of `from a import b` both `a` and `a.b`, because `b` may be a module.

    Left out are imports for which the application has another way: in `try` and in `if`.
    """

    def visit(node: ast.AST, certain: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, file, child.lineno, certain)
            elif isinstance(child, ast.ImportFrom):
                base = absolute(child, package)
                # How Azure Functions apps of the older model may name their own folder.
                base = base.removeprefix("__app__.")
                if base:
                    yield Import(base, file, child.lineno, certain)
                for alias in child.names:
                    if alias.name != "*":
                        yield Import(f"{base}.{alias.name}".lstrip("."), file, child.lineno, False, certain)
            elif not isinstance(child, (ast.Try, ast.If)):
                is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
                yield from visit(child, certain and not is_function)

    yield from visit(tree, is_certain)


def absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    parts = parts[: len(parts) - node.level + 1]
    return ".".join(parts + ([node.module] if node.module else []))


def problems(project: Project, module: str, installed: Installed, without: set[str]) -> tuple[list[str], list[str]]:
    """What stops the build, and what may go wrong later: two lists of lines.

    `without` names distributions that the application is said not to use.
    """
    errors: list[str] = []
    notes: list[str] = []
    told: set[str] = set()
    told_missing: set[tuple[str, bool]] = set()
    for found in project.imports(module):
        top = found.module.partition(".")[0]
        lines = errors if found.is_certain else notes
        for key, instead in missing_standard(found.module):
            if (key, found.is_certain) not in told_missing:
                told_missing.add((key, found.is_certain))
                lines.append(f"{found}: {key} is not in the component's Python; {instead}")
        if top in told:
            continue
        if not project.is_there(top):
            if "." in found.module and not found.is_certain:
                continue
            told.add(top)
            lines.append(
                f"{found}: there is no module {top}; install its package into the project's .venv, "
                "or say where it is with --path"
            )
        elif project.file_of(top) is None and (key := installed.key_of(found.module)) in installed.by_module and key not in told:
            told.add(key)
            for chain in installed.chains_to_machine_code(key):
                if chain[-1] not in without:
                    lines.append(f"{found}: {machine_code(chain)}")
    return errors, notes


def missing_standard(module: str) -> Iterator[tuple[str, str]]:
    for name, instead in MISSING_STANDARD.items():
        if module == name or module.startswith(name + "."):
            yield name, instead


def machine_code(chain: list[str]) -> str:
    package = chain[-1]
    asks = "imported here" if len(chain) == 1 else f"asked for by {' ← '.join(reversed(chain[:-1]))}"
    return f"{package} is machine code and cannot run in a component ({asks}); instead: {INSTEAD[package]}"
