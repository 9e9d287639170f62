"""What makes Python whole inside the component.

`begin_build` runs before the application is imported, `end_build` after it, both while the component is built. Then the
memory is stored as the component's image. `begin_instance` runs in each instance, before its first request.
"""

from __future__ import annotations

import gc

from wfn import outbound
from wfn.runtime import fresh, kept, late, missing, network, recursion

_is_begun = False
# Measured: more made no component smaller, but its memory larger.
CLEARED_BLOCK_BYTES = 32 * 1024
CLEARED_BLOCKS = 100


def begin_build(build_settings: list[str]) -> None:
    """Puts the replacements in place, so that the application gets them when it is imported.

    `build_settings` are the names in `os.environ` that are for the build only.
    """
    late.install()
    missing.install()
    fresh.install(build_settings)
    recursion.install()
    network.install()
    outbound.install()


def end_build(application_folder: str, build_folder: str) -> None:
    """Keeps what the application may want later. Nothing may be imported from the build's folders afterwards."""
    network.end_build()
    late.keep(application_folder)
    with open(f"{build_folder}/notes", "w", encoding="utf-8") as notes:
        for name, place in fresh.end_build().items():
            print(
                f"{place} reads the setting {name} while the component is built, so what it makes of it is the same in all "
                "instances; read it in a function to get the instance's own",
                file=notes,
            )
        for path in kept.unreadable:
            print(f"{path} could not be read, so it is not there at run time; is it a link out of its folder?", file=notes)
    gc.collect()
    clear_free_memory()
    # The collector does not look at what the image holds: that would copy its pages into every instance.
    gc.freeze()


def clear_free_memory() -> None:
    """Overwrites with zeros what the build has freed: zeros cost nothing in the image."""
    blocks = [bytearray(CLEARED_BLOCK_BYTES) for _ in range(CLEARED_BLOCKS)]
    del blocks


def begin_instance() -> None:
    """Makes fresh what the image froze. Costs a comparison after the first call."""
    global _is_begun
    if _is_begun:
        return
    _is_begun = True
    fresh.begin_instance()
    recursion.begin_instance()


def has_begun() -> bool:
    """Whether this is an instance, not the build."""
    return _is_begun
