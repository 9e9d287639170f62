"""Builds a component from a Python web application: `python3 -m wfn.build wsgi app:application -o build/app.wasm`."""

from __future__ import annotations

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from wfn.azure.app import AppError
from wfn.azure.source import AzureProject
from wfn.imports import Project, problems
from wfn.packages import Installed

HERE = Path(__file__).resolve().parent
COMPONENTIZE_VERSION = "0.25.1"
TOOL_MISSING = 127
ENTRY_MODULE = "wfn_entry"


@dataclass(frozen=True)
class Kind:
    """A kind of application and what its component is made of."""

    bridge: str
    world: str
    # What of the bridge's module the component exports, as Python's source; `application` is the application.
    export: str
    # How `application` is made, as Python's source.
    load: str = "from {module} import {name} as application"


# Names of bindings of which WASI 0.2 and 0.3 both have one.
BINDINGS = {
    "wasi:clocks/monotonic-clock@0.2.0": "monotonic_clock_0_2",
    "wasi:clocks/monotonic-clock@0.3.0": "monotonic_clock",
    "wasi:http/types@0.2.0": "types",
    "wasi:http/types@0.3.0": "wasi_http_types",
}

KINDS = {
    "asgi": Kind("wfn.asgi", "asgi", "Handler = bridge.handler(application)"),
    "wsgi": Kind("wfn.wsgi", "wsgi", "IncomingHandler = bridge.handler(application)"),
}
# An Azure Functions app is one or the other. Its own modules are imported by the instances, its packages while the component is built.
AZURE_LOAD = "from wfn.azure import packages\npackages.load({packages!r})\napplication = bridge.application('/0', {module!r}, {name!r})"
AZURE_KINDS = {
    True: replace(KINDS["asgi"], bridge="wfn.azure.overlapping", load=AZURE_LOAD),
    False: replace(KINDS["wsgi"], bridge="wfn.azure.sync", load=AZURE_LOAD),
}

ENTRY = '''\
"""The component's main module, written by wfn.build."""
import os
os.chdir("/0")
os.environ.update({environment!r})
from wfn import runtime
runtime.begin_build({build_environment!r})
import {bridge} as bridge
{load}
{export}
# componentize-py does not show what is printed, so notes come by a file.
runtime.end_build("/0", os.path.dirname(__file__))
'''


class BuildError(Exception):
    """Why there is no component; the text is for the one who builds."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit code: 0 built, 1 not built, 127 a tool is missing, as a shell says it."""
    options = parser().parse_args(arguments)
    try:
        build(options)
    except BuildError as error:
        print(f"wfn.build: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python3 -m wfn.build", description=__doc__)
    result.add_argument("kind", choices=["asgi", "azure", "wsgi"], help="what the application is")
    result.add_argument(
        "application", metavar="MODULE:NAME", nargs="?", default="",
        help="where the application is, such as app:application; azure finds it by itself",
    )  # fmt: skip
    result.add_argument("-o", "--output", required=True, metavar="FILE", help="the component to write")
    result.add_argument(
        "--path", action="append", default=[], metavar="DIR", help="a folder with modules or packages; may be repeated"
    )
    result.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE",
        help="a setting that the application reads while it is imported; it is not there at run time",
    )  # fmt: skip
    result.add_argument(
        "--without", action="append", default=[], metavar="PACKAGE",
        help="build although this package cannot be loaded; the application does not use it",
    )  # fmt: skip
    return result


def build(options: argparse.Namespace) -> None:
    """Checks the application and writes the component. Raises BuildError."""
    module, name = parse_application(options.application) if options.application or options.kind != "azure" else ("", "")
    settings = dict(parse_setting(text) for text in options.env)
    # The application's folder is the first: in the component it is /0, and the current folder.
    folders = ["."] + options.path
    for folder in folders:
        if not os.path.isdir(folder):
            raise BuildError(f"there is no folder {folder}")
        if folder_has(folder, "wfn") and os.path.realpath(os.path.join(folder, "wfn")) != str(HERE):
            raise BuildError(f"{folder} has a module wfn of its own; rename it")
    packages = [folder for folder in options.path if glob.glob(os.path.join(glob.escape(folder), "*.dist-info"))]
    folders = [folder for folder in folders if folder not in packages]
    packages += site_packages()
    installed = Installed(packages + folders)
    project = Project(folders, packages)
    if options.kind == "azure":
        app = azure_project(project, module, installed)
        module, kind, modules = app.module, AZURE_KINDS[app.is_async], app.modules
        load = kind.load.format(packages=app.packages, module=module, name=name)
    else:
        kind, modules = KINDS[options.kind], [module]
        load = kind.load.format(module=module, name=name)
    check(project, modules, installed, set(options.without))
    command = find_componentize()
    with tempfile.TemporaryDirectory(prefix="wfn-build-") as work:
        Path(work, "entry").mkdir()
        Path(work, "no-venv/lib/site-packages").mkdir(parents=True)
        entry = ENTRY.format(
            environment=settings, build_environment=sorted(settings), bridge=kind.bridge, load=load, export=kind.export,
        )  # fmt: skip
        Path(work, "entry", f"{ENTRY_MODULE}.py").write_text(entry, encoding="utf-8")
        mounted = folders + [str(HERE.parent), str(Path(work, "entry"))] + packages
        output = Path(work, "component.wasm")
        arguments = command + ["-q", "-d", str(HERE / "wit"), "-w", kind.world]
        for interface, binding in BINDINGS.items():
            arguments += ["--import-interface-name", f"{interface}={binding}"]
        arguments += ["componentize", ENTRY_MODULE]
        for folder in mounted:
            arguments += ["-p", folder]
        arguments += ["-o", str(output)]
        # Without VIRTUAL_ENV componentize-py takes the packages of the machine's own Python.
        environment = {**os.environ, "VIRTUAL_ENV": str(Path(work, "no-venv"))}
        ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, errors="replace")
        shown = ended.stdout + ended.stderr
        if ended.returncode or not output.is_file():
            raise BuildError(explain(shown, mounted))
        for line in Path(work, "entry", "notes").read_text(encoding="utf-8").splitlines():
            print(f"wfn.build: note: {real_paths(line, mounted)}", file=sys.stderr)
        target = Path(options.output)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Whoever watches the file sees the old one or the new one, never a part.
        beside = target.with_name(f".{target.name}.new")
        shutil.copyfile(output, beside)
        os.replace(beside, target)


