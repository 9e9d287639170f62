"""Runs the functions of an Azure Functions app: finds the one that a request is for, calls it, and writes its outputs."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import logging
import os
import sys
import threading
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import azure.functions
from azure.functions import _http, http

from wfn.azure import events, keys
from wfn.azure.app import AppError, Function, MODULE_DEFAULT, forget, is_missing_setting, load, read_json
from wfn.azure.context import Context, RetryState, Trace
from wfn.azure.events import Event
from wfn.azure.expressions import BlobPattern, ExpressionError, lower, own_name, with_settings
from wfn.azure.hostjson import BLOB_DELIVERIES, QUEUE_DELIVERIES, HostJson
from wfn.azure.outputs import BindingFailed, Bindings, Services, read_blob, send
from wfn.azure.routes import Route, in_order, path_of

# Where code is from that a traceback of the app need not begin with.
NOT_OF_THE_APP = (os.path.dirname(os.path.abspath(__file__)) + "/", os.path.dirname(importlib.__file__) + "/", "<frozen importlib")
# Where the cloud puts a message about a blob whose function failed for the last time.
POISON_BLOBS = "webjobs-blobtrigger-poison"
LEVELS = {"trace": 5, "debug": 10, "information": 20, "warning": 30, "error": 40, "critical": 50, "none": 60}


@dataclass(frozen=True)
class Incoming:
    """A request of the host. Names of headers are in lower case; fields of one name are one."""

    method: str
    scheme: str
    host: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Outgoing:
    """The answer to it."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


# The body of a request is in memory already; the package would write larger files of a form to the disk again.
setattr(vars(_http)["_wk_parser"], "default_stream_factory", lambda *_, **__: io.BytesIO())


