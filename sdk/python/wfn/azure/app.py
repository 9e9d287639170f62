"""Reads an Azure Functions app: the functions of `function_app.py`, or the folders with a `function.json` of the older model."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wfn.azure.expressions import own_name, with_settings

MODULE_DEFAULT = "function_app"
# More of these is a mistake, not a setting file.
SETTINGS_BYTES_MAX = 1024 * 1024
# Of a retry policy that does not say how long to wait.
RETRY_LEAST_SECONDS = 5
RETRY_MOST_SECONDS = 600
Binding = dict[str, Any]

# Triggers and bindings that work here. `direction` tells input from output.
TRIGGERS = frozenset(("httpTrigger", "timerTrigger", "queueTrigger", "blobTrigger", "serviceBusTrigger", "eventHubTrigger", "warmupTrigger"))
OUTPUTS = frozenset(("http", "queue", "blob", "serviceBus", "eventHub"))
INPUTS = frozenset(("blob",))
# What the description of a binding has to name.
NEEDED = {
    "blob": "path", "blobTrigger": "path", "eventHub": "eventHubName", "eventHubTrigger": "eventHubName", "queue": "queueName",
    "queueTrigger": "queueName", "serviceBus": "queueName", "serviceBusTrigger": "queueName", "timerTrigger": "schedule",
}  # fmt: skip
# What those that do not work need, and what there is instead.
INSTEAD = {
    "activityTrigger": "Durable Functions are not there; send messages from function to function",
    "cosmosDB": "send requests to the database, or use a key-value store (docs/key-value.md)",
    "cosmosDBTrigger": "the database's change feed cannot be followed; send a message where the document is written",
    "daprServiceInvocationTrigger": "there is no Dapr; call the other app at http://NAME.wfn.internal",
    "durableClient": "Durable Functions are not there; send messages from function to function",
    "entityTrigger": "Durable Functions are not there; keep state in a key-value store (docs/key-value.md)",
    "eventGrid": "send a message to a queue (docs/queues.md)",
    "eventGridTrigger": "use a blob trigger, or a route that takes the webhook",
    "kafka": "use a queue (docs/queues.md)",
    "kafkaTrigger": "use a queue (docs/queues.md)",
    "mcpToolTrigger": "use a route",
    "mysql": "send requests to a service that holds the database",
    "orchestrationTrigger": "Durable Functions are not there; send messages from function to function",
    "sendGrid": "send a request to the mail service",
    "signalR": "there are no WebSockets",
    "sql": "send requests to a service that holds the database",
    "sqlTrigger": "send a message where the row is written",
    "table": "use a key-value store (docs/key-value.md)",
}


class AppError(Exception):
    """Why an app cannot be read; the text is for the one who brings it."""


@dataclass(frozen=True)
class Retry:
    """A retry policy: a count of -1 has no end."""

    count: int
    is_fixed: bool
    least_seconds: int
    most_seconds: int

    def seconds_after(self, failures: int) -> int:
        """How long to wait after that many failures."""
        if self.is_fixed:
            return self.least_seconds
        return min(self.least_seconds << min(failures - 1, 30), self.most_seconds)


@dataclass(frozen=True)
class Function:
    """One function of an app, and what it is bound to."""

    name: str
    call: Callable[..., Any]
    bindings: list[Binding]
    retry: Retry | None
    # Its own folder in the older model, else the app's.
    folder: str
    # `disabled` of function.json: whether, or the setting that says so.
    disabled: bool | str = False

    @cached_property
    def own_name(self) -> str:
        return own_name(self.name, "function")

    @cached_property
    def takes_context(self) -> bool:
        """Whether it wants the context of a call."""
        names = {binding["name"] for binding in self.bindings}
        return "context" not in names and "context" in inspect.signature(self.call).parameters

    @property
    def trigger(self) -> Binding:
        found = [binding for binding in self.bindings if binding["type"].lower().endswith("trigger")]
        if len(found) != 1:
            raise AppError(f"the function {self.name} has {len(found)} triggers; a function has one")
        return found[0]

    @property
    def outputs(self) -> list[Binding]:
        return [binding for binding in self.bindings if binding.get("direction") == "out"]

    @property
    def inputs(self) -> list[Binding]:
        return [binding for binding in self.bindings if binding.get("direction") != "out" and binding is not self.trigger]

    def is_disabled(self, settings: Mapping[str, str]) -> bool:
        """Whether it is switched off, by the app's settings or by its function.json."""
        forms = ("AzureWebJobs.{}.Disabled", "AzureWebJobs__{}__Disabled")
        values = [settings.get(form.format(self.name)) for form in forms]
        values.append(settings.get(self.disabled.strip("%")) if isinstance(self.disabled, str) else str(self.disabled))
        return any(value is not None and value.lower() in ("true", "1") for value in values)

    def template(self, prefix: str, settings: Mapping[str, str]) -> str:
        """The template of its route, with the prefix of the app."""
        own = with_settings(str(self.trigger.get("route") or self.name), settings).strip("/")
        return f"{prefix}/{own}" if prefix else own

    def problems(self) -> Iterator[str]:
        """What of it does not work on wfn."""
        for binding in self.bindings:
            yield from (f"{self.name}: {problem}" for problem in self.problems_of(binding))
        given = [binding["name"] for binding in self.bindings]
        for name in sorted({name for name in given if given.count(name) > 1}):
            yield f"{self.name}: two bindings have the name {name}"
        parameters = inspect.signature(self.call).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        names = {*given} - {"$return"}
        for name in sorted(names - set(parameters)):
            if not takes_all and self.trigger["type"] != "warmupTrigger":
                yield f"{self.name}: the binding {name} is no parameter of the function"
        for name, parameter in parameters.items():
            if name not in names and name != "context" and parameter.default is parameter.empty and parameter.kind in (
                parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY,
            ):  # fmt: skip
                yield f"{self.name}: its parameter {name} is bound to nothing"

    def problems_of(self, binding: Binding) -> Iterator[str]:
        """What of one of its bindings does not work on wfn."""
        kind, name, direction = binding["type"], binding["name"], binding.get("direction", "in")
        known = TRIGGERS if binding is self.trigger else OUTPUTS if direction == "out" else INPUTS
        if kind not in known:
            yield f"the binding {kind} ({name}) does not work on wfn: {INSTEAD.get(kind, 'there is nothing like it')}"
        elif direction not in ("in", "out"):
            yield f"the binding {kind} ({name}) has the direction {direction!r}; write one binding that is read and one that is written"
        elif "topicName" in binding:
            yield "topics of Service Bus do not work on wfn: send a message to each subscriber's queue"
        elif kind in NEEDED and not isinstance(binding.get(NEEDED[kind]), str):
            yield f"the binding {kind} ({name}) has no {NEEDED[kind]}"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of the app; empty if it is not there. Raises AppError for one that is none."""
    try:
        if path.stat().st_size > SETTINGS_BYTES_MAX:
            raise AppError(f"{path.name} has more than {SETTINGS_BYTES_MAX} bytes")
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise AppError(f"{path.name}: {error}") from None
    if not isinstance(value, dict):
        raise AppError(f"{path.name} is not a JSON object")
    return value


def older_folders(folder: Path) -> list[Path]:
    """The folders of functions in the older model."""
    return sorted(entry for entry in folder.iterdir() if (entry / "function.json").is_file())


def is_newer(folder: Path, module: str = MODULE_DEFAULT) -> bool:
    return (folder / f"{module}.py").is_file()


def script_of(folder: Path, description: dict[str, Any]) -> str:
    """The module of a function in the older model."""
    script = str(description.get("scriptFile", "__init__.py"))
    name = script.removesuffix(".py").replace("\\", "/").removeprefix("./")
    if not script.endswith(".py") or not name.isidentifier():
        raise AppError(f"{folder.name}/function.json: scriptFile is {script!r}; name a Python file in the same folder")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", folder.name):
        raise AppError(f"the folder {folder.name!r} cannot be the name of a function; use letters, digits, hyphens and underscores")
    return folder.name if name == "__init__" else f"{folder.name}.{name}"


def modules_of(folder: Path, module: str = MODULE_DEFAULT) -> list[str]:
    """The modules of an app that hold its functions. Raises AppError where there is no app."""
    if is_newer(folder, module):
        return [module]
    modules = [script_of(entry, read_json(entry / "function.json")) for entry in older_folders(folder)]
    if not modules:
        raise AppError(f"there is neither {module}.py nor a folder with function.json; is this the folder of the app?")
    return modules


def load(folder: Path, module: str = MODULE_DEFAULT, name: str = "") -> list[Function]:
    """Imports the app in `folder`, which is on sys.path, and returns its functions. `name` is that of the FunctionApp in `module`.

    What the app's modules raise goes through.
    """
    if is_newer(folder, module):
        return newer(importlib.import_module(module), name, folder)
    alias_older(folder)
    return [older(entry) for entry in older_folders(folder) if modules_of(folder)]


def newer(module: types.ModuleType, name: str, folder: Path) -> list[Function]:
    from azure.functions.decorators.function_app import FunctionRegister

    apps = {known: value for known, value in vars(module).items() if isinstance(value, FunctionRegister)}
    if name and name not in apps:
        raise AppError(f"{module.__name__}.py has no FunctionApp of the name {name}")
    if len({id(value) for value in apps.values()}) != 1 and not name:
        raise AppError(f"{module.__name__}.py has {len(apps)} FunctionApps ({', '.join(apps)}); an app has one")
    functions = []
    for made in apps[name or next(iter(apps))].get_functions():
        bindings = json.loads(made.get_function_json())["bindings"]
        function = str(made.get_function_name())
        retry = retry_of(function, made.get_settings_dict("retry_policy"))
        functions.append(Function(function, made.get_user_function(), normal(bindings), retry, str(folder)))
    return functions


def alias_older(folder: Path) -> None:
    """Makes the app's folder the package `__app__`, because functions of the older model import from each other as its parts."""
    if "__app__" not in sys.modules:
        package = types.ModuleType("__app__")
        package.__path__ = [str(folder)]
        sys.modules["__app__"] = package


