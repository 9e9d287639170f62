"""`wfn import azure` says what maps and what does not, and refuses by name what wfn lacks."""

from __future__ import annotations

import json
import shutil
import tempfile
import unittest
from pathlib import Path
from subprocess import CompletedProcess

from apps_of_azure import copied, environment, wfn
from host import installed, run_build

HEAD = "import azure.functions as func\napp = func.FunctionApp()\n"
CASES = {
    "cosmos_db_output": (
        '@app.route(route="a")\n@app.cosmos_db_output(arg_name="doc", connection="C", database_name="d", container_name="c")\n'
        "def keep(req, doc): ...\n",
        "keep the binding cosmosDB (doc) does not work on wfn: send requests to the database",
    ),
    "event_grid_trigger": ('@app.event_grid_trigger(arg_name="event")\ndef on_event(event): ...\n', "the binding eventGridTrigger (event) does not work"),
    "generic": (
        '@app.route(route="a")\n@app.generic_output_binding(arg_name="mail", type="smokeSignal")\ndef send(req, mail): ...\n',
        "the binding smokeSignal (mail) does not work on wfn: there is nothing like it",
    ),
    "topic": (
        '@app.service_bus_topic_trigger(arg_name="m", topic_name="t", connection="C", subscription_name="s")\ndef on_topic(m): ...\n',
        "topics of Service Bus do not work on wfn",
    ),
    "output to a topic": (
        '@app.route(route="a")\n@app.service_bus_topic_output(arg_name="m", topic_name="t", connection="C")\ndef send(req, m): ...\n',
        "topics of Service Bus do not work on wfn",
    ),
    "no queue": (
        '@app.route(route="a")\n@app.generic_output_binding(arg_name="m", type="queue")\ndef send(req, m): ...\n', "the binding queue (m) has no queueName",
    ),
    "two bindings of a name": (
        '@app.route(route="a")\n@app.queue_output(arg_name="m", queue_name="q", connection="C")\n'
        '@app.blob_output(arg_name="m", path="box/x", connection="C")\ndef send(req, m): ...\n',
        "two bindings have the name m",
    ),
    "two functions of a queue": (
        '@app.queue_trigger(arg_name="m", queue_name="q", connection="C")\ndef one(m): ...\n'
        '@app.queue_trigger(arg_name="m", queue_name="q", connection="C")\ndef two(m): ...\n',
        "two functions of the queue q: wfn calls one",
    ),
    "names that become one": (
        '@app.timer_trigger(arg_name="t", schedule="0 0 0 * * *")\ndef a_b(t): ...\n'
        '@app.function_name("A-B")\n@app.timer_trigger(arg_name="t", schedule="0 0 0 * * *")\ndef other(t): ...\n',
        "two functions a-b: wfn calls one",
    ),
    "schedule": ('@app.timer_trigger(arg_name="t", schedule="* * *")\ndef tick(t): ...\n', "the schedule '* * *' has 3 fields; use six"),
    "span": ('@app.timer_trigger(arg_name="t", schedule="00:07:00")\ndef tick(t): ...\n', "'00:07:00' does not divide a minute, an hour or a day"),
    "span of days": ('@app.timer_trigger(arg_name="t", schedule="24:00:00")\ndef tick(t): ...\n', "'24:00:00' does not divide"),
    "span of nothing": ('@app.timer_trigger(arg_name="t", schedule="00:90:00")\ndef tick(t): ...\n', "'00:90:00' is no time span"),
    "setting": ('@app.timer_trigger(arg_name="t", schedule="%WHEN%")\ndef tick(t): ...\n', "'%WHEN%' needs the setting WHEN"),
    "constraint": ('@app.route(route="{a:odd}")\ndef odd(req): ...\n', "there is no constraint 'odd'"),
    "container": (
        '@app.route(route="a")\n@app.blob_output(arg_name="b", path="{box}/x", connection="C")\ndef put(req, b): ...\n',
        "the container '{box}' cannot be named in wfn.toml",
    ),
    "date": (
        '@app.route(route="a")\n@app.blob_output(arg_name="b", path="box/{DateTime:o}", connection="C")\ndef put(req, b): ...\n',
        "a date has no format 'o' here; write its parts",
    ),
    "identifier": (
        '@app.route(route="a")\n@app.blob_output(arg_name="b", path="box/{rand-guid:Q}", connection="C")\ndef put(req, b): ...\n',
        "an identifier has no format 'q'; use N, D, B or P",
    ),
    "parameter": ('@app.route(route="a")\ndef wrong(request): ...\n', "its parameter request is bound to nothing"),
}
MISSING = "wfn.build: the package azure-functions is missing; install it with: .venv/bin/pip install -r requirements.txt"
HOSTS = {
    "functionTimeout": ('{"functionTimeout": "soon"}', "'soon' is no time span"),
    "customHandler": ('{"customHandler": {"description": {"defaultExecutablePath": "x"}}}', "custom handlers are programs of machine code"),
}


class ImportTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="wfn-import-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_import(self, app: str = "", **files: str) -> CompletedProcess[str]:
        if app:
            (self.folder / "function_app.py").write_text(HEAD + app)
        for name, text in files.items():
            (self.folder / name.replace("__", ".")).write_text(text)
        return wfn("import", "azure", str(self.folder), "--name", "shop", "--force")

    def refused(self, expected: str, ended: CompletedProcess[str]) -> None:
        self.assertEqual(ended.returncode, 1, ended.stdout)
        self.assertIn(expected, " ".join((ended.stdout + ended.stderr).split()))
        self.assertFalse((self.folder / "wfn.toml").exists())

    def test_what_wfn_lacks_is_refused_by_name(self) -> None:
        for name, (app, expected) in CASES.items():
            with self.subTest(name):
                ended = self.run_import(app)
                self.refused(expected, ended)
                self.assertIn("refused, so wfn.toml was not written", ended.stderr)
                self.assertIn("refused", ended.stdout)

    def test_wrong_values_of_host_json_are_refused(self) -> None:
        timer = '@app.timer_trigger(arg_name="t", schedule="0 0 0 * * *")\ndef tick(t): ...\n'
        for name, (host, expected) in HOSTS.items():
            with self.subTest(name):
                self.refused(expected, self.run_import(timer, host__json=host))

    def test_what_cannot_be_read(self) -> None:
        self.refused("there is neither function_app.py nor a folder with function.json", self.run_import())
        self.refused("function_app.py:3: No module named 'numby'; install the app's packages with: python3 -m venv", self.run_import("import numby\n"))
        self.refused("function_app.py:3: KeyError: 'A'; put this setting into local.settings.json", self.run_import("import os; os.environ['A']\n"))
        self.refused("function_app.py:3: ZeroDivisionError", self.run_import("1 / 0\n"))
        self.refused("function_app.py has 2 FunctionApps (app, two); an app has one", self.run_import("two = func.FunctionApp()\n"))
        self.refused("host.json: Expecting", self.run_import("\n", host__json="{"))
        self.refused("local.settings.json is encrypted", self.run_import("\n", host__json="{}", local__settings__json='{"IsEncrypted": true}'))

    def test_a_retry_policy_without_a_number(self) -> None:
        retry = '@app.retry(strategy="fixed_delay", max_retry_count="some", delay_interval="00:00:10")\n'
        ended = self.run_import('@app.timer_trigger(arg_name="t", schedule="0 0 0 * * *")\n' + retry + "def tick(t): ...\n")
        self.refused("tick: the retry policy has the max_retry_count 'some'; write a number", ended)

    def test_settings_override_host_json(self) -> None:
        values = {"AzureFunctionsJobHost__extensions__http__routePrefix": "", "AzureFunctionsJobHost__functiontimeout": "00:02:00"}
        ended = self.run_import('@app.route(route="a")\ndef a(req): ...\n', host__json="{}", local__settings__json=json.dumps({"Values": values}))
        lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
        self.assertIn('maps host.json: functionTimeout = "00:02:00" timeout', lines)
        self.assertIn("maps setting AzureFunctionsJobHost__functiontimeout host.json: functionTimeout", lines)
        self.assertIn("maps a: route, all methods /shop/a, for who has FUNCTIONS_KEY or FUNCTIONS_KEY_A", lines)
        made = (self.folder / "wfn.toml").read_text()
        self.assertIn('timeout = "120s"', made)
        self.assertIn('AzureFunctionsJobHost__extensions__http__routePrefix = ""', made)

    def test_function_json(self) -> None:
        def add(name: str, disabled: object, **binding: str) -> None:
            folder = self.folder / name
            folder.mkdir()
            (folder / "__init__.py").write_text("def main(m): ...\n")
            described = {"disabled": disabled, "bindings": [{"type": "queueTrigger", "name": "m", "queueName": name, **binding}]}
            (folder / "function.json").write_text(json.dumps(described))

        add("one", True)
        add("two", "OFF")
        add("three", "ON")
        values = json.dumps({"Values": {"OFF": "true", "ON": "false"}})
        ended = self.run_import(host__json="{}", local__settings__json=values)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
        for line in ("unused one switched off", "unused two switched off", "maps three: queueTrigger queue three, the function three"):
            self.assertIn(line, lines)
        (self.folder / "wfn.toml").unlink()
        add("four", False, direction="inout")
        self.refused("the binding queueTrigger (m) has the direction 'inout'", self.run_import())

    def test_the_whole_mapping(self) -> None:
        folder = copied("azure-all")
        ended = wfn("import", "azure", str(folder), "--name", "all")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        expected = folder / "expected.toml"
        self.assertEqual((folder / "wfn.toml").read_text(), expected.read_text())
        lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
        for line in (folder / "expected.txt").read_text().splitlines():
            self.assertIn(line, lines)
        again = wfn("import", "azure", str(folder), "--name", "all")
        self.assertEqual(again.returncode, 1)
        self.assertIn("--force to write over it", again.stderr)
        shown = json.loads(wfn("import", "azure", str(folder), "--name", "all", "--force", "--json").stdout)
        self.assertEqual((shown["app"], shown["refused"]), ("all", False))
        self.assertIn({"kind": "maps", "what": "setting COLOUR", "to": "[env]"}, shown["lines"])

    def test_an_app_that_prints_and_a_package_of_machine_code(self) -> None:
        site = next(Path(environment()["VIRTUAL_ENV"]).glob("lib/python*/site-packages"))
        info = site / "numpy-0.0.dist-info"
        package = site / "numpy"
        for made in (info, package):
            self.addCleanup(shutil.rmtree, made)
        info.mkdir()
        package.mkdir()
        (package / "__init__.py").write_text("")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0\n")
        (info / "RECORD").write_text("numpy/__init__.py,,\n")
        ended = self.run_import('import numpy\nprint("{}")\n@app.route(route="a")\ndef a(req): ...\n')
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("the build will end: numpy is machine code and cannot run in a component (imported here); instead: use lists", ended.stdout)
        ended = wfn("build", str(self.folder))
        self.assertEqual(ended.returncode, 1)
        self.assertIn("function_app.py:3: numpy is machine code and cannot run in a component", ended.stderr)
        self.assertFalse((self.folder / "build").exists())


    def test_the_build_says_what_is_missing(self) -> None:
        (self.folder / "function_app.py").write_text(HEAD)
        ended = run_build(self.folder, "azure", "-o", "build/app.wasm")
        self.assertEqual((ended.returncode, ended.stderr.splitlines()[-1]), (1, MISSING))
        packages = installed("azure", "azure-functions==1.26.0")
        (self.folder / "function_app.py").unlink()
        ended = run_build(self.folder, "azure", "-o", "build/app.wasm", "--path", str(packages))
        self.assertIn("there is neither function_app.py nor a folder with function.json", ended.stderr)
        (self.folder / "function_app.py").write_text(HEAD + "from helpers import tool\n")
        (self.folder / "helpers.py").write_text("import not_there\n")
        ended = run_build(self.folder, "azure", "-o", "build/app.wasm", "--path", str(packages))
        self.assertIn("wfn.build: helpers.py:1: there is no module not_there; install its package", ended.stderr)
        self.assertFalse((self.folder / "build").exists())


if __name__ == "__main__":
    unittest.main()
