"""What the component keeps of the folders that were on sys.path while it was built: file contents, listings, code."""

from __future__ import annotations

import marshal
import os
import stat
import sys
import zlib
from types import CodeType

# The most that is kept, compressed. More would be a component that takes minutes to compile.
KEPT_BYTES_MAX = 64 * 1024 * 1024
COMPRESSION_LEVEL = 6

# Machine code, caches and sources of machine code: of no use inside the component.
SKIPPED_SUFFIXES = (
    ".so", ".pyc", ".pyo", ".pyd", ".pyi", ".pyx", ".pxd", ".exe", ".dll", ".dylib", ".a", ".o", ".h", ".c", ".cpp",
    ".wasm", ".whl", ".po", ".pot",
)  # fmt: skip
SKIPPED_FOLDERS = frozenset(("__pycache__", "node_modules"))
# In the standard library and in packages, not in the application.
SKIPPED_LIBRARY_FOLDERS = frozenset(
    "test tests idlelib tkinter turtledemo ensurepip venv pydoc_data site-packages _pyrepl lib2to3 "
    "pip setuptools wheel pkg_resources _distutils_hack componentize_py config-3.14-wasm32-wasi".split()
)
# Of a package's metadata; the rest is licences and lists of files.
METADATA_FILES = frozenset(("METADATA", "entry_points.txt", "top_level.txt"))

# Path → compressed content. Library modules are in `codes` only.
files: dict[str, bytes] = {}
# Path of a module's file → compressed marshalled code.
codes: dict[str, bytes] = {}
# Path → size in bytes, of everything that `listings` names as a file.
sizes: dict[str, int] = {}
# Path of a folder → names in it, sorted.
listings: dict[str, list[str]] = {}
# Files that could not be read while the component was built.
unreadable: list[str] = []


def keep_folder(root: str, is_library: bool, loaded: frozenset[str]) -> None:
    """Keeps the files below `root`. A library's modules are kept as code, and not at all if they are in `loaded`."""
    for folder, folder_names, file_names in os.walk(root):
        is_metadata = folder.endswith(".dist-info")
        folder_names[:] = [name for name in folder_names if is_kept_folder(f"{folder}/{name}", is_library)]
        kept_names = []
        for name in file_names:
            if name.endswith(SKIPPED_SUFFIXES) or name.startswith(".") or (is_metadata and name not in METADATA_FILES):
                continue
            path = f"{folder}/{name}"
            try:
                keep_file(path, is_library, loaded)
            except OSError:
                # For example a link that leads out of the folder.
                unreadable.append(path)
            else:
                kept_names.append(name)
        listings[folder] = sorted(folder_names + kept_names)


def is_kept_folder(path: str, is_library: bool) -> bool:
    name = path.rpartition("/")[2]
    if name.startswith(".") or name in SKIPPED_FOLDERS:
        return False
    if is_library:
        return name not in SKIPPED_LIBRARY_FOLDERS
    return not os.path.exists(f"{path}/pyvenv.cfg")


def keep_file(path: str, is_library: bool, loaded: frozenset[str]) -> None:
    """Keeps one file. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        content = file.read()
    sizes[path] = len(content)
    if path.endswith(".py") and path not in loaded:
        try:
            code = compile(content, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            # Not a module of this Python, for example a template of one: only its text is kept.
            is_library = False
        else:
            codes[path] = zlib.compress(marshal.dumps(code), COMPRESSION_LEVEL)
    if not (is_library and path.endswith(".py")):
        files[path] = zlib.compress(content, COMPRESSION_LEVEL)


def check_size() -> None:
    """Exits with a clear line if more is kept than a component should hold."""
    total = sum(map(len, files.values())) + sum(map(len, codes.values()))
    if total > KEPT_BYTES_MAX:
        largest = sorted(files, key=lambda path: -len(files[path]))[:3]
        names = ", ".join(f"{path} ({len(files[path]) // 1024} KB)" for path in largest)
        sys.exit(
            f"the project's files have {total // 1024 // 1024} MB compressed, a component keeps "
            f"{KEPT_BYTES_MAX // 1024 // 1024} MB; the largest: {names}"
        )


def content_of(path: str) -> bytes:
    """The content of a kept file. Raises KeyError if there is none."""
    return zlib.decompress(files[path])


def code_of(path: str) -> CodeType:
    """The code of a kept module. Raises KeyError if there is none."""
    code = marshal.loads(zlib.decompress(codes[path]))
    assert isinstance(code, CodeType)
    return code


def has(path: str) -> bool:
    return path in sizes or path in listings


def stat_of(path: str) -> os.stat_result:
    """What `os.stat` says about a kept path. Raises KeyError if there is none."""
    if path in listings:
        mode, size = stat.S_IFDIR | 0o555, 0
    else:
        mode, size = stat.S_IFREG | 0o444, sizes[path]
    # The number only has to differ from file to file.
    number = zlib.crc32(path.encode("utf-8", "surrogateescape")) or 1
    return os.stat_result((mode, number, 0, 1, 0, 0, size, built_at, built_at, built_at))


# Unix time of the build, which every kept file has as its time of change.
built_at = 0
