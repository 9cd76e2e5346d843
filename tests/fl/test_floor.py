"""Each module of the fl floor has its tests and its line; a process of a run imports nothing that it may not need."""

from __future__ import annotations

from pathlib import Path

import zmqfl.fl
from tests.test_init import modules_after

MODULES = [file.stem for file in sorted(Path(next(iter(zmqfl.fl.__path__))).glob("*.py")) if file.stem != "__init__"]
NEEDS_NUMPY = {"fedavg", "model_persistor", "weighted_mean"}


def test_each_module_has_its_tests_and_its_line_in_the_docstring() -> None:
    for module in MODULES:
        assert (Path(__file__).parent / f"test_{module}.py").exists(), module
        assert f"\n    {module} " in str(zmqfl.fl.__doc__), module


def test_runners_import_nothing_big() -> None:
    code = "; ".join(f"import zmqfl.fl.{module}" for module in MODULES if module not in NEEDS_NUMPY)
    names = {name.split(".")[0] for name in modules_after(code)}
    assert not names & {"numpy", "pydantic", "blosc2", "rich", "typer", "yaml", "cryptography"}
