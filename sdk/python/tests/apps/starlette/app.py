"""A Starlette application that uses what applications use."""

import asyncio
import contextlib
import pathlib
import sys
import time

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

FOLDER = pathlib.Path(__file__).parent
templates = Jinja2Templates(directory=str(FOLDER / "templates"))


@contextlib.asynccontextmanager
async def lifespan(app):
    await asyncio.sleep(0.01)
    yield {"started": "with state"}


async def home(request):
    return JSONResponse({"started": request.state.started, "item": str(request.url_for("item", number=5)), "url": str(request.url)})


def in_a_thread(request):
    return PlainTextResponse(f"from def, {request.query_params['name']}")


async def item(request):
    return PlainTextResponse(f"item {request.path_params['number']}")


async def stream(request):
    async def parts():
        for number in range(3):
            yield f"{number}\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(parts())


def stream_of_an_iterator(request):
    return StreamingResponse(iter(["a", "b"]))


async def file(request):
    return FileResponse(FOLDER / "static" / "text.txt", filename="given.txt")


async def form(request):
    async with request.form() as fields:
        uploaded = fields["file"]
        return JSONResponse({"name": fields["name"], "file": uploaded.filename, "bytes": len(await uploaded.read())})


async def page(request):
    return templates.TemplateResponse(request, "page.html", {"name": request.query_params["name"]})


async def background(request):
    async def work(text):
        await asyncio.sleep(0.05)
        print(text, file=sys.stderr)

    return PlainTextResponse("answered", background=BackgroundTask(work, "the background task is done"))


async def fail(request):
    raise ValueError("a secret in the exception")


async def gone(request):
    raise HTTPException(410, "gone for good")


async def body(request):
    return JSONResponse({"bytes": len(await request.body())})


async def away(request):
    return RedirectResponse(request.url_for("home"))


def blocks(request):
    time.sleep(0.06)
    return PlainTextResponse("blocked")


async def together(request):
    async def one(number):
        await asyncio.sleep(0.02)
        return number

    return JSONResponse(await asyncio.gather(*(one(number) for number in range(10))))


class Stamp(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-stamp"] = "by the middleware"
        return response


application = Starlette(
    routes=[
        Route("/", home, name="home"),
        Route("/def", in_a_thread),
        Route("/item/{number:int}", item, name="item"),
        Route("/stream", stream),
        Route("/iterator", stream_of_an_iterator),
        Route("/file", file),
        Route("/form", form, methods=["POST"]),
        Route("/page", page),
        Route("/background", background),
        Route("/fail", fail),
        Route("/gone", gone),
        Route("/body", body, methods=["POST"]),
        Route("/away", away),
        Route("/blocks", blocks),
        Route("/together", together),
        Mount("/static", StaticFiles(directory=str(FOLDER / "static"))),
    ],
    middleware=[Middleware(Stamp)],
    lifespan=lifespan,
)
