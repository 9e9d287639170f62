"""An app with everything that `wfn import azure` maps. The address of a service: https://api.example.com:8443/v2."""

import azure.functions as func

app = func.FunctionApp()
blueprint = func.Blueprint()


@blueprint.route(route="orders/{id:int}", methods=["GET", "POST"], auth_level="ADMIN")
@blueprint.blob_input(arg_name="order", path="orders/{id}.json", connection="AzureWebJobsStorage")
@blueprint.queue_output(arg_name="message", queue_name="order-seen", connection="AzureWebJobsStorage")
async def read_order(req: func.HttpRequest, order: func.InputStream, message: func.Out[str]) -> str:
    return "order"


app.register_blueprint(blueprint)


@app.timer_trigger(arg_name="timer", schedule="%WHEN%", run_on_startup=True, use_monitor=False)
def tick(timer: func.TimerRequest) -> None: ...


@app.timer_trigger(arg_name="timer", schedule="00:15:00")
def quarter(timer: func.TimerRequest) -> None: ...


@app.queue_trigger(arg_name="message", queue_name="order-seen", connection="AzureWebJobsStorage")
def seen(message: func.QueueMessage) -> None: ...


@app.blob_trigger(arg_name="blob", path="images/in/{name}.png", connection="AzureWebJobsStorage")
def images(blob: func.InputStream) -> None: ...


@app.queue_trigger(arg_name="message", queue_name="images", connection="AzureWebJobsStorage")
def image_names(message: func.QueueMessage) -> None: ...


@app.service_bus_queue_trigger(arg_name="message", queue_name="Bus.One", connection="Bus")
def bus_one(message: func.ServiceBusMessage) -> None: ...


@app.service_bus_queue_trigger(arg_name="messages", queue_name="bus-many", connection="Bus", cardinality="many")
def bus_many(messages: list[func.ServiceBusMessage]) -> None: ...


@app.service_bus_queue_trigger(arg_name="message", queue_name="bus-sessions", connection="Bus", is_sessions_enabled=True)
def bus_sessions(message: func.ServiceBusMessage) -> None: ...


@app.event_hub_message_trigger(arg_name="events", event_hub_name="telemetry", connection="Hub", cardinality="many")
@app.retry(strategy="exponential_backoff", max_retry_count="4", minimum_interval="00:00:10", maximum_interval="00:15:00")
def telemetry_of_all(events: list[func.EventHubEvent]) -> None: ...


@app.route(route="off")
def switched_off(req: func.HttpRequest) -> str:
    return "off"


@app.warm_up_trigger(arg_name="warm")
def warm(warm) -> None: ...
