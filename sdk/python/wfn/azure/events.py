"""What a trigger of wfn delivers, as the objects that a function of Azure gets: messages, timers, blobs."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import unquote

from azure.functions import meta

from wfn.azure.expressions import lower

# Of a message that does not end by itself, the time at which it does.
NO_END = "9999-12-31T23:59:59Z"
BATCH_TYPE = "application/cloudevents-batch+json"
Datum = meta.Datum


class Event(NamedTuple):
    """One CloudEvent: its attributes and its data."""

    attributes: Mapping[str, str]
    body: bytes

    @property
    def deliveries(self) -> int:
        text = self.attributes.get("deliverycount", "1")
        return int(text) if text.isascii() and text.isdecimal() else 1

    def of(self, name: str) -> str | None:
        return self.attributes.get(name)


def events_of(headers: Mapping[str, str], body: bytes) -> list[Event]:
    """The events of a request of the host. Raises ValueError for a batch that is none."""
    if headers.get("content-type", "").partition(";")[0].strip() == BATCH_TYPE:
        return [event_of_json(one) for one in json.loads(body)]
    attributes = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    attributes["datacontenttype"] = headers.get("content-type", "")
    return [Event(attributes, body)]


def event_of_json(event: dict[str, Any]) -> Event:
    attributes = {name: str(value) for name, value in event.items() if name not in ("data", "data_base64")}
    if "data_base64" in event:
        return Event(attributes, base64.b64decode(event["data_base64"]))
    data = event.get("data", "")
    is_json = "json" in attributes.get("datacontenttype", "").lower()
    return Event(attributes, (json.dumps(data) if is_json or not isinstance(data, str) else data).encode())


def text(value: str | None) -> Datum | None:
    return None if value is None else Datum(value, "string")


def whole(value: int | None) -> Datum | None:
    return None if value is None else Datum(value, "int")


def body_datum(body: bytes) -> Datum:
    """A message as text where it is some."""
    try:
        return Datum(body.decode(), "string")
    except UnicodeDecodeError:
        return Datum(body, "bytes")


def seconds_text(moment: str | None) -> str | None:
    """A moment in the form of RFC 3339, with at most six digits of a second, which Python can read."""
    if not moment:
        return None
    try:
        return datetime.datetime.fromisoformat(moment.replace("Z", "+00:00")).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError:
        return None


def queue_message(event: Event) -> Any:
    """What a queue trigger gives its function."""
    sent = seconds_text(event.of("time"))
    metadata = {
        "Id": text(event.of("id")),
        "DequeueCount": whole(event.deliveries),
        "InsertionTime": text(sent),
        "ExpirationTime": text(NO_END),
        "NextVisibleTime": text(seconds_text(event.of("firstdelivery"))),
        "PopReceipt": text(event.of("id")),
    }
    return converter("queueTrigger").decode(body_datum(event.body), trigger_metadata=given(metadata))


def service_bus_message(event: Event) -> Any:
    """What a Service Bus trigger gives its function for one message."""
    metadata = {
        "ApplicationProperties": Datum("{}", "json"),
        "ContentType": text(event.of("datacontenttype")),
        "DeliveryCount": whole(event.deliveries),
        "EnqueuedTimeUtc": text(seconds_text(event.of("time"))),
        "MessageId": text(event.of("id")),
        "PartitionKey": text(event.of("partitionkey")),
        "SessionId": text(event.of("partitionkey")),
        "UserProperties": Datum("{}", "json"),
    }
    return converter("serviceBusTrigger").decode(Datum(event.body, "bytes"), trigger_metadata=given(metadata))


def service_bus_messages(events: list[Event]) -> Any:
    """The same for a batch."""

    def texts(name: str) -> Datum:
        return Datum(json.dumps([event.of(name) for event in events]), "json")

    metadata = {
        "ContentTypeArray": texts("datacontenttype"),
        "DeliveryCountArray": Datum(json.dumps([event.deliveries for event in events]), "json"),
        "EnqueuedTimeUtcArray": Datum(json.dumps([seconds_text(event.of("time")) for event in events]), "json"),
        "MessageIdArray": texts("id"),
        "PartitionKeyArray": texts("partitionkey"),
        "SessionIdArray": texts("partitionkey"),
        "ApplicationPropertiesArray": Datum(json.dumps([{} for _ in events]), "json"),
        "UserPropertiesArray": Datum(json.dumps([{} for _ in events]), "json"),
    }
    return converter("serviceBusTrigger").decode(bodies(events), trigger_metadata=metadata)


def event_hub_event(event: Event) -> Any:
    """What an Event Hubs trigger gives its function for one event."""
    metadata = {
        "EnqueuedTimeUtc": text(seconds_text(event.of("time"))),
        "PartitionKey": text(event.of("partitionkey")),
        "SystemProperties": Datum("{}", "json"),
    }
    return converter("eventHubTrigger").decode(Datum(event.body, "bytes"), trigger_metadata=given(metadata))


def event_hub_events(events: list[Event]) -> Any:
    """The same for a batch."""
    properties = [{"EnqueuedTimeUtc": seconds_text(event.of("time")), "PartitionKey": event.of("partitionkey")} for event in events]
    metadata = {"SystemPropertiesArray": Datum(json.dumps(properties), "json")}
    return converter("eventHubTrigger").decode(bodies(events), trigger_metadata=metadata)


def timer_request(event: Event) -> Any:
    """What a timer trigger gives its function."""
    run = json.loads(event.body)
    info = {
        "IsPastDue": bool(run.get("past_due")),
        "ScheduleStatus": {"Last": run.get("last"), "Next": run.get("next"), "LastUpdated": run.get("last")},
        "Schedule": {"AdjustForDST": True},
    }
    return converter("timerTrigger").decode(Datum(json.dumps(info), "json"), trigger_metadata={})


def input_stream(path: str, body: bytes, properties: Mapping[str, Any]) -> Any:
    """What a blob trigger or a blob input gives: `path` is container and name."""
    metadata = {
        "BlobTrigger": text(path),
        "Uri": text(f"http://wfn.internal/blobs/{path}"),
        "Properties": Datum(json.dumps({"Length": len(body), **properties}), "json"),
        "Metadata": Datum("{}", "json"),
    }
    return converter("blob").decode(Datum(body, "bytes"), trigger_metadata=metadata)


def bodies(events: list[Event]) -> Datum:
    return Datum(SimpleNamespace(bytes=[event.body for event in events]), "collection_bytes")


def given(metadata: Mapping[str, Datum | None]) -> dict[str, Datum]:
    return {name: datum for name, datum in metadata.items() if datum is not None}


def converter(binding: str) -> Any:
    """The package's own converter of a kind of binding."""
    package: Any = meta
    return package.get_binding_registry().get(binding)