def parse_application(text: str) -> tuple[str, str]:
    module, colon, name = text.partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise BuildError(f"{text!r} does not say where the application is; write MODULE:NAME, such as app:application")
    return module, name


def parse_setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise BuildError(f"--env {text}: write NAME=VALUE")
    return name, value


def folder_has(folder: str, module: str) -> bool:
    return os.path.isfile(os.path.join(folder, f"{module}.py")) or os.path.isdir(os.path.join(folder, module))


def site_packages() -> list[str]:
    """The project's packages: of .venv, or of the virtual environment that is active."""
    for root in (".venv", os.environ.get("VIRTUAL_ENV", ""), sys.prefix if sys.prefix != sys.base_prefix else ""):
        if root:
            found = glob.glob(os.path.join(glob.escape(root), "lib", "python*", "site-packages"))
            if found:
                return sorted(found)
    return []


def find_componentize() -> list[str]:
    """The command that runs componentize-py."""
    folders = [".venv/bin"]
    if os.environ.get("VIRTUAL_ENV"):
        folders.append(os.path.join(os.environ["VIRTUAL_ENV"], "bin"))
    folders.append(os.path.dirname(sys.executable))
    search = os.pathsep.join(os.path.abspath(folder) for folder in folders) + os.pathsep + os.environ.get("PATH", "")
    found = shutil.which("componentize-py", path=search)
    if found is None:
        raise BuildError(
            "componentize-py is missing; install it with: python3 -m venv .venv && "
            f".venv/bin/pip install componentize-py=={COMPONENTIZE_VERSION}",
            TOOL_MISSING,
        )
    return [found]


def azure_project(project: Project, module: str, installed: Installed) -> AzureProject:
    """The Azure Functions app in the current folder. Raises BuildError if there is none."""
    if "azure-functions" not in installed.by_name:
        raise BuildError("the package azure-functions is missing; install it with: .venv/bin/pip install -r requirements.txt")
    try:
        return AzureProject(project, module)
    except AppError as error:
        raise BuildError(str(error)) from error
    except SyntaxError as error:
        raise BuildError(f"{error.filename}:{error.lineno}: {error.msg}") from error


def check(project: Project, modules: list[str], installed: Installed, without: set[str]) -> None:
    """Says what a component cannot have, before the build begins."""
    errors: list[str] = []
    for module in modules:
        if project.file_of(module) is None and not project.is_there(module.partition(".")[0]):
            raise BuildError(f"there is no module {module}: no file {module.replace('.', '/')}.py here or in --path")
        try:
            found, notes = problems(project, module, installed, without)
        except SyntaxError as error:
            raise BuildError(f"{error.filename}:{error.lineno}: {error.msg}") from error
        errors += found
        for note in notes:
            print(f"wfn.build: note: {note}", file=sys.stderr)
    if errors:
        raise BuildError("\nwfn.build: ".join(errors))


def real_paths(text: str, mounted: list[str]) -> str:
    """The text with the component's paths, /0 and so on, replaced by those of this machine."""

    def real(match: re.Match[str]) -> str:
        number = int(match[1])
        return os.path.normpath(os.path.join(mounted[number], match[2])) if number < len(mounted) else match[0]

    return re.sub(r"(?<![\w/.])/(\d{1,3})/([\w./+-]+)", real, text)


def explain(shown: str, mounted: list[str]) -> str:
    """What componentize-py printed, without its own stack: the application's error first, then its traceback."""
    text = shown.partition("Stack backtrace:")[0].partition("\nCaused by:")[0].rstrip()
    text = re.sub(r"\A.*?AssertionError: ", "", text, flags=re.DOTALL)
    start = text.find("Traceback (most recent call last):")
    if start < 0:
        return f"the component could not be built: {real_paths(text, mounted)}"
    trace = text[start:].rstrip()
    last = next((line for line in reversed(trace.splitlines()) if line and not line.startswith(" ")), "")
    own = re.findall(r'File "(/0/[^"]+)", line (\d+)', trace)
    where = f"{own[-1][0]}:{own[-1][1]}: " if own else ""
    setting = re.fullmatch(r"KeyError: '(\w+)'", last)
    if setting and re.search(r"/os\.py|in __getitem__|fresh\.py", trace):
        last += (
            f"\nThe settings of the host are not there while the component is built. Read {setting[1]} in a function, "
            f"or give the build a value of its own: --env {setting[1]}=VALUE"
        )
    return real_paths(f"{where}{last}\nThe application could not be imported:\n{trace}", mounted)


if __name__ == "__main__":
    sys.exit(main())
