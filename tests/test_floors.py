"""The floors of docs/architecture.md hold, their contracts bite, and `import zmqfl` stays light."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HEAVY = {"blosc2", "pydantic", "rich", "typer", "yaml"}
"""Imported where first used; blosc2 alone costs 24 MiB."""

VIOLATIONS = {
    "a lower floor imports a higher one": ("floors", "wire/offence.py", "import zmqfl.cell"),
    "also only for types": (
        "floors",
        "protocol/offence.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import zmqfl.transport",
    ),
    "a module without a floor": ("floors", "offence.py", ""),
    "a machine reads the clock": ("sans-io", "protocol/offence.py", "from time import monotonic"),
    "a machine takes a path": ("sans-io", "protocol/offence.py", "from pathlib import Path"),
    "the codec opens a socket": ("sans-io", "wire/offence.py", "def late():\n    import socket"),
    "a cell touches zmq": ("sockets", "cell/offence.py", "from zmq import Context"),
    "the package touches zmq": ("sockets", "__init__.py", "import zmq"),
}


def lint(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Check the contracts of pyproject.toml on the package in `folder`."""
    program = Path(sys.executable).with_name("lint-imports")
    command: list[str | Path] = [program, "--no-cache", "--config", ROOT / "pyproject.toml", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_contracts_are_kept() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize("what", VIOLATIONS)
def test_a_violation_is_caught(tmp_path: Path, what: str) -> None:
    contract, module, code = VIOLATIONS[what]
    shutil.copytree(ROOT / "zmqfl", tmp_path / "zmqfl", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "zmqfl" / module).write_text(code)
    result = lint(tmp_path, "--contract", contract)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 broken" in result.stdout


def test_import_zmqfl_is_light() -> None:
    code = "import json, sys, zmqfl; print(json.dumps(list(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(json.loads(result.stdout))
