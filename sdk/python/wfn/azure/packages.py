"""Imports an app's packages while the component is built, so that no instance has to load them."""

from __future__ import annotations

import importlib
import sys


def load(names: list[str]) -> None:
    """Imports modules as far as they can be; the app's own import says later what is wrong with one that cannot."""
    for name in names:
        before = set(sys.modules)
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            # `b` of `from a import b` need not be a module.
            if error.name != name:
                forget(before)
        except Exception:
            forget(before)


def forget(before: set[str]) -> None:
    for name in set(sys.modules) - before:
        del sys.modules[name]
