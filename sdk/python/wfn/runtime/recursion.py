"""Recursion that is too deep raises RecursionError in time: a host's stack that is used up ends the instance instead."""

from __future__ import annotations

import json.decoder
import re
import sys
from typing import Any

# Frames of Python. Each may take a few KB of the host's stack if C code is between them, as with a key function of
# `sorted`. Measured: docs/decisions/2026-11-30-python-late-imports.md.
RECURSION_LIMIT = 220
# Levels of JSON. The parser is C code and knows no limit of its own here; it ends the instance between 1,000 and 2,000.
JSON_LEVELS_MAX = 900

_default_limit = sys.getrecursionlimit()
_real_raw_decode = json.decoder.JSONDecoder.raw_decode
# A JSON text's strings, which may contain brackets, and its brackets.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def install() -> None:
    """Puts the check of JSON's depth in place."""
    json.decoder.JSONDecoder.raw_decode = raw_decode  # type: ignore[method-assign, assignment]


def begin_instance() -> None:
    """Sets the limit, unless the application has set one of its own."""
    if sys.getrecursionlimit() == _default_limit:
        sys.setrecursionlimit(RECURSION_LIMIT)


def raw_decode(decoder: json.JSONDecoder, s: str, idx: int = 0) -> tuple[Any, int]:
    """`JSONDecoder.raw_decode`. Raises RecursionError for text with more than JSON_LEVELS_MAX levels."""
    # Few texts have that many brackets at all, so nearly all pass with two quick counts.
    if s.count("[", idx) + s.count("{", idx) > JSON_LEVELS_MAX and levels(s, idx) > JSON_LEVELS_MAX:
        raise RecursionError(f"the JSON has more than {JSON_LEVELS_MAX} levels")
    return _real_raw_decode(decoder, s, idx)


def levels(text: str, start: int) -> int:
    """How deep lists and objects of a JSON text are in each other; counting ends above JSON_LEVELS_MAX."""
    depth = deepest = 0
    for match in _TOKEN.finditer(text, start):
        token = match[0]
        if token in "[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > JSON_LEVELS_MAX:
                break
        elif token in "]}":
            depth -= 1
    return deepest
