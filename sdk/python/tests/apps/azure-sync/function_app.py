"""An Azure Functions app without `async def`: a function for each thing that the tests ask for."""

import json
import logging
import os
import sys
import time

import azure.functions as func

from blueprint import blueprint

# Read while the app is imported, as many apps do.
GREETING = os.environ["GREETING"]
IMPORTED_AT = time.time()

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(blueprint)


@app.route(route="hello")
def hello(req: func.HttpRequest) -> func.HttpResponse:
    logging.info("saying hello to %s", req.params.get("name"))
    logging.debug("this is not shown")
    return func.HttpResponse(f"{GREETING}, {req.params.get('name', 'nobody')}")


@app.route(route="echo/{*rest}", methods=["GET", "POST", "PUT"])
def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    seen = {
        "method": req.method,
        "url": req.url,
        "params": dict(req.params),
        "route": dict(req.route_params),
        "header": req.headers.get("X-Mixed"),
        "body": req.get_body().decode("latin-1"),
        "form": req.form.to_dict(),
        "files": {name: file.read().decode() for name, file in req.files.items()},
        "function": context.function_name,
        "folder": context.function_directory,
        "invocation": context.invocation_id,
        "trace": context.trace_context.trace_parent,
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json", status_code=201, headers={"X-Answer": "yes"})


@app.route(route="json", methods=["POST"])
def from_json(req: func.HttpRequest) -> func.HttpResponse:
    try:
        return func.HttpResponse(json.dumps(req.get_json()))
    except ValueError:
        return func.HttpResponse("no JSON", status_code=400)


@app.route(route="items/{id:int}")
def item_by_number(req: func.HttpRequest) -> str:
    return f"number {req.route_params['id']}"


@app.route(route="items/{name}")
def item_by_name(req: func.HttpRequest) -> str:
    return f"name {req.route_params['name']}"


@app.route(route="items/special")
def special_item(req: func.HttpRequest) -> str:
    return "special"


@app.route(route="pages/{page:int=1}/{size:range(1,100)?}")
def pages(req: func.HttpRequest) -> str:
    return json.dumps(dict(req.route_params))


@app.route(route="files/{name}.{ending:length(3)}")
def files(req: func.HttpRequest) -> str:
    return f"{req.route_params['name']} | {req.route_params['ending']}"


@app.route(route="parts/{a}-{b}-{c}-{d}.end")
def parts(req: func.HttpRequest) -> str:
    return json.dumps(dict(req.route_params))


@app.route(route="codes/{code:regex(^[A-Z]{{2}}$)}")
def codes(req: func.HttpRequest) -> str:
    return f"code {req.route_params['code']}"


@app.route(route="guarded", auth_level=func.AuthLevel.FUNCTION)
def guarded(req: func.HttpRequest) -> str:
    return "inside"


@app.route(route="master", auth_level=func.AuthLevel.ADMIN)
def master(req: func.HttpRequest) -> str:
    return "the innermost"


@app.route(route="fails")
def fails(req: func.HttpRequest) -> str:
    raise ValueError("a secret in the exception")


@app.route(route="quits")
def quits(req: func.HttpRequest):
    sys.exit("a secret at the end")


@app.route(route="wrong")
def wrong(req: func.HttpRequest):
    return {"not": "an answer"}


@app.route(route="nothing")
def nothing(req: func.HttpRequest) -> None:
    return None


@app.route(route="cookies")
def cookies(req: func.HttpRequest) -> func.HttpResponse:
    answer = func.HttpResponse("two")
    answer.headers.add("Set-Cookie", "a=1; Path=/")
    answer.headers.add("Set-Cookie", "b=2; Path=/")
    return answer


# Messages: /api/orders/NUMBER sends one to orders; what cannot be worked on goes to orders-poison.


@app.route(route="orders/{number}", methods=["POST"])
@app.queue_output(arg_name="message", queue_name="orders", connection="AzureWebJobsStorage")
def order(req: func.HttpRequest, message: func.Out[str]) -> func.HttpResponse:
    message.set(json.dumps({"number": req.route_params["number"], "body": req.get_body().decode()}))
    return func.HttpResponse("accepted", status_code=202)


@app.route(route="many", methods=["POST"])
@app.queue_output(arg_name="messages", queue_name="%STATE_QUEUE%", connection="AzureWebJobsStorage")
def many(req: func.HttpRequest, messages: func.Out[list[str]]) -> str:
    messages.set(["first", "second"])
    return "sent"


@app.route(route="hub", methods=["POST"])
@app.event_hub_output(arg_name="events", event_hub_name="hub", connection="Hub")
@app.service_bus_queue_output(arg_name="message", queue_name="bus", connection="Bus")
def hub(req: func.HttpRequest, events: func.Out[list[str]], message: func.Out[str]) -> str:
    sent = req.get_json()
    (message if isinstance(sent, dict) else events).set(sent)
    return "sent"


@app.route(route="named", methods=["POST"])
@app.blob_output(arg_name="target", path="texts/named/{rand-guid:N} {DateTime:yyyy MMM d}", connection="AzureWebJobsStorage")
def named(req: func.HttpRequest, target: func.Out[str]) -> str:
    target.set("x")
    return "written"


@app.queue_trigger(arg_name="msg", queue_name="orders", connection="AzureWebJobsStorage")
@app.blob_output(arg_name="receipt", path="receipts/{number}/{rand-guid}-{DateTime:yyyy}.txt", connection="AzureWebJobsStorage")
@app.queue_output(arg_name="$return", queue_name="%STATE_QUEUE%", connection="AzureWebJobsStorage")
def work(msg: func.QueueMessage, receipt: func.Out[bytes]) -> str:
    order = msg.get_json()
    logging.info("working on %s, time %d, sent %s", order["number"], msg.dequeue_count, msg.insertion_time)
    if order["body"] == "bad":
        raise RuntimeError(f"order {order['number']} is bad")
    receipt.set(order["body"].encode())
    return f"done {order['number']} {msg.id is not None}"


@app.queue_trigger(arg_name="msg", queue_name="orders-poison", connection="AzureWebJobsStorage")
@app.blob_output(arg_name="kept", path="receipts/poison/{number}", connection="AzureWebJobsStorage")
def work_poison(msg: func.QueueMessage, kept: func.Out[str]) -> None:
    kept.set(msg.get_body().decode())


# Blobs: each text in texts/in becomes one in upper case.


@app.blob_trigger(arg_name="source", path="texts/in/{folder}/{name}.txt", connection="AzureWebJobsStorage")
@app.blob_output(arg_name="target", path="texts/out/{name}.{folder}.txt", connection="AzureWebJobsStorage")
@app.blob_input(arg_name="suffix", path="texts/settings/suffix", connection="AzureWebJobsStorage")
def shout(source: func.InputStream, suffix: func.InputStream, target: func.Out[str]) -> None:
    end = suffix.read().decode() if suffix else ""
    target.set(f"{source.name} {source.length}: {source.read().decode().upper()}{end}")


@app.blob_trigger(arg_name="source", path="texts/{{odd}}/{name}", connection="AzureWebJobsStorage")
def braces(source: func.InputStream) -> None:
    logging.info("in braces: %s", source.name)


@app.blob_trigger(arg_name="source", path="texts/bad/{name}", connection="AzureWebJobsStorage")
def bad(source: func.InputStream) -> None:
    raise RuntimeError("a bad blob")


@app.queue_trigger(arg_name="msg", queue_name="webjobs-blobtrigger-poison", connection="AzureWebJobsStorage")
@app.blob_output(arg_name="kept", path="receipts/blob/{ContainerName}/{BlobName}", connection="AzureWebJobsStorage")
def bad_blob(msg: func.QueueMessage, kept: func.Out[str]) -> None:
    kept.set(msg.get_json()["FunctionId"])


# A queue that has another name here: lower case.


@app.queue_trigger(arg_name="msg", queue_name="Odd", connection="AzureWebJobsStorage")
def odd(msg: func.QueueMessage) -> None:
    sys.exit(1)


@app.queue_trigger(arg_name="msg", queue_name="Odd-poison", connection="AzureWebJobsStorage")
def odd_poison(msg: func.QueueMessage) -> None:
    logging.info("odd and poisonous: %s", msg.get_body().decode())


# Timers.

runs = 0


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", run_on_startup=False)
@app.blob_output(arg_name="seen", path="texts/timer", connection="AzureWebJobsStorage")
def yearly(timer: func.TimerRequest, seen: func.Out[str]) -> None:
    seen.set(json.dumps({"past_due": timer.past_due, "next": timer.schedule_status["Next"]}))


@app.timer_trigger(arg_name="timer", schedule="0 0 0 2 1 *")
@app.retry(strategy="fixed_delay", max_retry_count="2", delay_interval="00:00:00")
def third_time(timer: func.TimerRequest, context: func.Context) -> None:
    global runs
    runs += 1
    logging.warning("run %d, retry %d of %d", runs, context.retry_context.retry_count, context.retry_context.max_retry_count)
    if runs < 3:
        raise RuntimeError(f"run {runs} fails")
