"""A host and components for the tests. `WFN` names the binary of wfn; without it, target/release/wfn or wfn in the PATH."""

from __future__ import annotations

import atexit
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent
ROOT = PACKAGE.parent.parent
# Packages and components of earlier runs, which git ignores.
BUILT = ROOT / "target" / "python-tests"
BUILD_SECONDS_MAX = 300
DEPLOY_SECONDS_MAX = 300
ANSWER_SECONDS_MAX = 60
COMPONENTIZE = "componentize-py==0.25.1"


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def installed(name: str, *requirements: str) -> Path:
    """A folder with packages from PyPI, installed once for each set of versions."""
    folder = BUILT / "packages" / name
    wanted = "\n".join(requirements)
    stamp = folder / ".installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(folder)]
        subprocess.run([*command, *requirements], check=True)
        stamp.write_text(wanted)
    return folder


@cache
def tools() -> Path:
    """A virtual environment with componentize-py."""
    folder = BUILT / "tools"
    if not (folder / "bin" / "componentize-py").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, COMPONENTIZE], check=True)
    return folder


def run_build(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python3 -m wfn.build` in a project's folder."""
    path = f"{tools() / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(PACKAGE)}
    environment.pop("VIRTUAL_ENV", None)
    command = [sys.executable, "-m", "wfn.build", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX
    )


def component(name: str, application: str, *arguments: str) -> Path:
    """The component of one of the projects in apps/."""
    output = BUILT / f"{name}.wasm"
    ended = run_build(TESTS / "apps" / name, "wsgi", application, "-o", str(output), *arguments)
    if ended.returncode:
        raise AssertionError(f"{name} was not built:\n{ended.stderr}")
    return output


class Host:
    """A host that runs until the tests end."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="wfn-python-")
        self.binary = os.environ.get("WFN") or default_binary()
        data = f"{self.folder.name}/data"
        command = [self.binary, "up", "--data-dir", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(environment or {})}
        )
        atexit.register(self.stop)
        assert self.process.stdout is not None
        ready = self.process.stdout.readline()
        found = re.search(r"functions on http://([\d.:]+), admin API on (http://[\d.:]+)", ready)
        if found is None:
            raise AssertionError(f"the host did not start: {ready}")
        self.address = found[1]
        self.flags = ["--server", found[2], "--data-dir", data]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.folder.cleanup()

    def wfn(self, *arguments: str) -> str:
        """Runs a command of wfn and returns what it printed."""
        command = [self.binary, *self.flags, *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=DEPLOY_SECONDS_MAX)
        if ended.returncode:
            raise AssertionError(f"{arguments} failed: {ended.stderr}")
        return ended.stdout

    def deploy(self, module: Path, name: str, *arguments: str) -> Client:
        self.wfn("deploy", str(module), "--name", name, *arguments)
        return Client(self, name)


class Client:
    """Calls one app as a browser does: it keeps cookies."""

    def __init__(self, host: Host, app: str) -> None:
        self.host, self.app = host, app
        self.cookies: dict[str, str] = {}

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request to a path below the app's. Raises http.client.IncompleteRead where an answer is cut off."""
        connection = http.client.HTTPConnection(self.host.address, timeout=ANSWER_SECONDS_MAX)
        try:
            sent = dict(headers or {})
            if self.cookies:
                sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            connection.request(method, f"/{self.app}{path}", body, sent)
            response = connection.getresponse()
            content = response.read()
            for cookie in response.headers.get_all("Set-Cookie") or ():
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value
            return Answer(response.status, response.headers, content)
        finally:
            connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.call("GET", path, headers=headers)

    def post(self, path: str, body: bytes, content_type: str = "application/x-www-form-urlencoded") -> Answer:
        return self.call("POST", path, body, {"Content-Type": content_type})

    def log(self) -> str:
        return self.host.wfn("logs", self.app)


@cache
def host() -> Host:
    """One host for all tests of a run."""
    return Host()


def default_binary() -> str:
    built = ROOT / "target" / "release" / "wfn"
    found = str(built) if built.exists() else shutil.which("wfn")
    if found is None:
        raise AssertionError("no binary of wfn: build it, or name it in WFN")
    return found
