"""Defaults of frameworks that would ask for what is too slow here."""

from __future__ import annotations

import importlib
import sys

# OWASP's advice of 2023 for PBKDF2. SHA-512 is quicker here than SHA-256, for the one who guesses too, hence its own number.
PASSWORD_METHOD = "pbkdf2:sha512:210000"


def install() -> None:
    """After the application was imported. Werkzeug, and so Flask, hashes new passwords with PBKDF2 instead of scrypt."""
    if "werkzeug" not in sys.modules:
        return
    security = importlib.import_module("werkzeug.security")
    generate = getattr(security, "generate_password_hash", None)
    defaults = getattr(generate, "__defaults__", None)
    if generate is not None and defaults and defaults[0] == "scrypt":
        generate.__defaults__ = (PASSWORD_METHOD, *defaults[1:])
