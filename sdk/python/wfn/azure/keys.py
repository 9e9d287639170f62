"""Who may call a function over HTTP: the authorization levels of Azure Functions. Keys are settings, best kept as secrets.

`FUNCTIONS_KEY` opens all functions of the level `function`, `FUNCTIONS_KEY_NAME` the function NAME alone, `FUNCTIONS_MASTER_KEY`
everything. Two keys may be valid at a time, with a comma between them.
"""

from __future__ import annotations

import hmac
import os
import re
import sys

# As the local tools of the cloud do, nobody asks for keys then.
ENVIRONMENT = "AZURE_FUNCTIONS_ENVIRONMENT"


def may_call(function: str, level: str, given: str) -> bool:
    """Whether a request with the key `given`, which may be empty, may call a function of that level."""
    if level == "anonymous" or os.environ.get(ENVIRONMENT) == "Development":
        return True
    names = ["FUNCTIONS_MASTER_KEY"]
    if level == "function":
        names += ["FUNCTIONS_KEY", key_name(function)]
    keys = [key for name in names for key in os.environ.get(name, "").split(",") if key]
    if not keys:
        print(
            f"wfn: {function} has the level {level}, and no key is set: run 'wfn secret put APP {names[-1]}'. While developing, "
            f"{ENVIRONMENT}=Development asks for none",
            file=sys.stderr,
        )
    # All are compared, so that the time tells nothing.
    return any([hmac.compare_digest(key.encode(), given.encode()) for key in keys])


def key_name(function: str) -> str:
    return "FUNCTIONS_KEY_" + re.sub(r"[^A-Z0-9]", "_", function.upper())
