"""What the values of host.json and the settings of the cloud mean for wfn.toml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from wfn.azure.app import AppError, seconds_of

# What host.json says, a setting of this prefix may say instead: AzureFunctionsJobHost__extensions__http__routePrefix.
OVERRIDE = "AzureFunctionsJobHost__"
ROUTE_PREFIX_DEFAULT = "api"
DELIVERIES_DEFAULT = 5
# The longest timeout and the largest numbers that wfn.toml takes.
TIMEOUT_SECONDS_MAX = 3600
BATCH_MAX = 500
CONCURRENCY_MAX = 1000
DELIVERIES_MAX = 1000
WORKERS_MAX = 10
RETRY_SECONDS_MAX = 7 * 24 * 3600
# The cloud ends a function after half an hour if host.json does not say when, and an HTTP request after 230 s.
TIMEOUT_SECONDS_DEFAULT = 1800
HTTP_TIMEOUT_SECONDS = 230

QUEUES, SERVICE_BUS, EVENT_HUBS = "extensions.queues.", "extensions.serviceBus.", "extensions.eventHubs."
QUEUE_DELIVERIES, BLOB_DELIVERIES = QUEUES + "maxDequeueCount", "extensions.blobs.poisonBlobThreshold"
ROUTE_PREFIX = "extensions.http.routePrefix"
# Values that become settings of wfn.toml → which. `HostJson` reads them.
USED = {
    "functionTimeout": "timeout",
    ROUTE_PREFIX: "the prefix of all routes",
    "extensions.http.maxConcurrentRequests": "[scale] concurrency",
    QUEUES + "batchSize": "batch_size of queue functions",
    QUEUES + "newBatchThreshold": "new_batch_threshold of queue functions",
    QUEUE_DELIVERIES: "max_deliveries of queue functions",
    QUEUES + "visibilityTimeout": "retry_delay of queue functions",
    "extensions.blobs.maxDegreeOfParallelism": "batch_size of blob functions",
    BLOB_DELIVERIES: "max_deliveries of blob functions",
    SERVICE_BUS + "maxConcurrentCalls": "batch_size of Service Bus functions",
    SERVICE_BUS + "maxConcurrentSessions": "batch_size of Service Bus functions with sessions",
    SERVICE_BUS + "maxMessageBatchSize": "batch_size of Service Bus functions with lists",
    EVENT_HUBS + "maxEventBatchSize": "batch_size of Event Hubs functions",
    "concurrency.dynamicConcurrencyEnabled": 'concurrency = "dynamic" of queue, blob and Service Bus functions',
    "logging.logLevel.default": "the level from which the app's log has lines",
    "logging.logLevel.Function": "the level from which the app's log has lines",
}
# Values, or with a star the values below a name, that mean nothing here → why.
UNUSED = {
    "version": "the version of host.json",
    "concurrency.snapshotPersistenceEnabled": "what was learned is always kept",
    "extensionBundle.*": "bindings are part of wfn; there are no extensions to load",
    "extensions.http.maxOutstandingRequests": "an app has up to 1,024 requests waiting",
    "extensions.http.dynamicThrottlesEnabled": "limits of the host refuse what is too much",
    "extensions.http.*": "put a proxy in front for it",
    QUEUES + "maxPollingInterval": "nothing polls: a message wakes its function",
    QUEUES + "messageEncoding": "messages are kept as they are sent",
    SERVICE_BUS + "*": "queues of wfn have no such setting",
    EVENT_HUBS + "*": "event hubs are queues here, without partitions and checkpoints",
    "logging.applicationInsights.*": "send traces to a collector: wfn up --otlp-endpoint (docs/observability.md)",
    "logging.logLevel.*": "functions have one level, that of Function or default",
    "logging.*": "the app's log has everything: wfn logs",
    "healthMonitor.*": "the host watches its instances by itself",
    "managedDependency.*": "it is for PowerShell",
    "singleton.*": "timers never overlap, and the host keeps its locks itself",
    "watchDirectories": "wfn dev watches the whole folder",
    "watchFiles": "wfn dev watches the whole folder",
    "telemetryMode": "traces are OpenTelemetry: wfn up --otlp-endpoint (docs/observability.md)",
    "aggregator.*": "wfn usage and wfn status count",
}
REFUSED = {
    "customHandler": "custom handlers are programs of machine code; write a function in one of the languages of docs/guests.md",
    "functions": "a list of the functions that run; remove it and switch the others off with AzureWebJobs.NAME.Disabled",
}
# Settings of the cloud that an app does not read itself, and what they are here.
PLATFORM = {
    "FUNCTIONS_WORKER_RUNTIME": "the language is python",
    "FUNCTIONS_EXTENSION_VERSION": "wfn has no versions of a runtime",
    "AzureWebJobsStorage": "wfn's own queues and blobs need no connection",
    "AzureWebJobsFeatureFlags": "both models of Python are read",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "send traces to a collector: wfn up --otlp-endpoint (docs/observability.md)",
    "APPINSIGHTS_INSTRUMENTATIONKEY": "send traces to a collector: wfn up --otlp-endpoint (docs/observability.md)",
    "PYTHON_THREADPOOL_THREAD_COUNT": "there are no threads; [scale] concurrency says how many requests an instance takes, each function without "
    "'async' in a worker of its own",
    "PYTHON_ISOLATE_WORKER_DEPENDENCIES": "an app has only its own packages",
    "SCM_DO_BUILD_DURING_DEPLOYMENT": "wfn deploy --build builds",
    "ENABLE_ORYX_BUILD": "wfn deploy --build builds",
}
SECRET_NAME = re.compile(r"key|secret|token|passw|pwd|credential|connection|(^|_)sas(_|$)", re.IGNORECASE)
SECRET_VALUE = re.compile(r"(AccountKey|SharedAccessKey|SharedAccessSignature|Password|Pwd|InstrumentationKey|sig)\s*=|-----BEGIN", re.IGNORECASE)
PLAIN_VALUE = re.compile(r"|true|false|[0-9.]{1,9}|UseDevelopmentStorage=true", re.IGNORECASE)


def is_secret(name: str, value: str) -> bool:
    """Whether a setting looks as if nobody should read it, so that it does not belong into a file."""
    return bool(SECRET_VALUE.search(value) or (SECRET_NAME.search(name) and not PLAIN_VALUE.fullmatch(value)))


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values of host.json, each with the names that lead to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def meaning(name: str) -> tuple[str, str]:
    """What a value of host.json means: `maps`, `unused` or `refused`, and to what or why."""
    parts = name.split(".")
    if parts[0] in REFUSED:
        return "refused", REFUSED[parts[0]]
    if name in USED:
        return "maps", USED[name]
    for key in [name] + [".".join(parts[:count]) + ".*" for count in range(len(parts) - 1, 0, -1)]:
        if key in UNUSED:
            return "unused", UNUSED[key]
    return "unused", "wfn knows no such value"


def overridden(setting: str) -> str:
    """The name of the value of host.json that a setting overrides; empty for all other settings."""
    if not setting.startswith(OVERRIDE):
        return ""
    name = setting[len(OVERRIDE) :].replace("__", ".")
    return next((known for known in (*USED, *UNUSED) if known.lower() == name.lower()), name)


def parsed(text: str) -> Any:
    """A setting's text as the value that host.json would have: a number, true or false, or the text."""
    return json.loads(text) if re.fullmatch("true|false|-?[0-9]{1,18}", text) else text


