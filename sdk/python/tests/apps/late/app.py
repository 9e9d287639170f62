"""Imports and reads at run time what was there while the component was built."""

import json


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(globals()["show_" + environ["PATH_INFO"].strip("/")]()).encode()]


def show_imports():
    import importlib
    import xml.etree.ElementTree as ElementTree
    from datetime import datetime

    try:
        importlib.import_module("plugins.none")
        missing = "imported"
    except ModuleNotFoundError as error:
        missing = str(error)
    return {
        "by_name": importlib.import_module("plugins.first").NAME,
        "namespace": importlib.import_module("space.part.module").NAME,
        "missing": missing,
        "xml": ElementTree.fromstring("<a><b>text</b></a>").find("b").text,
        "strptime": datetime.strptime("Mon 30 Nov 2026", "%a %d %b %Y").isoformat(),
        "codecs": ["é".encode(name).hex() for name in ("cp1252", "shift_jisx0213", "idna", "utf_7", "mac_roman")],
    }


def show_packages():
    import importlib.metadata
    import importlib.resources
    import pkgutil

    import plugins
    import tzdata

    return {
        "modules": sorted((module.name, module.ispkg) for module in pkgutil.iter_modules(plugins.__path__)),
        "walked": sorted(module.name for module in pkgutil.walk_packages(plugins.__path__, "plugins.")),
        "data": pkgutil.get_data("tzdata", "zones").decode().splitlines()[0],
        "zone": importlib.resources.files("tzdata.zoneinfo").joinpath("UTC").read_bytes()[:4].decode(),
        "version": importlib.metadata.version("tzdata"),
        "file": tzdata.__file__.rpartition("/")[2],
    }


def show_library():
    import codecs
    import concurrent.futures.thread
    import encodings.aliases
    import hashlib
    import zoneinfo
    from datetime import datetime

    def unknown(find, names):
        missing = []
        for name in sorted(names):
            try:
                find(name)
            except LookupError:
                missing.append(name)
        return missing

    zones = zoneinfo.available_timezones()
    pool = concurrent.futures.thread.ThreadPoolExecutor(1)
    try:
        pool.submit(print)
        threads = "started"
    except RuntimeError as error:
        threads = str(error)
    try:
        import ssl

        tls = ssl.__name__
    except ImportError as error:
        tls = f"{type(error).__name__}: {error}"
    return {
        "codecs": unknown(codecs.lookup, set(encodings.aliases.aliases.values())),
        "zones": len(zones) > 400,
        "unknown_zones": unknown(zoneinfo.ZoneInfo, zones),
        "offset": datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("Australia/Lord_Howe")).isoformat(),
        "pool": threads,
        "ssl": tls,
        "pbkdf2": [hashlib.pbkdf2_hmac(name, b"password", b"salt", rounds).hex() for name in ("sha1", "sha512") for rounds in (2, 2000)],
        "scrypt": hashlib.scrypt(b"password", salt=b"salt", n=16, r=8, p=1, dklen=16).hex(),
    }


def show_files():
    import glob
    import os
    import shutil
    from pathlib import Path

    here = Path(__file__).parent
    text = here / "data" / "text.txt"
    shutil.copy(text, "/tmp/copy.txt")
    with os.scandir("data") as entries:
        scanned = [(entry.name, entry.is_file(), entry.stat().st_size, entry.path) for entry in entries]
    with open(b"data/text.txt", newline="") as file:
        untouched = file.read()
    return {
        "lines": text.read_text().splitlines(),
        "untouched": untouched,
        "scanned": scanned,
        "walked": [(folder, sorted(folders), sorted(files)) for folder, folders, files in os.walk("plugins")],
        "glob": sorted(glob.glob("**/*.txt", recursive=True)),
        "pathlib": sorted(str(path.relative_to(here)) for path in here.rglob("*.txt")),
        "is": [text.exists(), text.is_file(), text.parent.is_dir(), text.is_symlink(), os.access(text, os.W_OK)],
        "real": os.path.realpath("data/../data/text.txt"),
        "size": os.path.getsize(text),
        "copy": Path("/tmp/copy.txt").read_text(),
    }


def show_errors():
    import os
    import sqlite3

    def name_of(action):
        try:
            action()
        except Exception as error:
            return type(error).__name__, getattr(error, "errno", None) and os.strerror(error.errno)
        return None

    return {
        "write": name_of(lambda: open("data/text.txt", "a")),
        "none": name_of(lambda: open("data/none.txt")),
        "folder": name_of(lambda: open("data")),
        "list": name_of(lambda: os.listdir("data/text.txt")),
        "hidden": name_of(lambda: open(".env")),
        "nul": name_of(lambda: open("data/\0")),
        "sqlite": name_of(lambda: sqlite3.connect("data/text.txt").execute("select 1 from sqlite_master")),
    }
