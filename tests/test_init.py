"""The names of `zmqfl`: the same to a type checker and at run time, and each pays only for its own floor."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import zmqfl


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter has imported when it has run `code`."""
    code = f"{code}\nimport json, sys; print(json.dumps(list(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout))


def imports_for_types() -> dict[str, str]:
    """Module -> its names, as a type checker reads them."""
    tree = ast.parse(Path(zmqfl.__file__).read_text())
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    found = (node for node in guard.body if isinstance(node, ast.ImportFrom))
    return {(each.module or "").removeprefix("zmqfl."): " ".join(a.name for a in each.names) for each in found}


def test_run_time_and_type_checker_see_the_same() -> None:
    assert imports_for_types() == zmqfl._HOMES
    assert sorted(" ".join(zmqfl._HOMES.values()).split()) == sorted(zmqfl.__all__)


@pytest.mark.parametrize("name", zmqfl.__all__)
def test_each_name_is_there(name: str) -> None:
    home = next(module for module, names in zmqfl._HOMES.items() if name in names.split())
    assert getattr(zmqfl, name) is getattr(import_module(f"zmqfl.{home}"), name)
    assert name in vars(zmqfl)
    assert name in dir(zmqfl)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'zmqfl' has no attribute 'Cel'"):
        _ = zmqfl.Cel  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'Cel'"):
        from zmqfl import Cel  # type: ignore[attr-defined]  # noqa: F401


def test_a_star_import_gives_all() -> None:
    code = "from zmqfl import *; import zmqfl; assert not set(zmqfl.__all__) - set(globals())"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_zmqfl_imports_no_floor() -> None:
    assert {name for name in modules_after("import zmqfl") if name.startswith("zmqfl.")} == set()
    assert "numpy" not in modules_after("import zmqfl")


def test_a_name_imports_its_own_floor_only() -> None:
    modules = modules_after("from zmqfl import CellConfig, FQCN")
    assert {name for name in modules if name.startswith("zmqfl.")} == {"zmqfl.config", "zmqfl.errors", "zmqfl.fqcn"}


def test_a_cell_does_not_import_the_floors_above_it() -> None:
    above = ("zmqfl.context", "zmqfl.streaming", "zmqfl.fl", "zmqfl.launch", "zmqfl.cli", "zmqfl.topology")
    assert not [name for name in modules_after("from zmqfl import Cell") if name.startswith(above)]