class HostJson:
    """The values of host.json with the settings that override them, checked. Raises AppError for one of the wrong kind."""

    def __init__(self, host: dict[str, Any], settings: Mapping[str, str]) -> None:
        self.values = dict(leaves(host))
        self.values.update((name, parsed(value)) for setting, value in settings.items() if (name := overridden(setting)))

    def number(self, name: str, least: int, most: int) -> int | None:
        """A whole number; a larger one than wfn takes becomes the largest."""
        value = self.values.get(name)
        if value is None:
            return None
        value = parsed(value) if isinstance(value, str) else value
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise AppError(f"host.json: {name} is {value!r}, not a whole number from {least} on")
        return min(value, most)

    def seconds(self, name: str) -> int | None:
        value = self.values.get(name)
        return None if value is None else seconds_of(value)

    def is_on(self, name: str) -> bool:
        return self.values.get(name) is True

    @property
    def route_prefix(self) -> str:
        """What all routes begin with, without slashes around it; empty for none."""
        prefix = self.values.get(ROUTE_PREFIX)
        return ROUTE_PREFIX_DEFAULT if prefix is None else str(prefix).strip("/")

    @property
    def log_level(self) -> str:
        """The level of functions, in lower case."""
        named = self.values.get("logging.logLevel.Function") or self.values.get("logging.logLevel.default") or "Information"
        return str(named).lower()

    def deliveries(self, name: str) -> int:
        """How often a message or a blob is delivered at most."""
        return self.number(name, 1, DELIVERIES_MAX) or DELIVERIES_DEFAULT

    @property
    def timeout_seconds(self) -> int:
        """Of a function. -1 is no end in the cloud."""
        if self.values.get("functionTimeout") in ("-1", -1):
            return TIMEOUT_SECONDS_MAX
        seconds = self.seconds("functionTimeout")
        return min(max(seconds, 1), TIMEOUT_SECONDS_MAX) if seconds is not None else TIMEOUT_SECONDS_DEFAULT
