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
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import zmqfl
from zmqfl.fl.jobs.describe import MAIN

_PATHS = ("stdlib", "platstdlib", "purelib", "platlib")


def sources_of(kind: type[Any]) -> dict[Path, Path]:
    """What a class needs beside what is installed: its place below `custom` -> the file, or the folder of a package."""
    found: dict[Path, Path] = {}
    waiting = [kind.__module__]
    while waiting:
        place, source = _source_of(waiting.pop())
        if source is None or place in found:
            continue
        found[place] = source
        for file in [source] if source.is_file() else sorted(source.rglob("*.py")):
            waiting += _imports(file)
    return found


def is_installed(file: Path) -> bool:
    """Whether a file of Python belongs to an installed package, to zmqfl or to Python itself."""
    return any(file.resolve().is_relative_to(root) for root in _roots())


@cache
def _roots() -> list[Path]:
    return [Path(sysconfig.get_path(name)).resolve() for name in _PATHS] + [Path(zmqfl.__file__).resolve().parent]


def _source_of(module: str) -> tuple[Path, Path | None]:
    """(place, source) of a module, or of the package that it is in; no source: it is installed, or there is none."""
    if module == MAIN:
        main = getattr(sys.modules[MAIN], "__file__", None)
        return (Path(Path(main).name), Path(main)) if main else (Path(), None)
    parts = module.split(".")
    top = _spec_of(parts[0])
    if top is None or any(is_installed(Path(each)) for each in top.submodule_search_locations or [top.origin or "/"]):
        return Path(), None
    spec = _spec_of(module)
    if spec is None or not spec.has_location or spec.origin is None or is_installed(Path(spec.origin)):
        return Path(), None
    file = Path(spec.origin)
    place = Path(*parts, file.name) if spec.submodule_search_locations else Path(*parts[:-1], file.name)
    root = file.parents[len(place.parts) - 1]
    for package in reversed(place.parents[:-1]):  # the outermost first; a folder without __init__ is none
        if (root / package / "__init__.py").is_file():
            return package, root / package
    return place, file


def _spec_of(module: str) -> ModuleSpec | None:
    """How a module is found; None when it is built in, or not there."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    return None if spec is None or spec.origin in ("built-in", "frozen") else spec


def _imports(file: Path) -> Iterator[str]:
    """The names of what a file may import, relative ones left out: they are in its own package."""
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                yield module
                yield from (f"{module}.{name.name}" for name in names)
