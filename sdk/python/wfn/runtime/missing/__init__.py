"""Replacements for what this Python lacks because it has no OpenSSL: `hashlib.pbkdf2_hmac` and `hashlib.scrypt`.

`ssl` stays missing. Libraries look for it when they are imported and do without; a module that only pretends would make
them believe that TLS works.
"""

from __future__ import annotations

import hashlib

from wfn.runtime.missing import passwords


def install() -> None:
    """Adds what is missing; what is there stays."""
    if not hasattr(hashlib, "pbkdf2_hmac"):
        hashlib.pbkdf2_hmac = passwords.pbkdf2_hmac  # type: ignore[assignment]
    if not hasattr(hashlib, "scrypt"):
        hashlib.scrypt = passwords.scrypt  # type: ignore[assignment]
