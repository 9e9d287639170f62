"""Reads the Azure Functions app in the current folder and prints, as JSON, the wfn.toml for it and what each thing in it becomes.

It runs in the app's own Python, with the app's packages: `wfn import azure` calls it.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wfn.azure import app, render
from wfn.azure.app import AppError, Function
from wfn.azure.manifest import Line, Made
from wfn.azure.source import AzureProject
from wfn.build import site_packages
from wfn.imports import Project, problems
from wfn.packages import Installed

INSTALL = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt componentize-py==0.25.1"
URL = re.compile(r"(https?)://([A-Za-z0-9.-]+)(:[0-9]{1,5})?")


def main() -> int:
    """Prints the result, or on stderr why there is none. Returns the exit code."""
    options = parser().parse_args()
    try:
        # What the app prints while it is imported must not be in the result.
        with contextlib.redirect_stdout(sys.stderr):
            result = inspected(options.name, Path(".").resolve())
    except AppError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python3 -m wfn.azure.inspect", description=__doc__)
    result.add_argument("--name", required=True, help="the app's name on wfn")
    return result


def inspected(name: str, folder: Path) -> dict[str, Any]:
    """The result for the app in `folder`, which is the current one. Raises AppError if it cannot be read."""
    host = app.read_json(folder / "host.json")
    local = app.read_json(folder / "local.settings.json")
    values = settings_of(local)
    os.environ.update({name: value for name, value in values.items() if value_fits(name, value)})
    project = Project(["."], site_packages())
    functions = functions_of(folder)
    source = AzureProject(project)
    made = Made(name, functions, host, values)
    for section in sorted(local.keys() - {"IsEncrypted", "Values"}):
        made.add("unused", f"local.settings.json: {section}", "it is for func start; wfn dev has flags for its addresses, and CORS is for a proxy in front")
    made.lines += list(lines_of_folder(folder, name))
    made.lines += list(lines_of_packages(project, source))
    if source.is_async:
        to = "one worker runs many calls; [scale] concurrency says how many, 1 without it"
        made.add("maps", "async def", to)
    return {
        "manifest": render.text(made, list(hosts_of(source))),
        "is_refused": made.is_refused,
        "lines": [line._asdict() for line in made.lines],
    }


def settings_of(local: dict[str, Any]) -> dict[str, str]:
    """The application settings of local.settings.json."""
    if local.get("IsEncrypted"):
        raise AppError("local.settings.json is encrypted; run 'func settings decrypt' first")
    values = local.get("Values", {})
    if not isinstance(values, dict):
        raise AppError("local.settings.json: Values is not an object")
    return {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def value_fits(name: str, value: str) -> bool:
    return bool(name) and "=" not in name and "\0" not in name + value


def functions_of(folder: Path) -> list[Function]:
    """The functions of the app, which is imported for that. Raises AppError with the app's own line that failed."""
    sys.path.insert(0, str(folder))
    try:
        import azure.functions  # noqa: F401
    except ImportError:
        raise AppError(f"the package azure-functions is missing; install the app's packages with: {INSTALL}") from None
    try:
        return app.load(folder)
    except AppError:
        raise
    except ModuleNotFoundError as error:
        raise AppError(f"{place_of(error, folder)}{error}; install the app's packages with: {INSTALL}") from error
    except (Exception, SystemExit) as error:
        traceback.print_exception(error)
        hint = "; put this setting into local.settings.json" if app.is_missing_setting(error) else ""
        raise AppError(f"{place_of(error, folder)}{type(error).__name__}: {error}{hint}") from error


def place_of(error: BaseException, folder: Path) -> str:
    """The last line of the app in a traceback."""
    files = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(file.relative_to(folder), line) for file, line in files if file.is_relative_to(folder) and "site-packages" not in file.parts]
    return f"{own[-1][0]}:{own[-1][1]}: " if own else ""


def lines_of_folder(folder: Path, name: str) -> Iterator[Line]:
    """What else is there."""
    if (folder / ".env").is_file():
        yield Line("maps", ".env", f"secrets: wfn secret import {name} .env; the file itself is not in the component")
    if (folder / "proxies.json").is_file():
        yield Line("refused", "proxies.json", "proxies are gone from the cloud too; write a route, or put a proxy in front")
    if (folder / "extensions.csproj").is_file():
        yield Line("unused", "extensions.csproj", "bindings are part of wfn; there are no extensions to load")


def lines_of_packages(project: Project, source: AzureProject) -> Iterator[Line]:
    """Packages and modules with which the build will end, and those that may be missed later."""
    seen: set[str] = set()
    for module in source.modules:
        errors, _ = problems(project, module, Installed(project.packages + project.folders), set())
        for text in errors:
            place, _, why = text.partition(": ")
            if text not in seen:
                seen.add(text)
                yield Line("unused", place, f"the build will end: {why}")


def hosts_of(source: AzureProject) -> Iterator[str]:
    """The hosts of the URLs in the app's own modules."""
    seen: set[str] = set()
    for file in source.files:
        for node in ast.walk(ast.parse(Path(file).read_bytes(), file)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for scheme, host, port in URL.findall(node.value):
                    found = f"{scheme}://{host}{port}"
                    if "." in host and found not in seen:
                        seen.add(found)
                        yield found


if __name__ == "__main__":
    sys.exit(main())
