"""What the build has to know of an Azure Functions app, read from its source without importing it."""

from __future__ import annotations

import ast
import os
from pathlib import Path

from wfn.azure.app import MODULE_DEFAULT, AppError, modules_of
from wfn.imports import Project

# Names of the package azure-functions for which something has to be awaited.
ASYNC_NAMES = frozenset(("AsgiFunctionApp", "AsgiMiddleware"))


class AzureProject:
    """The app in the current folder. Raises AppError if there is none, SyntaxError for a module that is not Python."""

    def __init__(self, project: Project, module: str = "") -> None:
        self.module = module or MODULE_DEFAULT
        self.modules = [module] if module else modules_of(Path("."))
        files: set[str] = set()
        # Names of modules that are not the app's, in the order in which they are imported.
        found: dict[str, None] = {}
        for own in self.modules:
            file = project.file_of(own)
            if file is not None:
                files.add(file)
            for one in project.imports(own):
                files.add(one.file)
                if (one.is_certain or one.is_part) and not is_own(project, one.module.partition(".")[0]):
                    found[one.module] = None
        self.packages = list(found)
        self.files = sorted(files)
        self.is_async = any(needs_loop(Path(file)) for file in self.files)


def is_own(project: Project, top: str) -> bool:
    """Whether a module is the app's: a file, or a folder with or without `__init__.py`."""
    return top == "__app__" or project.file_of(top) is not None or any(os.path.isdir(os.path.join(folder, top)) for folder in project.folders)


def needs_loop(file: Path) -> bool:
    """Whether a module has something that has to be awaited."""
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if isinstance(node, ast.AsyncFunctionDef) or name in ASYNC_NAMES:
            return True
    return False