def older(folder: Path) -> Function:
    description = read_json(folder / "function.json")
    script = script_of(folder, description)
    entry = str(description.get("entryPoint", "main"))
    call = getattr(importlib.import_module(f"__app__.{script}"), entry, None)
    if not callable(call):
        raise AppError(f"{folder.name}: there is no function {entry} in {script}")
    bindings = description.get("bindings")
    if not isinstance(bindings, list) or not all(isinstance(one, dict) and "type" in one and "name" in one for one in bindings):
        raise AppError(f"{folder.name}/function.json: bindings is not a list of objects with type and name")
    disabled = description.get("disabled", False)
    retry = retry_of(folder.name, description.get("retry"))
    return Function(folder.name, call, normal(bindings), retry, str(folder), disabled if isinstance(disabled, str) else disabled is True)


def retry_of(function: str, settings: dict[str, Any] | None) -> Retry | None:
    """The retry policy of a function; the models write its names differently. Raises AppError for one that is none."""
    if not settings:
        return None
    values = {re.sub("[A-Z]", lambda capital: "_" + capital[0].lower(), key): value for key, value in settings.items()}
    is_fixed = str(values.get("strategy", "")).lower().startswith("fixed")
    least = values.get("delay_interval" if is_fixed else "minimum_interval")
    most = values.get("maximum_interval")
    count = str(values.get("max_retry_count", 0))
    if not re.fullmatch("-1|[0-9]{1,9}", count):
        raise AppError(f"{function}: the retry policy has the max_retry_count {count!r}; write a number, or -1 for no end")
    return Retry(
        count=int(count),
        is_fixed=is_fixed,
        least_seconds=seconds_of(least) if least else RETRY_LEAST_SECONDS,
        most_seconds=seconds_of(most) if most else RETRY_MOST_SECONDS,
    )


