"""Synchronous libraries inside an asynchronous function: they work, and hold up the instance while they wait."""

import requests

from wfn.fetch import Request, fetch, fetch_all


async def by_requests(base):
    return requests.get(f"http://{base}/wait?ms=200").text


async def by_fetch(base):
    return fetch(f"http://{base}/wait?ms=1").body.decode()


async def by_fetch_all(base):
    return [answer.body.decode() for answer in fetch_all([Request(f"http://{base}/wait?ms=50")] * 10)]