class App:
    """An app in an instance. Its modules are imported before the first call, with the settings that the instance has."""

    def __init__(self, folder: Path, services: Services, module: str = MODULE_DEFAULT, name: str = "") -> None:
        self.folder, self.services, self.module, self.name = folder, services, module, name
        self.is_loaded = False
        self.functions: dict[str, Function] = {}
        self.routes: list[tuple[Route, Function]] = []
        # Queues that have a function, by their names on wfn.
        self.queues: set[str] = set()
        self.host = HostJson({}, {})
        self.local = threading.local()

    async def answer(self, incoming: Incoming) -> Outgoing:
        """The answer to a request. What fails is in the log; the answer is 500 then."""
        try:
            # As a step of its own, so that it is named if it takes long.
            self.services.call(self.load, {})
            trigger = incoming.headers.get("wfn-trigger")
            if trigger is None:
                return await self.answer_http(incoming)
            if trigger not in self.functions:
                raise AppError(f"wfn.toml has the trigger {trigger}, the app no such function; run: wfn import azure . --force")
            return await self.take_events(self.functions[trigger], incoming)
        except Exception as error:
            log_failure(f"{incoming.method} {incoming.path} failed", error)
            return Outgoing(500)

    def load(self) -> None:
        """Imports the app, once. After a failure the next call tries it again."""
        if self.is_loaded:
            return
        self.host = HostJson(read_json(self.folder / "host.json"), os.environ)
        start_logging(self.host.log_level)
        try:
            functions = load(self.folder, self.module, self.name)
            problems = [line for function in functions for line in function.problems()]
            if problems:
                raise AppError("; ".join(problems))
            self.index(functions)
        except BaseException as error:
            forget(self.folder)
            if is_missing_setting(error):
                name = error.args[0]
                print(f"wfn: the setting {name} is missing: put it into [env] of wfn.toml, or run 'wfn secret put APP {name}'", file=sys.stderr)
            if isinstance(error, SystemExit):
                raise AppError(f"the app ended itself while it was imported: {error}") from error
            raise
        self.is_loaded = True

    def index(self, functions: list[Function]) -> None:
        routes = []
        for function in functions:
            trigger = function.trigger
            if function.is_disabled(os.environ):
                continue
            self.functions[function.own_name] = function
            if trigger["type"] == "httpTrigger":
                routes.append((Route(function.template(self.host.route_prefix, os.environ)), function))
            elif trigger["type"] == "blobTrigger":
                # Where a queue has the name of the function.
                self.functions[f"{function.own_name}-blob"] = function
            elif trigger["type"] == "queueTrigger":
                self.queues.add(own_name(with_settings(trigger["queueName"]), "queue"))
        self.routes = in_order(routes)

    # HTTP.

    async def answer_http(self, incoming: Incoming) -> Outgoing:
        path = path_of(incoming.path)
        for route, function in self.routes:
            methods = function.trigger.get("methods") or [incoming.method]
            if incoming.method not in (str(method).upper() for method in methods):
                continue
            values = route.match(path)
            if values is not None:
                return await self.run_http(function, incoming, values)
        return Outgoing(404)

    async def run_http(self, function: Function, incoming: Incoming, values: dict[str, str]) -> Outgoing:
        parameters: dict[str, str] = {}
        for name, value in parse_qsl(incoming.query, keep_blank_values=True):
            parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
        # As in the cloud, whose host leaves out what is empty.
        parameters = {name: value for name, value in parameters.items() if value}
        level = str(function.trigger.get("authLevel", "function"))
        if not keys.may_call(function.name, level, incoming.headers.get("x-functions-key") or parameters.get("code", "")):
            return Outgoing(401)
        query = f"?{incoming.query}" if incoming.query else ""
        request = http.HttpRequest(
            incoming.method, f"{incoming.scheme}://{incoming.host}{incoming.path}{query}", headers=incoming.headers,
            params=parameters, route_params=values, body_type="bytes", body=incoming.body,
        )  # fmt: skip
        data = http_data(incoming, values, parameters) if len(function.bindings) > 2 else {}
        bindings = Bindings(function, self.services, data)
        returned = await self.call(function, request, bindings, incoming.headers)
        await bindings.write(returned)
        answers = [out.value for name, out in bindings.outs.items() if is_http(function, name) and out.value is not None]
        return outgoing(answers[0] if answers else returned if is_http(function, "$return") else None)

    # Events.

    async def take_events(self, function: Function, incoming: Incoming) -> Outgoing:
        kind = function.trigger["type"]
        found = events.events_of(incoming.headers, incoming.body)
        if kind == "blobTrigger":
            await self.run_blob(function, found[0], incoming.headers)
        elif kind == "timerTrigger":
            await self.run_timer(function, found[0], incoming.headers)
        elif kind == "queueTrigger":
            await self.run_queue(function, found[0], incoming.headers)
        else:
            await self.run_event(function, events_given(function, found), found[0], incoming.headers)
        return Outgoing(204)

    async def run_event(self, function: Function, given: Any, event: Event, headers: Mapping[str, str]) -> None:
        bindings = Bindings(function, self.services, events.trigger_data(event, function.trigger["type"]))
        retry = function.retry
        state = RetryState(event.deliveries - 1, retry.count if retry else 0)
        await bindings.write(await self.call(function, given, bindings, headers, state))

    async def run_queue(self, function: Function, event: Event, headers: Mapping[str, str]) -> None:
        """Calls the function of a message. After its last delivery the message goes to NAME-poison, if a function waits there."""
        try:
            await self.run_event(function, events.queue_message(event), event, headers)
        except Exception as error:
            poison = own_name(with_settings(function.trigger["queueName"]), "queue") + "-poison"
            if event.deliveries < self.host.deliveries(QUEUE_DELIVERIES) or poison not in self.queues:
                raise
            log_failure(f"{function.name} failed for the last time; the message goes to the queue {poison}", error)
            await send(self.services, poison, event.body, event.of("datacontenttype") or "application/octet-stream")

    async def run_blob(self, function: Function, event: Event, headers: Mapping[str, str]) -> None:
        """Calls the function of a blob. After its last delivery a message that names the blob is sent, if a function waits for such."""
        written = json.loads(event.body)
        try:
            await self.take_blob(function, event, written, headers)
        except Exception as error:
            if event.deliveries < self.host.deliveries(BLOB_DELIVERIES) or POISON_BLOBS not in self.queues:
                raise
            log_failure(f"{function.name} failed for the last time; the queue {POISON_BLOBS} gets a message", error)
            await send(self.services, POISON_BLOBS, events.poison_blob(function.name, written), "application/json")

    async def take_blob(self, function: Function, event: Event, written: dict[str, Any], headers: Mapping[str, str]) -> None:
        pattern = BlobPattern(with_settings(function.trigger["path"]))
        names = pattern.match(written["name"])
        if names is None:
            return
        path = f"{written['container']}/{written['name']}"
        stream = await read_blob(self.services, path)
        if stream is None:
            logging.getLogger("wfn").warning("the blob %s was removed before %s could read it", path, function.name)
            return
        data: dict[str, Any] = {"blobtrigger": path, **{name.lower(): value for name, value in names.items()}}
        bindings = Bindings(function, self.services, data)
        await bindings.write(await self.call(function, stream, bindings, headers, RetryState(event.deliveries - 1)))

    async def run_timer(self, function: Function, event: Event, headers: Mapping[str, str]) -> None:
        """Runs the function of a timer, again after each failure if it has a retry policy."""
        failures, error = 0, None
        retry = function.retry
        while True:
            state = RetryState(failures, retry.count if retry else 0, error)
            bindings = Bindings(function, self.services, {})
            try:
                await bindings.write(await self.call(function, events.timer_request(event), bindings, headers, state))
                return
            except Exception as failure:
                if retry is None or 0 <= retry.count <= failures:
                    raise
                failures, error = failures + 1, failure
                seconds = retry.seconds_after(failures)
                log_failure(f"{function.name} failed; it runs again in {seconds} s", failure)
                await self.services.sleep(seconds)

    async def call(
        self, function: Function, given: Any, bindings: Bindings, headers: Mapping[str, str], retry: RetryState = RetryState()
    ) -> Any:
        """Calls a function of the app and returns what it returns."""
        arguments = await bindings.arguments()
        arguments[function.trigger["name"]] = given
        if function.takes_context:
            trace = Trace(headers.get("traceparent", ""), headers.get("tracestate", ""))
            arguments["context"] = Context(str(uuid.uuid4()), function.name, function.folder, trace, retry, self.local)
        try:
            if inspect.iscoroutinefunction(function.call):
                return await function.call(**arguments)
            returned = self.services.call(function.call, arguments)
            return await returned if inspect.isawaitable(returned) else returned
        except SystemExit as error:
            # A call must not end the instance.
            ended = RuntimeError(f"{function.name} called sys.exit; let it return, or raise an exception")
            raise ended.with_traceback(error.__traceback__) from None


