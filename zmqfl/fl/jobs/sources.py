"""Which files of Python a class needs that its site may not have: they go into the `custom` folder of the app.

What is installed, or comes with Python, is not copied. Of the rest go the module of the class (of a package: all of
it) and whatever of the kind that module imports.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zmqfl
from zmqfl.fl.jobs.describe import MAIN

_PATHS = ("stdlib", "platstdlib", "purelib", "platlib")


def sources_of(kind: type[Any]) -> set[Path]:
    """The files of modules, and folders of packages, that a class needs beside what is installed."""
    found: set[Path] = set()
    waiting = [_file_of(kind.__module__)]
    while waiting:
        file = waiting.pop()
        if file is None or is_installed(file) or (top := _top(file)) in found:
            continue
        found.add(top)
        files = [top] if top.is_file() else sorted(top.rglob("*.py"))
        waiting += [_file_of(name) for each in files for name in _imports(each)]
    return found


def is_installed(file: Path) -> bool:
    """Whether a file of Python belongs to an installed package, to zmqfl or to Python itself."""
    roots = [Path(sysconfig.get_path(name)) for name in _PATHS] + [Path(zmqfl.__file__).parent]
    return any(file.resolve().is_relative_to(root.resolve()) for root in roots)


def _file_of(module: str) -> Path | None:
    """The file of a module; None when it has none (built in) or there is no such module."""
    if module == MAIN:
        file = getattr(sys.modules[MAIN], "__file__", None)
        return Path(file) if file else None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _top(file: Path) -> Path:
    """The file, or the folder of the outermost package that it is in."""
    top = file
    while (top.parent / "__init__.py").is_file():
        top = top.parent
    return top


def _imports(file: Path) -> Iterator[str]:
    """The top-level names of what a file imports, relative ones left out: they are in its own package."""
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        match node:
            case ast.Import(names=names):
                yield from (name.name.partition(".")[0] for name in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
