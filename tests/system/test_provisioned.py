"""From a topology to cells that seal: `zmqfl provision`, the plan, the sites; and a revocation while they run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.system.federation import LONG
from zmqfl import Cell
from zmqfl.cli.main import app
from zmqfl.launch import site as site_module
from zmqfl.launch.plan import Plan, check_keys, make_plan
from zmqfl.topology import load

TREE = """
version: 1
name: fl
security: {keys: keys}
timing: {heartbeat: 0.1, dead_after: 1.5}
sites:
  server: {listen: [{bind: 'tcp://127.0.0.1:*'}]}
  site: {parent: server, count: 2}
"""


def provision(folder: Path, *more: str) -> None:
    file = folder / "t.yaml"
    file.write_text(TREE)
    arguments = ["provision", "-t", str(file), "--authority", str(folder / "authority"), "--json", *more]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    provision(tmp_path)
    run_dir = tmp_path / "run"
    run_dir.mkdir(mode=0o700)
    plan = make_plan(load(str(tmp_path / "t.yaml")), run_dir)
    check_keys(plan)
    return plan


@pytest.fixture
def cells(plan: Plan) -> Iterator[dict[str, Cell]]:
    with ExitStack() as stack:
        cells: dict[str, Cell] = {}
        for spec in plan.sites:
            if spec.is_late:
                spec = spec.dialling(cells["server"].urls)
            cells[spec.fqcn] = cell = site_module.open_cell(spec)
            stack.callback(cell.close, 0)
            cell.start()
            assert cell.wait_connected(LONG), cell.refusal
        yield cells


def test_each_site_has_its_own_folder(plan: Plan, tmp_path: Path) -> None:
    for spec in plan.sites:
        assert spec.keys == str(tmp_path / "keys" / spec.fqcn)
        assert all(os.path.exists(file) for file in spec.key_files())


def test_cells_of_a_provisioned_topology_seal(cells: dict[str, Cell]) -> None:
    cells["site-2"].register_request_cb("test", "who", lambda message: [message.origin, message.sealed])
    reply = cells["site-1"].request("site-2", "test", "who", secure=True).result(LONG)
    assert reply.payload == ["site-1", True]


def test_a_revocation_reaches_cells_that_run(cells: dict[str, Cell], plan: Plan, tmp_path: Path) -> None:
    def ask(target: str) -> Any:
        return cells["server"].request(target, "test", "who", secure=True).reply(LONG)

    for name in ("site-1", "site-2"):
        cells[name].register_request_cb("test", "who", lambda message: message.sealed)
        assert ask(name).payload is True
    provision(tmp_path, "--revoke", "site-1")
    (spec,) = [spec for spec in plan.sites if spec.fqcn == "server"]
    site_module._reload_keys(cells["server"], spec)  # what SIGHUP does
    assert not ask("site-1").ok
    assert ask("site-2").payload is True
