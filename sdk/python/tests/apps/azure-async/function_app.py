"""An Azure Functions app with `async def`: the case study (HTTP to a queue, worked on in batches and by sessions), and Event Hubs."""

import asyncio
import json
import logging

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
in_flight = 0
in_flight_most = 0


@app.route(route="wait/{seconds:double}")
async def wait(req: func.HttpRequest) -> str:
    global in_flight, in_flight_most
    in_flight += 1
    in_flight_most = max(in_flight_most, in_flight)
    await asyncio.sleep(float(req.route_params["seconds"]))
    in_flight -= 1
    return str(in_flight_most)


@app.route(route="plain")
def plain(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(b"\x00\xff", mimetype="application/octet-stream")


@app.route(route="fails")
async def fails(req: func.HttpRequest) -> str:
    await asyncio.sleep(0)
    raise ValueError("a secret in the exception")


@app.route(route="readings", methods=["POST"])
@app.service_bus_queue_output(arg_name="reading", queue_name="Readings.In", connection="ServiceBus")
@app.event_hub_output(arg_name="event", event_hub_name="telemetry", connection="EventHub")
async def take(req: func.HttpRequest, reading: func.Out[str], event: func.Out[list[str]]) -> func.HttpResponse:
    reading.set(req.get_body().decode())
    event.set([f"event of {req.get_body().decode()}", "and one more"])
    return func.HttpResponse(status_code=202)


@app.service_bus_queue_trigger(arg_name="messages", queue_name="Readings.In", connection="ServiceBus", cardinality="many")
@app.blob_output(arg_name="report", path="reports/batch-{rand-guid}", connection="Storage")
async def work_on_many(messages: list[func.ServiceBusMessage], report: func.Out[str]) -> None:
    await asyncio.sleep(0)
    report.set(json.dumps([[message.get_body().decode(), message.delivery_count, message.message_id != ""] for message in messages]))


@app.service_bus_queue_trigger(arg_name="message", queue_name="visits", connection="ServiceBus", is_sessions_enabled=True)
async def visit(message: func.ServiceBusMessage) -> None:
    logging.info("visit %s of %s begins", message.get_body().decode(), message.session_id)
    await asyncio.sleep(0.05)
    logging.info("visit %s of %s ends", message.get_body().decode(), message.session_id)


@app.event_hub_message_trigger(arg_name="events", event_hub_name="telemetry", connection="EventHub", cardinality="many")
@app.blob_output(arg_name="$return", path="reports/events-{rand-guid}", connection="Storage")
async def collect(events: list[func.EventHubEvent]) -> str:
    return "\n".join(event.get_body().decode() for event in events)


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
async def yearly(timer: func.TimerRequest) -> None:
    await asyncio.sleep(0)
    logging.info("once a year, past due: %s", timer.past_due)
