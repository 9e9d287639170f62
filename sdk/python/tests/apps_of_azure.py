"""Azure Functions apps for the tests: each goes the way of its user, `wfn import azure`, `wfn build`, `wfn deploy`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from host import BUILD_SECONDS_MAX, BUILT, COMPONENTIZE, PACKAGE, TESTS, Client, default_binary, host

T = TypeVar("T")
PACKAGES = ("azure-functions==1.26.0", "flask==3.1.3", "starlette==1.10.0", COMPONENTIZE)
WAIT_SECONDS_MAX = 30


@cache
def environment() -> dict[str, str]:
    """The environment of a user whose virtual environment, with all packages of the apps, is active."""
    folder = BUILT / "azure-venv"
    stamp = folder / ".installed"
    wanted = "\n".join(PACKAGES)
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES], check=True)
        stamp.write_text(wanted)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "VIRTUAL_ENV": str(folder), "PATH": path, "WFN_SDK_PYTHON": str(PACKAGE)}


def wfn(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of wfn that needs no host."""
    binary = os.environ.get("WFN") or default_binary()
    return subprocess.run([binary, *arguments], env=environment(), capture_output=True, text=True, timeout=BUILD_SECONDS_MAX)


def copied(name: str) -> Path:
    """A fresh copy of one of the apps in apps/, in which files may be written."""
    folder = BUILT / "azure-apps" / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(TESTS / "apps" / name, folder, ignore=shutil.ignore_patterns("__pycache__", "wfn.toml", "build"))
    return folder


@cache
def imported(name: str) -> Path:
    """A copy of an app with its wfn.toml, built."""
    folder = copied(name)
    for arguments in (("import", "azure", str(folder)), ("build", str(folder))):
        ended = wfn(*arguments)
        if ended.returncode:
            raise AssertionError(f"{arguments} failed:\n{ended.stdout}{ended.stderr}")
    return folder


def module_of(name: str) -> Path:
    """The module of an app that was deployed before."""
    return BUILT / "azure-apps" / name / "build" / f"{name}.wasm"


def deployed(name: str, *arguments: str) -> Client:
    """An app that answers."""
    folder = imported(name)
    host().wfn("deploy", str(folder), *arguments)
    return Client(host(), name)


def wait_for(what: str, found: Callable[[], T]) -> T:
    """What `found` returns as soon as it is true."""
    until = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < until:
        if value := found():
            return value
    raise AssertionError(f"{what} did not come")


def blobs(app: str, container: str, prefix: str = "") -> list[str]:
    """The names of the blobs of a container; none if it is not there yet."""
    lines = host().wfn("blob", "ls", app, container, "--prefix", prefix)
    return [line.split(maxsplit=3)[-1] for line in lines.splitlines()]


def blob(app: str, container: str, prefix: str) -> str:
    """The text of the one blob whose name begins so, as soon as it is there."""
    names = wait_for(f"a blob {prefix} in {container}", lambda: blobs(app, container, prefix))
    return host().wfn("blob", "get", app, container, names[0])
