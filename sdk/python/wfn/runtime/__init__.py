"""What makes Python whole inside the component.

`begin_build` runs before the application is imported, `end_build` after it, both while the component is built. Then the
memory is stored as the component's image. `begin_instance` runs in each instance, before its first request.
"""

from __future__ import annotations

import gc
import sys

from wfn.runtime import fresh, late, missing, recursion

_is_begun = False


def begin_build(build_settings: list[str]) -> None:
    """Puts the replacements in place, so that the application gets them when it is imported.

    `build_settings` are the names in `os.environ` that are for the build only.
    """
    late.install()
    missing.install()
    fresh.install(build_settings)
    recursion.install()


def end_build(application_folder: str) -> None:
    """Keeps what the application may want later. Nothing may be imported from the build's folders afterwards."""
    late.keep(application_folder)
    for name, place in fresh.end_build().items():
        print(
            f"wfn note: {place} reads the setting {name} while the component is built, so what it makes of it is the same "
            "in all instances; read it in a function to get the instance's own",
            file=sys.stderr,
        )
    gc.collect()
    # The collector does not look at what the image holds: that would copy its pages into every instance.
    gc.freeze()


def begin_instance() -> None:
    """Makes fresh what the image froze. Costs a comparison after the first call."""
    global _is_begun
    if _is_begun:
        return
    _is_begun = True
    fresh.begin_instance()
    recursion.begin_instance()
