"""Shows what a component's image froze and what is fresh in each instance."""

import json
import os
import random
import socket
import time
import uuid

own = random.Random()
seeded = random.Random(5)
begun = time.monotonic()
counted = time.perf_counter()
node = uuid.getnode()
os.environ.setdefault("SET_BY_THE_APPLICATION", "default")
os.environ.setdefault("SET_BY_BOTH", "default")
read_early = os.environ.get("SETTING", "absent")
only_build = os.environ["ONLY_BUILD"]

try:
    socket.create_connection(("127.0.0.1", 1))
except OSError as error:
    refused = str(error)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    said = {
        "own": own.random(),
        "module": random.random(),
        "seeded": seeded.random(),
        "uuid1": str(uuid.uuid1()),
        "uuid4": str(uuid.uuid4()),
        "urandom": os.urandom(8).hex(),
        "node": uuid.getnode(),
        "since_import": time.monotonic() - begun,
        "counted": time.perf_counter() - counted,
        "environment": dict(sorted(os.environ.items())),
        "read_early": read_early,
        "only_build": only_build,
        "hash": hash("x"),
        "refused": refused,
        "socket": try_socket(),
    }
    return [json.dumps(said).encode()]


def try_socket():
    try:
        socket.create_connection(("127.0.0.1", 1))
    except OSError as error:
        return type(error).__name__
