"""Binding expressions: `%SETTING%` and `{name}` in paths and names, and the patterns of blob triggers."""

from __future__ import annotations

import datetime
import os
import re
import uuid
from collections.abc import Mapping
from typing import Any

from wfn.azure.template import parts_between

NAME_BYTES_MAX = 63
# What a date's format may contain, and how Python writes it.
DATE_PARTS = {"yyyy": "%Y", "yy": "%y", "MM": "%m", "dd": "%d", "HH": "%H", "hh": "%I", "mm": "%M", "ss": "%S", "K": "Z"}
DATE_DEFAULT = "yyyy-MM-ddTHH-mm-ssK"


class ExpressionError(ValueError):
    """An expression that has no value; the text says which."""


def with_settings(text: str, settings: Mapping[str, str] = os.environ) -> str:
    """The text with each `%NAME%` replaced by the setting NAME."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in settings:
            raise ExpressionError(f"{text!r} needs the setting {name}, which is not there")
        return settings[name]

    return re.sub(r"%([^%]+)%", value, text)


def bound(text: str, data: Mapping[str, Any]) -> str:
    """The text with settings and with each `{name}` replaced from `data`, what the trigger knows; its keys are in lower case."""
    return re.sub(r"\{([^{}]+)\}", lambda match: value_of(match[1], data), with_settings(text))


def value_of(expression: str, data: Mapping[str, Any]) -> str:
    name, _, form = expression.partition(":")
    key = name.strip().lower()
    if key in ("rand-guid", "sys.randguid"):
        return str(uuid.uuid4())
    if key in ("datetime", "sys.utcnow"):
        return formatted(datetime.datetime.now(datetime.timezone.utc), form or DATE_DEFAULT)
    value: Any = data
    for part in [key] if key in data else key.split("."):
        value = lower(value).get(part) if isinstance(value, Mapping) else None
    if value is None or isinstance(value, (Mapping, list)):
        known = ", ".join(sorted(data))
        raise ExpressionError(f"{{{expression}}} has no value; the trigger knows {known or 'nothing'}")
    return str(value).lower() if isinstance(value, bool) else str(value)


def lower(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): inner for name, inner in value.items()}


def formatted(moment: datetime.datetime, form: str) -> str:
    return re.sub("|".join(DATE_PARTS), lambda match: moment.strftime(DATE_PARTS[match[0]]), form)


class BlobPattern:
    """The path of a blob trigger, `container/{name}.png`: which blobs it takes, and what it calls their parts."""

    def __init__(self, path: str) -> None:
        self.container, _, name = path.partition("/")
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", self.container):
            raise ExpressionError(f"the path {path!r} does not begin with the name of a container: 1 to 63 of a-z, 0-9 and '-'")
        # Of a container alone, all its blobs. A part takes also slashes.
        parts = re.split(r"\{([^{}]+)\}", name or "{name}")
        self.names, self.literals = parts[1::2], parts[::2]
        self.prefix, self.suffix = self.literals[0], self.literals[-1] if self.names else ""

    def match(self, name: str) -> dict[str, str] | None:
        """The parts of a blob's name, or None if the trigger does not take it."""
        found = parts_between(name, self.literals)
        return None if found is None else dict(zip(self.names, found))


def own_name(name: str, what: str) -> str:
    """The name that wfn has for a function, queue or event hub of the cloud: lower case, with hyphens."""
    made = re.sub(r"[._/ ]", "-", name.lower()).strip("-")
    if not re.fullmatch(rf"[a-z0-9][a-z0-9-]{{0,{NAME_BYTES_MAX - 1}}}", made):
        raise ExpressionError(f"the {what} {name!r} cannot have this name on wfn: use 1 to 63 letters, digits and hyphens")
    return made