def events_given(function: Function, found: list[Event]) -> Any:
    """The argument for messages of Service Bus or events of Event Hubs: one, or a list."""
    is_list = function.trigger.get("cardinality") == "many"
    if function.trigger["type"] == "serviceBusTrigger":
        return events.service_bus_messages(found) if is_list else events.service_bus_message(found[0])
    return events.event_hub_events(found) if is_list else events.event_hub_event(found[0])


def http_data(incoming: Incoming, values: dict[str, str], parameters: dict[str, str]) -> dict[str, Any]:
    """What binding expressions may name: members of a JSON body, parameters of the route, `Query.…` and `Headers.…`."""
    return {"query": parameters, "headers": incoming.headers, **events.members_of(incoming.body), **lower(values)}


def log_failure(what: str, error: BaseException) -> None:
    """Writes what failed to the log. What the app raised has a traceback that begins in the app."""
    if isinstance(error, (AppError, BindingFailed, ExpressionError)):
        print(f"{what}: {error}", file=sys.stderr)
        return
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(NOT_OF_THE_APP):
        trace = trace.tb_next
    print(f"{what}:", file=sys.stderr)
    traceback.print_exception(type(error), error, trace or error.__traceback__, file=sys.stderr)


def is_http(function: Function, name: str) -> bool:
    return any(binding["name"] == name and binding["type"] == "http" for binding in function.outputs)


def outgoing(value: Any) -> Outgoing:
    """What a function has returned as an answer. Raises TypeError for what is none."""
    if value is None:
        return Outgoing(204)
    if isinstance(value, str):
        return Outgoing(200, [("content-type", "text/plain; charset=utf-8")], value.encode())
    if not isinstance(value, azure.functions.HttpResponse):
        raise TypeError(f"the function returned {type(value).__name__}; return an HttpResponse or text")
    body = value.get_body() or b""
    # The bridge counts the bytes itself; only an answer to HEAD has a length without them.
    headers = [(str(name), str(text)) for name, text in value.headers.items() if not (body and name.lower() == "content-length")]
    if not any(name.lower() == "content-type" for name, _ in headers):
        kind = value.mimetype
        headers.append(("content-type", f"{kind}; charset={value.charset}" if kind.startswith("text/") else kind))
    return Outgoing(int(value.status_code), headers, body)


class Formatter(logging.Formatter):
    """Level, name of the logger unless it is the root, and text."""

    def format(self, record: logging.LogRecord) -> str:
        name = "" if record.name == "root" else f" {record.name}"
        return f"{record.levelname}{name}: {super().format(record)}"


def start_logging(level: str) -> None:
    """What the app logs goes to its log, from that level of host.json on."""
    root = logging.getLogger()
    if not any(isinstance(handler.formatter, Formatter) for handler in root.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(Formatter())
        root.addHandler(handler)
    root.setLevel(LEVELS.get(level, logging.INFO))