def seconds_of(span: Any) -> int:
    """The seconds of a time span of .NET: `02:03:04`, or with days `1.02:03:04`. Raises AppError for one that is none.

    Where the first number is no hour of a day, it is days, and the others are hours and minutes: `24:00:00` has 24 days.
    """
    found = re.fullmatch(r"(?:(\d{1,5})\.)?(\d{1,5}):(\d{1,2}):(\d{1,2})(?:\.\d{1,7})?", str(span), re.ASCII)
    parts = [int(part) for part in found.groups(default="0")] if found else []
    if found and found[1] is None and parts[1] >= 24:
        parts = [*parts[1:], 0]
    if not parts or parts[1] >= 24 or parts[2] >= 60 or parts[3] >= 60:
        raise AppError(f"{span!r} is no time span; write hours:minutes:seconds, such as 00:00:30")
    days, hours, minutes, seconds = parts
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def normal(bindings: list[Binding]) -> list[Binding]:
    """Bindings as the two models have them in common: enumerations in lower case."""
    for binding in bindings:
        for key in ("direction", "authLevel", "cardinality"):
            if key in binding:
                binding[key] = str(binding[key]).lower()
    return bindings


def is_missing_setting(error: BaseException) -> bool:
    """Whether it comes from `os.environ[NAME]`."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return isinstance(error, KeyError) and trace is not None and trace.tb_frame.f_globals.get("__name__") == "os"


def forget(folder: Path) -> None:
    """Removes the app's own modules, so that a failed import can be tried again."""
    root = str(folder).rstrip("/") + "/"
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and os.path.abspath(file).startswith(root) and name != "__main__":
            del sys.modules[name]
