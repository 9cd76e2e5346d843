"""The models, the JSON Schema made of them, and the shipped topologies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.topology.conftest import Load, Problems
from zmqfl.config import CellConfig
from zmqfl.errors import TopologyError, TopologyErrors
from zmqfl.topology import Topology, load
from zmqfl.topology.schema import json_schema

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "topologies").glob("*.yaml"))
MINIMAL = "version: 1\nname: fl\nsites: {server: {}}\n"


def test_defaults_are_those_of_the_cell(load_text: Load) -> None:
    assert load_text(MINIMAL).cell_config() == CellConfig()


def test_timing_and_settings_reach_the_cell(load_text: Load) -> None:
    timing = "timing: {heartbeat: 1, dead_after: 4, reconnect: [0.5, 60], drain: 3}\n"
    topology = load_text(MINIMAL + timing + "settings: {segment: 65536, request_timeout: 60}")
    assert topology.cell_config() == CellConfig(
        heartbeat=1,
        dead_after=4,
        reconnect_min=0.5,
        reconnect_max=60,
        drain=3,
        segment=65536,
        request_timeout=60,
    )


def test_a_topology_is_frozen(load_text: Load) -> None:
    with pytest.raises(ValidationError):
        load_text(MINIMAL).name = "other"


def test_errors_of_a_file_read_like_the_first(problems: Problems, load_text: Load) -> None:
    with pytest.raises(TopologyErrors) as caught:
        load_text("version: 2\nname: FL\nsites: {s: {}}")
    assert isinstance(caught.value, TopologyError)
    assert str(caught.value) == "t.yaml:1: version: must be 1, not 2 (and 1 more)"
    assert [error.field for error in caught.value.errors] == ["version", "name"]
    assert (caught.value.file, caught.value.line_number, caught.value.field) == ("t.yaml", 1, "version")


def test_the_environment_is_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.yaml").write_text(MINIMAL.replace("fl", "${FEDERATION}"))
    monkeypatch.setenv("FEDERATION", "from-outside")
    assert load(tmp_path / "t.yaml").name == "from-outside"


def test_the_committed_schema_is_that_of_the_models() -> None:
    committed = json.loads((ROOT / "conf/topology.schema.json").read_text())
    assert committed == json_schema(), "write it again: make docs"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_topology_fits_the_schema(path: Path) -> None:
    errors = schema_errors(yaml.safe_load(path.read_text()))
    assert errors == []
    assert isinstance(load(path), Topology)
    assert path.read_text().startswith("# yaml-language-server: $schema=../conf/topology.schema.json\n")


def test_the_schema_refuses_what_the_models_refuse() -> None:
    wrong = {"version": 2, "name": "F", "sites": {"s": {"cuont": 1}}, "settings": {"x": 1}, "launchers": {"a": {}}}
    assert {path for path, _ in schema_errors(wrong)} == {"version", "name", "sites.s", "settings", "launchers.a"}


def schema_errors(document: Any) -> list[tuple[str, str]]:
    import jsonschema

    validator = jsonschema.Draft202012Validator(json_schema())
    return [(".".join(map(str, error.path)), error.message) for error in validator.iter_errors(document)]


def test_there_are_topologies() -> None:
    assert {path.stem for path in SHIPPED} >= {"pair", "quickstart", "relay-tree", "secure-star", "hospitals"}
