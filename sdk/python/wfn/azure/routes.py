"""Routes as ASP.NET has them: templates with parameters, constraints and defaults, and which of them is asked first."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from wfn.azure.template import parts_between

Check = Callable[[str], bool]


class RouteError(ValueError):
    """A template that is none; the text says what is wrong with it."""


@dataclass(frozen=True)
class Parameter:
    """`{name:constraint=default?}` in a template."""

    name: str
    checks: tuple[Check, ...] = ()
    default: str | None = None
    is_optional: bool = False
    is_catch_all: bool = False

    @property
    def may_be_missing(self) -> bool:
        return self.is_optional or self.is_catch_all or self.default is not None


class Route:
    """One template. `precedence` orders templates: the lowest is asked first."""

    def __init__(self, template: str) -> None:
        self.template = template.strip("/")
        self.segments = [list(split_parts(segment)) for segment in split_segments(self.template)]
        self.precedence = [digit(parts) for parts in self.segments]
        names: set[str] = set()
        for number, parts in enumerate(self.segments):
            for place, part in enumerate(parts):
                if isinstance(part, str):
                    continue
                if part.name.lower() in names:
                    raise RouteError(f"the route {template!r} has the parameter {part.name!r} twice")
                names.add(part.name.lower())
                if part.is_catch_all and (number + 1 < len(self.segments) or len(parts) > 1):
                    raise RouteError(f"in the route {template!r}, {part.name!r} takes the rest of the path, so it must be the last segment")
                if place and isinstance(parts[place - 1], Parameter):
                    raise RouteError(f"in the route {template!r}, a text is missing before {part.name!r}")

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters in a path without the slash at its beginning, or None. What is missing has its default or is left out."""
        given = path.split("/") if path else []
        values: dict[str, str] = {}
        for number, parts in enumerate(self.segments):
            first = parts[0]
            if isinstance(first, Parameter) and first.is_catch_all:
                found: list[str] | None = ["/".join(given[number:])]
                given = given[:number]
            else:
                found = texts_in(parts, given[number] if number < len(given) else "")
            if found is None:
                return None
            for parameter, text in zip((part for part in parts if isinstance(part, Parameter)), found):
                if text and not all(check(text) for check in parameter.checks):
                    return None
                if text or parameter.default is not None:
                    values[parameter.name] = text or str(parameter.default)
        return values if len(given) <= len(self.segments) else None


def texts_in(parts: list[str | Parameter], text: str) -> list[str] | None:
    """What the parameters of a segment are in the segment of a path, or None if it does not fit. A missing one is empty."""
    last = parts[-1]
    if not text and len(parts) == 1 and isinstance(last, Parameter):
        return [""] if last.may_be_missing else None
    literals = [""]
    for part in parts:
        literals += [""] if isinstance(part, Parameter) else []
        literals[-1] += lowered(part) if isinstance(part, str) else ""
    found = parts_between(lowered(text), literals)
    if found is None:
        # As the ending of a file: `{name}.{ending?}`.
        is_ending = isinstance(last, Parameter) and last.is_optional and parts[-2:-1] == ["."]
        without = texts_in(parts[:-2], text) if is_ending and len(parts) > 2 else None
        return None if without is None else [*without, ""]
    begin, texts = 0, []
    for literal, part_found in zip(literals, found):
        begin += len(literal)
        texts.append(text[begin : begin + len(part_found)])
        begin += len(part_found)
    return texts