def trigger_data(event: Event, kind: str) -> dict[str, Any]:
    """What binding expressions may name: the fields of a message, and the members of its JSON."""
    named = {
        kind.lower(): event.body.decode("utf-8", "replace"),
        "id": event.of("id"),
        "messageid": event.of("id"),
        "dequeuecount": event.deliveries,
        "deliverycount": event.deliveries,
        "insertiontime": event.of("time"),
        "enqueuedtimeutc": event.of("time"),
        "sessionid": event.of("partitionkey"),
        "partitionkey": event.of("partitionkey"),
    }
    # What the message says itself goes first, as in the cloud.
    return {**{name: value for name, value in named.items() if value is not None}, **members_of(event.body)}


def members_of(body: bytes) -> dict[str, Any]:
    """The members of a JSON object, their names in lower case; none of anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        # Not JSON, or such as nobody means.
        return {}
    return lower(value) if isinstance(value, dict) else {}


def poison_blob(function: str, written: dict[str, Any]) -> bytes:
    """The message about a blob whose function failed for the last time, with the fields that it has in the cloud."""
    named = {"FunctionId": f"Functions.{function}", "BlobType": "BlockBlob", "ContainerName": written["container"], "BlobName": written["name"]}
    return json.dumps({**named, "ETag": written.get("etag", "")}).encode()
