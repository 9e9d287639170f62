"""A Quart application that uses what applications use."""

import asyncio
import sys

from quart import Quart, jsonify, render_template, request, session

application = Quart(__name__)
application.secret_key = "only for this test"
started = []


@application.before_serving
async def begin():
    await asyncio.sleep(0.01)
    started.append("before serving")


@application.get("/")
async def home():
    return jsonify(started=started, path=request.path)


@application.get("/page/<name>")
async def page(name):
    return await render_template("page.html", name=name)


@application.get("/stream")
async def stream():
    async def parts():
        for number in range(3):
            yield f"{number}\n".encode()
            await asyncio.sleep(0.01)

    return parts(), 200, {"content-type": "text/plain"}


@application.post("/form")
async def form():
    fields, files = await request.form, await request.files
    return jsonify(name=fields["name"], file=files["file"].read().decode())


@application.post("/json")
async def json():
    return jsonify(received=await request.get_json())


@application.get("/visits")
async def visits():
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(visits=session["visits"])


@application.get("/background")
async def background():
    async def work():
        await asyncio.sleep(0.05)
        print("the background task is done", file=sys.stderr)

    application.add_background_task(work)
    return "answered"


@application.get("/def")
def in_a_thread():
    return "from def"


@application.get("/fail")
async def fail():
    raise ValueError("a secret in the exception")
