"""Writes the wfn.toml that was made of an Azure Functions app."""

from __future__ import annotations

import json
import re
from typing import Any

from wfn.azure.manifest import Made

# Hosts that the app's source names, as far as they are shown.
HOSTS_MAX = 32


def text(made: Made, hosts: list[str]) -> str:
    """wfn.toml. `hosts` are those that the source names; to allow requests to them is for the one who deploys."""
    lines = [f"name = {value(made.name)}", f'module = {value(f"build/{made.name}.wasm")}']
    for key, names in (("queues", made.queues), ("blob_containers", made.containers)):
        if names:
            lines.append(f"{key} = {value(names)}")
    lines += ["", "# Where the app may send requests; everything else is refused (docs/capabilities.md)."]
    if hosts:
        lines.append("# The source names these:")
    lines.append(f"# allowed_outbound_hosts = {value(hosts[:HOSTS_MAX] or ['https://api.example.com'])}")
    if made.secrets:
        lines += ["", "# Secrets are set on the host: " + "; ".join(f"wfn secret put {made.name} {name}" for name in made.secrets)]
    tables: list[tuple[str, dict[str, Any]]] = [("[env]", made.env)] if made.env else []
    tables.append(("[scale]", made.scale))
    tables += [(f"[[trigger.{kind}]]", table) for kind, table in made.triggers]
    for head, table in tables:
        lines += ["", head, *(f"{key_of(key)} = {value(inner)}" for key, inner in table.items())]
    command = f"PYTHONPATH=\"$WFN_SDK_PYTHON\" python3 -m wfn.build azure -o build/{made.name}.wasm"
    lines += ["", "[build]", f"command = '{command}'"]
    return "\n".join(lines) + "\n"


def key_of(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else value(name)


def value(what: Any) -> str:
    """A value as TOML writes it: as JSON does, but for one character."""
    return json.dumps(what, ensure_ascii=False).replace("\x7f", "\\u007f")
