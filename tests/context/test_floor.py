"""The context floor stands on the cell floor, and imports nothing big."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import zmqfl.context

MODULES = sorted(Path(next(iter(zmqfl.context.__path__))).glob("*.py"))
BELOW = {"cell", "config", "context", "errors", "fqcn", "wire"}
HEAVY = {"numpy", "pydantic", "blosc2", "rich", "typer", "yaml", "zmq"}


def imports_of(module: Path) -> set[str]:
    """The dotted names that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_nothing_above_and_nothing_big(module: Path) -> None:
    names = imports_of(module)
    assert {name.split(".")[1] for name in names if name.startswith("zmqfl.")} <= BELOW
    assert not {name.split(".")[0] for name in names} & HEAVY


def test_each_module_has_its_tests_and_its_line_in_the_docstring() -> None:
    for module in MODULES:
        if module.stem != "__init__":
            assert (Path(__file__).parent / f"test_{module.stem}.py").exists(), module.stem
            assert f"\n    {module.stem} " in str(zmqfl.context.__doc__)
