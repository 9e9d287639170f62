"""A Bottle application as an Azure Functions app."""

import azure.functions as func
from bottle import Bottle, request

bottle = Bottle()


@bottle.get("/hello/<name>")
def hello(name: str) -> dict[str, str]:
    return {"hello": name, "query": request.query.q}


@bottle.post("/echo")
def echo() -> dict[str, int]:
    return {"bytes": len(request.body.read())}


app = func.WsgiFunctionApp(app=bottle, http_auth_level=func.AuthLevel.ANONYMOUS)
