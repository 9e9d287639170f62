"""Makes wfn.toml of an Azure Functions app, and says of everything in it what it becomes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from wfn.azure import hostjson
from wfn.azure.app import AppError, Function
from wfn.azure.expressions import BlobPattern, ExpressionError, check_forms, own_name, with_settings
from wfn.azure.hostjson import BATCH_MAX, BLOB_DELIVERIES, CONCURRENCY_MAX, DELIVERIES_MAX, EVENT_HUBS, QUEUE_DELIVERIES, QUEUES, SERVICE_BUS, HostJson
from wfn.azure.keys import key_name
from wfn.azure.outputs import QUEUES as QUEUE_FIELDS
from wfn.azure.routes import Route, RouteError
from wfn.azure.schedule import schedule_of, time_zone_of

# Of Service Bus, whose queues say it themselves in the cloud.
SERVICE_BUS_DELIVERIES = 10
EVENT_BATCH_DEFAULT = 100
Table = dict[str, Any]


class Line(NamedTuple):
    """What one thing of the app becomes: `maps`, `unused` (it has no meaning here, or is done otherwise) or `refused`."""

    kind: str
    what: str
    to: str


class Made:
    """wfn.toml and the lines about it. Nothing is to be written if something is refused."""

    def __init__(self, name: str, functions: list[Function], host: dict[str, Any], values: dict[str, str]) -> None:
        self.name, self.functions, self.values = name, functions, values
        self.settings = {**os.environ, **values}
        self.connections = {binding["connection"] for function in functions for binding in function.bindings if "connection" in binding}
        self.lines: list[Line] = []
        self.queues: list[str] = []
        self.containers: list[str] = []
        self.triggers: list[tuple[str, Table]] = []
        self.env: dict[str, str] = {}
        self.secrets: list[str] = []
        self.scale: Table = {}
        self.host = HostJson(host, values)
        self.time_zone: str | None = None
        self.try_to("host.json", self.take_host)
        for setting, value in values.items():
            self.try_to(setting, lambda: self.take_setting(setting, value))
        for function in functions:
            self.try_to(function.name, lambda: self.take_function(function))
        self.check_names()

    @property
    def is_refused(self) -> bool:
        return any(line.kind == "refused" for line in self.lines)

    def add(self, kind: str, what: str, to: str) -> None:
        self.lines.append(Line(kind, what, to))

    def try_to(self, what: str, take: Callable[[], None]) -> None:
        try:
            take()
        except (AppError, ExpressionError, RouteError) as error:
            self.add("refused", what, str(error))

    # host.json and settings.

    def take_host(self) -> None:
        for name, value in self.host.values.items():
            kind, to = hostjson.meaning(name)
            self.add(kind, f"host.json: {name} = {json.dumps(value)}", to)
        concurrency = self.host.number("extensions.http.maxConcurrentRequests", -1, CONCURRENCY_MAX)
        if concurrency is not None:
            self.scale["concurrency"] = concurrency if concurrency > 0 else CONCURRENCY_MAX
        self.scale["timeout"] = f"{min(self.host.timeout_seconds, hostjson.HTTP_TIMEOUT_SECONDS)}s"

    def take_setting(self, name: str, value: str) -> None:
        if of_host := hostjson.overridden(name):
            # Instances read it too.
            self.env[name] = value
            self.add("maps", f"setting {name}", f"host.json: {of_host}")
            return
        is_secret = hostjson.is_secret(name, value)
        if name.partition("__")[0] in self.connections and name not in hostjson.PLATFORM:
            if not is_secret:
                self.env[name] = value
            hint = f"; if the app reads it itself: wfn secret put {self.name} {name}" if is_secret else ""
            self.add("unused", f"setting {name}", f"a connection; wfn's own queues and blobs need none{hint}")
            return
        if is_secret:
            self.secrets.append(name)
            self.add("maps", f"setting {name}", f"a secret, which is not in wfn.toml: wfn secret put {self.name} {name}")
            return
        self.env[name] = value
        if name == "FUNCTIONS_WORKER_RUNTIME" and value != "python":
            raise AppError(f"the app is written in {value}, not in python")
        if name == "FUNCTIONS_WORKER_PROCESS_COUNT":
            if not re.fullmatch(r"[0-9]{1,3}", value) or not 1 <= int(value) <= hostjson.WORKERS_MAX:
                raise AppError(f"it is {value!r}, not a number from 1 to {hostjson.WORKERS_MAX}")
            self.scale["workers"] = int(value)
            self.add("maps", f"setting {name}", "[scale] workers")
        elif name in ("WEBSITE_TIME_ZONE", "TZ"):
            self.time_zone = time_zone_of(value)
            self.add("maps", f"setting {name}", "time_zone of timers")
        elif name in hostjson.PLATFORM:
            self.add("unused", f"setting {name}", hostjson.PLATFORM[name])
        else:
            self.add("maps", f"setting {name}", "[env]")

    # Functions.

    def take_function(self, function: Function) -> None:
        problems = list(function.problems())
        for problem in problems:
            name, _, why = problem.partition(": ")
            self.add("refused", name, why)
        if problems:
            return
        if function.is_disabled(self.settings):
            self.add("unused", function.name, "switched off")
            return
        kind = function.trigger["type"]
        take = {
            "httpTrigger": self.take_http, "timerTrigger": self.take_timer, "queueTrigger": self.take_queue, "blobTrigger": self.take_blob,
            "serviceBusTrigger": self.take_service_bus, "eventHubTrigger": self.take_event_hub, "warmupTrigger": self.take_warmup,
        }[kind]  # fmt: skip
        take(function, function.trigger)
        for binding in function.inputs + function.outputs:
            self.take_binding(function, binding)
        if function.retry is not None and kind not in ("timerTrigger", "eventHubTrigger"):
            self.add("unused", f"{function.name}: retry policy", f"it is ignored for {kind}, as in the cloud")

    def take_http(self, function: Function, trigger: Table) -> None:
        route = Route(function.template(self.host.route_prefix, self.settings))
        methods = ", ".join(str(method).upper() for method in trigger.get("methods") or []) or "all methods"
        level = trigger.get("authLevel", "function")
        key = {"anonymous": "for everybody", "function": f"for who has FUNCTIONS_KEY or {key_name(function.name)}", "admin": "for who has FUNCTIONS_MASTER_KEY"}
        if level not in key:
            raise AppError(f"there is no authorization level {level!r}")
        self.add("maps", f"{function.name}: route, {methods}", f"/{self.name}/{route.template}, {key[level]}")

    def take_timer(self, function: Function, trigger: Table) -> None:
        table: Table = {"schedule": schedule_of(self.resolved(trigger["schedule"]))}
        if self.time_zone:
            table["time_zone"] = self.time_zone
        if trigger.get("useMonitor") is False:
            table["missed_runs"] = "none"
        if trigger.get("runOnStartup"):
            self.add("unused", f"{function.name}: run on startup", f"an instance is no start of the app; run it with: wfn trigger fire {self.name} {function.own_name}")
        if function.retry:
            self.add("maps", f"{function.name}: retry policy", "the run calls the function again, within its timeout")
        self.add_trigger("timer", function, table, f"timer {table['schedule']}")

    def take_queue(self, function: Function, trigger: Table) -> None:
        queue = self.queue(trigger["queueName"])
        table = self.with_retry(
            {"queue": queue}, self.host.number(QUEUE_DELIVERIES, 1, DELIVERIES_MAX), self.host.seconds(QUEUES + "visibilityTimeout") or 0
        )
        self.fetched(table, self.host.number(QUEUES + "batchSize", 1, BATCH_MAX), self.host.number(QUEUES + "newBatchThreshold", 0, BATCH_MAX))
        self.add_trigger("queue", function, table, f"queue {queue}")

    def take_blob(self, function: Function, trigger: Table) -> None:
        pattern = BlobPattern(self.resolved(trigger["path"]))
        self.container(pattern.container)
        table: Table = {"container": pattern.container}
        if pattern.prefix:
            table["prefix"] = pattern.prefix
        if pattern.suffix:
            table["suffix"] = pattern.suffix
        self.with_retry(table, self.host.number(BLOB_DELIVERIES, 1, DELIVERIES_MAX), 0)
        self.fetched(table, self.host.number("extensions.blobs.maxDegreeOfParallelism", 1, BATCH_MAX), 0)
        self.add_trigger("blob", function, table, f"blobs {trigger['path']}")

    def take_service_bus(self, function: Function, trigger: Table) -> None:
        queue = self.queue(trigger["queueName"])
        table = self.with_retry({"queue": queue}, SERVICE_BUS_DELIVERIES, 0)
        if trigger.get("autoCompleteMessages", True) is False:
            self.add("unused", f"{function.name}: autoCompleteMessages", "a message is done when its function has returned")
        is_session, is_list = bool(trigger.get("isSessionsEnabled")), trigger.get("cardinality") == "many"
        setting = "maxConcurrentSessions" if is_session else "maxMessageBatchSize" if is_list else "maxConcurrentCalls"
        most = self.host.number(SERVICE_BUS + setting, 1, BATCH_MAX)
        if is_session:
            table["session"] = True
        elif is_list:
            table["batch"] = True
        if is_session and is_list:
            self.add("unused", f"{function.name}: list of messages", "with sessions each list has one message, because they come in order")
        self.fetched(table, BATCH_MAX if most is None and "batch" in table else most, None if "batch" in table else 0)
        self.add_trigger("queue", function, table, f"Service Bus queue {queue}")

    def take_event_hub(self, function: Function, trigger: Table) -> None:
        queue = self.queue(trigger["eventHubName"])
        table: Table = {"queue": queue}
        if trigger.get("consumerGroup", "$Default") != "$Default":
            self.add("unused", f"{function.name}: consumer group", "a queue has one reader; let it send to a queue for each other one")
        retry = function.retry
        if retry is None:
            # In the cloud what failed is passed over. Here it is a dead letter.
            table["max_deliveries"] = 1
        else:
            table["max_deliveries"] = min(retry.count + 1, DELIVERIES_MAX) if retry.count >= 0 else DELIVERIES_MAX
            table["retry"] = "fixed" if retry.is_fixed else "exponential"
            table["retry_delay"] = f"{min(retry.least_seconds, hostjson.RETRY_SECONDS_MAX)}s"
            table["retry_delay_max"] = f"{min(max(retry.most_seconds, retry.least_seconds), hostjson.RETRY_SECONDS_MAX)}s"
        if trigger.get("cardinality") == "many":
            table["batch"] = True
            table["batch_size"] = self.host.number(EVENT_HUBS + "maxEventBatchSize", 1, BATCH_MAX) or EVENT_BATCH_DEFAULT
        self.add_trigger("queue", function, table, f"event hub, which is the queue {queue}")

    def take_warmup(self, function: Function, trigger: Table) -> None:
        self.add("unused", f"{function.name}: warmup", "instances begin with the app's packages loaded; keep some with [scale] always_ready")

    def take_binding(self, function: Function, binding: Table) -> None:
        kind, what = binding["type"], f"{function.name}: {binding['name']}"
        if kind == "blob":
            path = self.resolved(binding["path"]).lstrip("/")
            check_forms(path)
            container = path.partition("/")[0]
            self.container(container)
            direction = "written to" if binding.get("direction") == "out" else "read from"
            self.add("maps", what, f"{direction} the container {container}")
        elif kind in QUEUE_FIELDS:
            self.add("maps", what, f"sent to the queue {self.queue(binding[QUEUE_FIELDS[kind]])}")

    # Parts of tables.

    def resolved(self, text: str) -> str:
        return with_settings(str(text), self.settings)

    def queue(self, name: str) -> str:
        name = self.resolved(name)
        if "{" in name:
            raise AppError(f"the queue {name!r} is known only when a message comes; wfn.toml has to name it")
        queue = own_name(name, "queue")
        if queue not in self.queues:
            self.queues.append(queue)
        return queue

    def container(self, name: str) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
            raise AppError(f"the container {name!r} cannot be named in wfn.toml: use 1 to 63 of a-z, 0-9 and '-'")
        if name not in self.containers:
            self.containers.append(name)

    def with_retry(self, table: Table, deliveries: int | None, seconds: int) -> Table:
        if deliveries is not None:
            table["max_deliveries"] = deliveries
        table.update(retry="fixed", retry_delay=f"{min(seconds, hostjson.RETRY_SECONDS_MAX)}s")
        return table

    def fetched(self, table: Table, batch_size: int | None, threshold: int | None) -> None:
        """How many messages an instance fetches and has in flight."""
        if self.host.is_on("concurrency.dynamicConcurrencyEnabled") and "batch" not in table:
            table["concurrency"] = "dynamic"
        elif batch_size is not None:
            table["batch_size"] = batch_size
            if threshold is not None:
                table["new_batch_threshold"] = threshold

    def add_trigger(self, kind: str, function: Function, table: Table, shown: str) -> None:
        table["timeout"] = f"{self.host.timeout_seconds}s"
        self.triggers.append((kind, {"name": function.own_name, **table}))
        self.add("maps", f"{function.name}: {function.trigger['type']}", f"{shown}, the function {function.own_name}")

    def check_names(self) -> None:
        """Names that were different may have become one; wfn.toml takes one function for each queue."""
        for key, what in (("name", "functions"), ("queue", "functions of the queue")):
            seen: dict[str, str] = {}
            for _, table in self.triggers:
                value = table.get(key)
                if value in seen:
                    self.add("refused", f"{table['name']}", f"two {what} {value}: wfn calls one; let it send to a queue for each other one")
                elif value is not None:
                    seen[value] = table["name"]
        for kind, table in self.triggers:
            if kind == "blob" and table["name"] in self.queues:
                table["name"] += "-blob"
