"""A Starlette application as an Azure Functions app."""

import asyncio
import contextlib

import azure.functions as func
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

starts = 0


@contextlib.asynccontextmanager
async def lifespan(application):
    global starts
    await asyncio.sleep(0.02)
    starts += 1
    yield


async def hello(request: Request) -> JSONResponse:
    await asyncio.sleep(0)
    return JSONResponse({"hello": request.path_params["name"], "query": dict(request.query_params), "starts": starts})


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"bytes": len(await request.body()), "header": request.headers.get("x-mixed")})


starlette = Starlette(routes=[Route("/hello/{name}", hello), Route("/echo", echo, methods=["POST"])], lifespan=lifespan)
app = func.AsgiFunctionApp(app=starlette, http_auth_level=func.AuthLevel.ANONYMOUS)