def lowered(text: str) -> str:
    """In lower case, as far as no character becomes two."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text


def path_of(raw: str) -> str:
    """The path of a request as templates match it: decoded, but an encoded slash stays encoded."""
    return "/".join(unquote(segment, errors="replace").replace("/", "%2F") for segment in raw.strip("/").split("/"))


def split_segments(template: str) -> Iterator[str]:
    """The segments of a template; a slash in braces belongs to a constraint."""
    depth, begun = 0, 0
    for place, character in enumerate(template):
        depth += (character == "{") - (character == "}")
        if character == "/" and not depth:
            yield template[begun:place]
            begun = place + 1
    if begun < len(template):
        yield template[begun:]


def split_parts(segment: str) -> Iterator[str | Parameter]:
    """The literal texts and parameters of a segment. `{{` and `}}` are braces themselves."""
    literal, place = "", 0
    while place < len(segment):
        if segment[place : place + 2] in ("{{", "}}"):
            literal += segment[place]
            place += 2
        elif segment[place] == "{":
            if literal:
                yield literal
            literal, end = "", parameter_end(segment, place)
            yield parameter_of(segment[place + 1 : end].replace("{{", "{").replace("}}", "}"))
            place = end + 1
        else:
            literal += segment[place]
            place += 1
    if literal:
        yield literal


def parameter_end(segment: str, begin: int) -> int:
    place = begin + 1
    while place < len(segment):
        if segment[place : place + 2] in ("{{", "}}") and not (segment[place] == "}" and is_end(segment, place)):
            place += 2
        elif segment[place] == "}":
            return place
        else:
            place += 1
    raise RouteError(f"a brace in {segment!r} is not closed")


def is_end(segment: str, place: int) -> bool:
    """Whether the brace at `place` closes its parameter, although one more follows: those that are open inside are all closed."""
    run = len(segment[place:]) - len(segment[place:].lstrip("}"))
    return run % 2 == 1


def parameter_of(text: str) -> Parameter:
    stars = len(text) - len(text.lstrip("*"))
    text = text.lstrip("*")
    name = re.match(r"[^:=?*/{}]+", text)
    if name is None or stars > 2:
        raise RouteError(f"{{{text}}} names no parameter")
    rest, checks = text[name.end() :], []
    while rest.startswith(":"):
        constraint, rest = split_constraint(rest[1:])
        checks.append(check_of(constraint))
    is_optional = rest == "?" or (rest.endswith("?") and not rest.startswith("="))
    default = rest[1:] if rest.startswith("=") else None
    return Parameter(name[0].strip(), tuple(checks), default, is_optional, bool(stars))


def split_constraint(text: str) -> tuple[str, str]:
    """A constraint at the beginning of `text`, and what follows it. Parentheses may contain anything."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth and character in ":=?":
            return text[:place], text[place:]
    return text, ""


def is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?(\d{1,400}\.?\d{0,400}|\.\d{1,400})([eE][+-]?\d{1,4})?", text, re.ASCII))


def is_made_by(make: Callable[[str], Any]) -> Check:
    def check(text: str) -> bool:
        try:
            make(text)
        except ValueError:
            return False
        return True

    return check


def is_whole(bits: int) -> Check:
    return lambda text: bool(re.fullmatch(r"[+-]?[0-9]{1,20}", text)) and -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1)


def in_range(least: int | None, most: int | None) -> Check:
    is_long = is_whole(64)
    return lambda text: is_long(text) and (least is None or int(text) >= least) and (most is None or int(text) <= most)


def has_length(least: int, most: int | None) -> Check:
    return lambda text: len(text) >= least and (most is None or len(text) <= most)


SIMPLE: dict[str, Check] = {
    "alpha": lambda text: bool(re.fullmatch(r"[A-Za-z]*", text)),
    "bool": lambda text: text.lower() in ("true", "false"),
    "datetime": is_made_by(datetime.datetime.fromisoformat),
    "decimal": is_number,
    "double": is_number,
    "float": is_number,
    "guid": is_made_by(uuid.UUID),
    "int": is_whole(32),
    "long": is_whole(64),
    "required": bool,
}
WITH_NUMBERS: dict[tuple[str, int], Callable[..., Check]] = {
    ("length", 1): lambda count: has_length(count, count),
    ("length", 2): has_length,
    ("max", 1): lambda most: in_range(None, most),
    ("maxlength", 1): lambda most: has_length(0, most),
    ("min", 1): lambda least: in_range(least, None),
    ("minlength", 1): lambda least: has_length(least, None),
    ("range", 2): in_range,
}


def check_of(constraint: str) -> Check:
    """What a constraint asks of a value. Raises RouteError for one that ASP.NET does not have."""
    name, parenthesis, inner = constraint.partition("(")
    name = name.strip().lower()
    if not parenthesis and name in SIMPLE:
        return SIMPLE[name]
    if inner.endswith(")"):
        inner = inner[:-1]
        if name == "regex":
            try:
                expression = re.compile(inner, re.IGNORECASE)
            except re.error as error:
                raise RouteError(f"the constraint {constraint!r} is no regular expression: {error}") from None
            return lambda text: bool(expression.search(text))
        numbers = inner.split(",")
        make = WITH_NUMBERS.get((name, len(numbers)))
        if make is not None and all(re.fullmatch(r"\s*-?[0-9]{1,18}\s*", number) for number in numbers):
            return make(*map(int, numbers))
    raise RouteError(f"there is no constraint {constraint!r}")


def digit(parts: list[str | Parameter]) -> int:
    """What a segment counts in the order: the more it says, the less."""
    part = parts[0] if len(parts) == 1 else None
    if part is None:
        return 2
    if isinstance(part, str):
        return 1
    return (5 if part.is_catch_all else 3) - bool(part.checks)


def in_order(routes: Iterable[tuple[Route, Any]]) -> list[tuple[Route, Any]]:
    """Routes with what they lead to, in the order in which they are asked."""
    return sorted(routes, key=lambda entry: (entry[0].precedence, entry[0].template))
