#!/usr/bin/env bash
# azure-functions 1.26.0 (PyPI), seen 2026-12-01.
#
# One would guess: an auth level may be written as function.json writes it, "anonymous", wherever the package takes one; and what
# get_functions() tells a host is written so, too.
#
# What is so: @app.route(auth_level=...) takes any case, FunctionApp(http_auth_level=...) only upper case: "anonymous" is a KeyError
# when the app is imported, although its annotation is the same (AuthLevel or str). The value of AuthLevel.ANONYMOUS is "anonymous",
# but bindings say "ANONYMOUS". A host that reads them must compare without regard to case.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder" azure-functions==1.26.0

PYTHONPATH="$folder" python3 - <<'PYTHON'
import azure.functions as func


def of_a_route(level):
    app = func.FunctionApp()

    @app.route(route="orders", auth_level=level)
    def orders(request):
        return "none"

    [trigger] = [each.get_dict_repr() for each in app.get_functions()[0].get_bindings() if "rigger" in each.type]
    return trigger["authLevel"]


def of_an_app(level):
    try:
        func.FunctionApp(http_auth_level=level)
        return "taken"
    except KeyError as error:
        return f"KeyError: {error}"


print("the value of AuthLevel.ANONYMOUS:", func.AuthLevel.ANONYMOUS.value)
seen = {level: (str(of_a_route(level)), of_an_app(level)) for level in ("anonymous", "ANONYMOUS")}
for level, (route, app) in seen.items():
    print(f"{level!r}: the route's binding says {route}; FunctionApp: {app}")
assert func.AuthLevel.ANONYMOUS.value == "anonymous"
assert {route.rpartition(".")[2] for route, _ in seen.values()} == {"ANONYMOUS"}
assert [app for _, app in seen.values()] == ["KeyError: 'anonymous'", "taken"]
PYTHON
