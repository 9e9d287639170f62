"""What the tests of requests out share: a host that trusts the tests' own certificates, and servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from host import BUILT, Client, Host, installed
from upstream import upstream

TRUSTME = "trustme==1.2.1"


@cache
def certificates(name: str) -> Path:
    """A folder with the key and the certificate of a server `localhost`, and the certificate of the authority that signed it."""
    folder = BUILT / "certificates" / name
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(installed("trustme", TRUSTME))}
    subprocess.run([sys.executable, "-m", "trustme", "-q", "-d", str(folder)], env=environment, check=True)
    return folder


@cache
def trusting_host() -> Host:
    """One host for all tests of requests out."""
    return Host({"SSL_CERT_FILE": str(certificates("trusted") / "client.pem")})


@cache
def closed_port() -> str:
    """An address at which nobody listens while the tests run: the socket is bound."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    _bound.append(bound)
    return f"127.0.0.1:{bound.getsockname()[1]}"


_bound: list[socket.socket] = []


def deploy(module: Path, name: str, scale: str) -> Client:
    """Deploys an application that may send requests to the tests' servers, and has stores and a secret. `scale` are lines of [scale]."""
    addresses = {"UPSTREAM": upstream(), "CLOSED": closed_port(), "EXPECTED": "a secret value"}
    for variable, authority in (("SECURE", "trusted"), ("UNTRUSTED", "untrusted")):
        addresses[variable] = upstream(certificates(authority)).replace("127.0.0.1", "localhost")
    allowed = [f"http://{upstream()}", f"http://{closed_port()}", "http://no-such-name.invalid"]
    allowed += [f"https://{addresses[variable]}" for variable in ("SECURE", "UNTRUSTED")]
    folder = module.parent / f"{name}-project"
    folder.mkdir(exist_ok=True)
    (folder / "wfn.toml").write_text(
        MANIFEST.format(
            name=name, module=json.dumps(str(module)), allowed=json.dumps(allowed), scale=scale,
            env="\n".join(f"{variable} = {json.dumps(value)}" for variable, value in addresses.items()),
        )  # fmt: skip
    )
    (folder / "secrets").write_text("TOKEN=a secret value\n")
    trusting_host().wfn("secret", "import", name, str(folder / "secrets"))
    return trusting_host().deploy(folder, name)


MANIFEST = """\
name = "{name}"
module = {module}
allowed_outbound_hosts = {allowed}
key_value_stores = ["notes", "many"]
blob_containers = ["images"]
queues = ["orders"]

[scale]
{scale}

[env]
{env}
"""


class Outcome(dict[str, Any]):
    """What a function of the application returned or raised."""

    @property
    def returned(self) -> Any:
        if "returned" not in self:
            raise AssertionError(f"it raised {self}")
        return self["returned"]

    def raised(self, kind: str) -> str:
        """The text of the exception, which is one of class `kind`."""
        if kind not in self.get("raised", ()):
            raise AssertionError(f"it did not raise {kind}: {self}")
        return str(self["text"])
