"""The same with `async def`: while one call waits, the others of its worker go on."""

import os

import aiohttp
from app import PAGE, links


async def ask():
    async with aiohttp.ClientSession() as session, session.get(f"http://{os.environ['UPSTREAM']}/wait?ms=50") as answer:
        return await answer.text()


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    text = "" if path == "/cpu" else await ask()
    if path != "/io":
        text += f"{links(PAGE)}\n"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode()})
