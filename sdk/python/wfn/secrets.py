"""Secrets and settings of the app (docs/capabilities.md). They are in `os.environ`, too; this says more when one is missing.

    token = secrets.get("TOKEN")
"""

from __future__ import annotations

import os

from wfn import runtime


class Missing(LookupError):
    """There is no secret and no setting of this name."""


def get(name: str, default: str | None = None) -> str:
    """The value of a secret or a setting; without one `default`, if there is that. Raises Missing.

    Call it in a function. While the component is built there are no secrets, and what a module keeps is readable in the component's file;
    so it raises Missing then, whatever the default.
    """
    if not runtime.has_begun():
        raise Missing(f"the secret {name} is not there while the component is built: read it in a function that a request calls")
    value = os.environ.get(name, default)
    if value is None:
        raise Missing(f"there is no secret and no setting {name}; set one with 'wfn secret put APP {name}' or in [env] of wfn.toml")
    return value
