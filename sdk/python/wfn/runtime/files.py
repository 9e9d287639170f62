"""The functions of `os` and `io` that read files, made to find what was kept too. All of `os.path`, `pathlib`, `shutil`,
`glob` and `importlib.resources` is built on these."""

from __future__ import annotations

import builtins
import errno
import io
import os
import tokenize
from collections.abc import Iterator
from typing import Any

from wfn.runtime import kept

_open, _stat, _lstat, _listdir = io.open, os.stat, os.lstat, os.listdir
_scandir, _access, _readlink = os.scandir, os.access, os.readlink


def key(path: Any) -> str:
    """The form of a path under which it is kept; the empty text if it cannot be one."""
    try:
        path = os.fspath(path)
    except TypeError:
        return ""
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not path:
        return ""
    if not path.startswith("/"):
        path = f"{os.getcwd()}/{path}"
    normal: str = os.path.normpath(path)
    return normal[1:] if normal.startswith("//") else normal


def open_file(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    """`open`. A kept file is read from the image; writing it is refused."""
    path = "" if isinstance(file, int) or opener is not None else key(file)
    if not kept.has(path):
        return _open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    if path in kept.listings:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), file)
    if not isinstance(mode, str) or set(mode) - set("rbt") or "r" not in mode:
        raise OSError(errno.EROFS, "a file of the component cannot be changed", file)
    if path not in kept.files:
        raise FileNotFoundError(errno.ENOENT, "of this module the component has only the code", file)
    content = KeptFile(kept.content_of(path))
    content.name = file
    if "b" in mode:
        return content
    return io.TextIOWrapper(content, encoding or "utf-8", errors, newline)


class KeptFile(io.BytesIO):
    """A kept file that is open."""

    name: Any = None
    mode = "rb"


def stat_path(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
    if not isinstance(path, int) and kept.has(found := key(path)):
        return kept.stat_of(found)
    return _stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)


def lstat_path(path: Any, *, dir_fd: int | None = None) -> os.stat_result:
    if kept.has(found := key(path)):
        return kept.stat_of(found)
    return _lstat(path, dir_fd=dir_fd)


def list_folder(path: Any = ".") -> list[Any]:
    found = "" if isinstance(path, int) else key("." if path is None else path)
    if found in kept.listings:
        names = kept.listings[found]
        return [os.fsencode(name) for name in names] if isinstance(path, bytes) else list(names)
    if found in kept.sizes:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    return _listdir(path)


def scan_folder(path: Any = ".") -> Any:
    found = "" if isinstance(path, int) else key("." if path is None else path)
    if found not in kept.listings:
        return _scandir(path)
    return KeptScan(found, os.fspath("." if path is None else path))


class KeptEntry:
    """What os.scandir gives for a kept file or folder."""

    def __init__(self, path: str, name: Any, shown: Any) -> None:
        self._path, self.name, self.path = path, name, shown

    def __fspath__(self) -> Any:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._path in kept.listings

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return self._path in kept.sizes

    def is_symlink(self) -> bool:
        return False

    def is_junction(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return kept.stat_of(self._path)

    def inode(self) -> int:
        return self.stat().st_ino


class KeptScan:
    """What os.scandir returns for a kept folder."""

    def __init__(self, path: str, shown: Any) -> None:
        encode = os.fsencode if isinstance(shown, bytes) else str
        self._entries: Iterator[KeptEntry] = iter(
            [
                KeptEntry(f"{path}/{name}", encode(name), os.path.join(shown, encode(name)))
                for name in kept.listings[path]
            ]
        )

    def __iter__(self) -> Iterator[KeptEntry]:
        return self._entries

    def __next__(self) -> KeptEntry:
        return next(self._entries)

    def __enter__(self) -> KeptScan:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


def access_path(path: Any, mode: int, **options: Any) -> bool:
    if not isinstance(path, int) and kept.has(key(path)):
        return not mode & os.W_OK
    return _access(path, mode, **options)


def read_link(path: Any, *, dir_fd: int | None = None) -> Any:
    if kept.has(key(path)):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return _readlink(path, dir_fd=dir_fd)


def install() -> None:
    """Replaces the functions everywhere they are looked up by name at the time of a call."""
    builtins.open = io.open = open_file
    tokenize._builtin_open = open_file  # type: ignore[attr-defined]
    os.stat, os.lstat, os.listdir = stat_path, lstat_path, list_folder
    os.scandir, os.access, os.readlink = scan_folder, access_path, read_link
