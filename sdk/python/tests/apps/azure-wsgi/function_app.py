"""A Flask application as an Azure Functions app."""

import azure.functions as func
from flask import Flask, request

flask = Flask(__name__)


@flask.get("/hello/<name>")
def hello(name: str) -> dict[str, str]:
    return {"hello": name, "query": request.args["q"]}


@flask.post("/echo")
def echo() -> dict[str, int]:
    return {"bytes": len(request.get_data())}


app = func.WsgiFunctionApp(app=flask, http_auth_level=func.AuthLevel.ANONYMOUS)
