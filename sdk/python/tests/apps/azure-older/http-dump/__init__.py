"""A function of the older model: answers with what it got, and sends it to a queue."""

import json

import azure.functions as func
from __app__.shared.texts import greeting

from . import part


def main(req: func.HttpRequest, message: func.Out[func.QueueMessage], context: func.Context) -> func.HttpResponse:
    seen = {"method": req.method, "what": req.route_params.get("what"), "folder": context.function_directory, "greeting": greeting(part.NAME)}
    message.set(func.QueueMessage(id="one", body=json.dumps(seen).encode()))
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")
