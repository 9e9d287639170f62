"""Finds the parts of a text between the literal texts of a template. It takes one look at each literal, whatever the text is."""

from __future__ import annotations


def parts_between(text: str, literals: list[str]) -> list[str] | None:
    """The parts of `text` around `literals`: the first is what the text begins with, the last what it ends with. None if it does not fit.

    No part is empty. Where a literal fits more than once, the parts to the left are the longest, as in the cloud.
    """
    first, last = literals[0], literals[-1]
    if len(literals) == 1:
        return [] if text == first else None
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return None
    rest = text[len(first) : len(text) - len(last)]
    found: list[str] = []
    for literal in reversed(literals[1:-1]):
        place = rest.rfind(literal, 1, max(len(rest) - 1, 0))
        if place < 1:
            return None
        found.append(rest[place + len(literal) :])
        rest = rest[:place]
    found.append(rest)
    return found[::-1] if all(found) else None
