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
# What a date's format may contain, the longest first, and how Python writes it. One letter alone is without a leading zero.
DATE_PARTS = {
    "yyyy": "%Y", "MMMM": "%B", "dddd": "%A", "MMM": "%b", "ddd": "%a", "yy": "%y", "MM": "%m", "dd": "%d", "HH": "%H", "hh": "%I",
    "mm": "%M", "ss": "%S", "tt": "%p", "M": "%m", "d": "%d", "H": "%H", "h": "%I", "m": "%M", "s": "%S", "K": "Z",
}  # fmt: skip
DATE_DEFAULT = "yyyy-MM-ddTHH-mm-ssK"
DATE_NAMES = ("datetime", "sys.utcnow")
GUID_NAMES = ("rand-guid", "sys.randguid")
GUID_FORMS = {"": "{}", "d": "{}", "n": "{}", "b": "{{{}}}", "p": "({})"}
# Names that an error message shows: a client may have made them.
NAMES_SHOWN_MAX = 20
# `{{` and `}}` are braces themselves.
BRACES = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")


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
    return BRACES.sub(lambda match: value_of(match[1], data) if match[1] else match[0][0], with_settings(text))


def check_forms(text: str) -> None:
    """Raises ExpressionError for a format of a date or an identifier in `text` that is not known here."""
    for found in BRACES.finditer(text):
        if found[1] and found[1].partition(":")[0].strip().lower() in (*GUID_NAMES, *DATE_NAMES):
            value_of(found[1], {})


def value_of(expression: str, data: Mapping[str, Any]) -> str:
    name, _, form = expression.partition(":")
    key = name.strip().lower()
    if key in GUID_NAMES:
        return guid(form.strip().lower())
    if key in DATE_NAMES:
        return formatted(datetime.datetime.now(datetime.timezone.utc), form or DATE_DEFAULT)
    value: Any = data
    for part in [key] if key in data else key.split("."):
        value = lower(value).get(part) if isinstance(value, Mapping) else None
    if value is None or isinstance(value, (Mapping, list)):
        known = ", ".join([name for name in sorted(data) if name.isprintable()][:NAMES_SHOWN_MAX])
        raise ExpressionError(f"{{{expression}}} has no value; the trigger knows {known or 'nothing'}")
    return str(value).lower() if isinstance(value, bool) else str(value)


def lower(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): inner for name, inner in value.items()}


def guid(form: str) -> str:
    made = uuid.uuid4()
    if form not in GUID_FORMS:
        raise ExpressionError(f"an identifier has no format {form!r}; use N, D, B or P")
    return GUID_FORMS[form].format(made.hex if form == "n" else made)


def formatted(moment: datetime.datetime, form: str) -> str:
    """A date in a format of .NET that says its parts, such as `yyyy-MM-dd`."""
    if len(form) == 1:
        raise ExpressionError(f"a date has no format {form!r} here; write its parts, such as {DATE_DEFAULT}")

    def part(match: re.Match[str]) -> str:
        token = match[0]
        if token[0] == "f":
            return f"{moment.microsecond:06}0"[: len(token)]
        written = moment.strftime(DATE_PARTS[token])
        return written.lstrip("0") or "0" if len(token) == 1 else written

    return re.sub("f{1,7}|" + "|".join(DATE_PARTS), part, form)


def parts_of(text: str) -> tuple[list[str], list[str]]:
    """The names in a pattern, and the literal texts around them: one more than names."""
    names: list[str] = []
    literals, place = [""], 0
    for found in BRACES.finditer(text):
        literals[-1] += text[place : found.start()]
        place = found.end()
        if found[1]:
            names.append(found[1])
            literals.append("")
        else:
            literals[-1] += found[0][0]
    literals[-1] += text[place:]
    return names, literals


class BlobPattern:
    """The path of a blob trigger, `container/{name}.png`: which blobs it takes, and what it calls their parts."""

    def __init__(self, path: str) -> None:
        self.container, _, name = path.partition("/")
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", self.container):
            raise ExpressionError(f"the path {path!r} does not begin with the name of a container: 1 to 63 of a-z, 0-9 and '-'")
        # Of a container alone, all its blobs. A part takes also slashes.
        self.names, self.literals = parts_of(name or "{name}")
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
