"""The verbs are all there, and each imports what it needs and no more: a person waits for all of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from zmqfl.cli.main import VERBS, app

CELL = {"zmqfl.cell.cell", "zmq", "numpy"}
TOPOLOGY = {"yaml", "zmqfl.topology"}  # typer itself imports pydantic


def imported_for(verb: str) -> set[str]:
    code = f"""
import json, sys
from zmqfl.cli.main import app
try:
    app(["{verb}", "--help"])
except SystemExit as end:
    assert end.code == 0
print(json.dumps(list(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_its_help(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "--help"], prog_name="zmqfl")
    assert result.exit_code == 0
    assert f"Usage: zmqfl {verb} " in result.output


def test_the_help_lists_all_verbs_with_a_line_each() -> None:
    lines = CliRunner().invoke(app, ["--help"], prog_name="zmqfl", env={"COLUMNS": "200"}).output.splitlines()
    told = {words[1]: words[2] for line in lines if len(words := line.split()) > 3}
    assert [verb for verb in VERBS if not told.get(verb, "").istitle()] == []


def test_what_only_looks_at_the_launcher_imports_neither_cells_nor_topologies() -> None:
    assert not imported_for("down") & (CELL | TOPOLOGY)


def test_what_asks_the_network_needs_no_topology() -> None:
    assert not imported_for("request") & TOPOLOGY


def test_up_needs_no_cell_before_the_first_site_is_on_its_way() -> None:
    modules = imported_for("up")
    assert TOPOLOGY - modules == set()
    assert not modules & CELL
