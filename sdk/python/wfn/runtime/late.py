"""Imports that happen after the build, and files of the build: what was on sys.path is there at run time."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
import time
from collections.abc import Iterator
from importlib.abc import PathEntryFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

from wfn.runtime import files, kept

# Small modules that Python itself or frameworks import in the middle of a request. Here they are part of the image, so no
# instance has to load them.
IMPORTED_AT_BUILD = (
    "_strptime", "concurrent.futures.thread", "encodings.ascii", "encodings.idna", "encodings.latin_1",
    "encodings.raw_unicode_escape", "encodings.unicode_escape", "encodings.utf_16", "encodings.utf_8_sig",
    "importlib.metadata", "importlib.resources.readers", "linecache", "mimetypes", "pkgutil", "tokenize", "traceback",
)  # fmt: skip
# What componentize-py generated is not kept: it is loaded as a whole.
GENERATED_FOLDERS = ("/world", "/bundled")
BINDINGS = "wit_world.imports"


class KeptLoader(importlib.machinery.SourceFileLoader):
    """Loads a module whose code was kept."""

    def get_code(self, fullname: str) -> CodeType:
        return kept.code_of(self.path)

    def get_data(self, path: str) -> bytes:
        return get_data(self, path)


class KeptFinder(PathEntryFinder):
    """Finds modules in one folder that was kept; what FileFinder does for a folder on a disk."""

    def __init__(self, folder: str) -> None:
        if folder not in kept.listings:
            raise ImportError("not a folder that was kept", path=folder)
        self.folder = folder

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        name = fullname.rpartition(".")[2]
        folder = f"{self.folder}/{name}"
        for path, locations in ((f"{folder}/__init__.py", [folder]), (f"{folder}.py", None)):
            if path in kept.codes:
                return importlib.util.spec_from_file_location(
                    fullname, path, loader=KeptLoader(fullname, path), submodule_search_locations=locations
                )
        if folder in kept.listings:
            # A part of a namespace package; Python looks for the others.
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [folder]
            return spec
        return None

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        """What pkgutil.iter_modules asks for: the names of the modules, and whether they are packages."""
        for name in kept.listings[self.folder]:
            if f"{self.folder}/{name}/__init__.py" in kept.sizes:
                yield prefix + name, True
            elif name.endswith(".py") and name != "__init__.py":
                yield prefix + name[:-3], False


_real_get_data = importlib.machinery.SourceFileLoader.get_data


def get_data(loader: importlib.machinery.SourceFileLoader, path: str) -> bytes:
    """A loader's `get_data`, for files that were kept too."""
    try:
        return kept.content_of(os.path.normpath(path))
    except KeyError:
        return _real_get_data(loader, path)


def install() -> None:
    """Replaces the functions that open and list files. Before the application is imported, which may take them by name."""
    files.install()
    importlib.machinery.SourceFileLoader.get_data = get_data  # type: ignore[method-assign, assignment]
    for name in IMPORTED_AT_BUILD:
        importlib.import_module(name)


def keep(application_folder: str) -> None:
    """Keeps the folders of sys.path. Imports find what was kept from then on."""
    kept.built_at = int(time.time())
    load_bindings()
    loaded = loaded_files()
    for root in dict.fromkeys(sys.path):
        if os.path.isdir(root) and root not in GENERATED_FOLDERS:
            kept.keep_folder(root, root != application_folder, loaded)
    kept.check_size()
    sys.path_hooks.insert(0, KeptFinder)
    sys.path_importer_cache.clear()


def load_bindings() -> None:
    """Loads the modules that call the host, also those that the application may want only later."""
    for module in pkgutil.iter_modules(importlib.import_module(BINDINGS).__path__):
        importlib.import_module(f"{BINDINGS}.{module.name}")


def loaded_files() -> frozenset[str]:
    """The files of the modules that are part of the image."""
    found = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            found.add(file)
    return frozenset(found)
