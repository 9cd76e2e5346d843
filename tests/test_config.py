"""`CellConfig` refuses what cannot work, and conf/zmqfl.yaml shows all of it."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, asdict, fields
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import yaml

from zmqfl.config import MAX_HOPS, CellConfig
from zmqfl.errors import TopologyError
from zmqfl.wire.codec import MAX_ROUTE

FILE = Path(__file__).parents[1] / "conf/zmqfl.yaml"

UNITS = r"\b(Seconds|Bytes|Threads|Links|Requests|libzmq threads)\b"


def test_the_file_holds_every_field_with_its_default() -> None:
    shown = yaml.safe_load(FILE.read_text())
    assert shown == asdict(CellConfig())


@pytest.mark.parametrize("name", [field.name for field in fields(CellConfig)])
def test_each_field_tells_its_unit_and_reason(name: str) -> None:
    comment = re.search(rf"((?:^#.*\n)+){name}: ", FILE.read_text(), re.MULTILINE)
    assert comment is not None, f"{name} has no comment above it"
    assert re.search(UNITS, comment[1]), f"{name}: no unit in {comment[1]!r}"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"heartbeat": 0}, "heartbeat: must be a number above 0, not 0"),
    ({"heartbeat": -1.5}, "heartbeat: must be a number above 0, not -1.5"),
    ({"heartbeat": "2"}, "heartbeat: must be a number above 0, not '2'"),
    ({"heartbeat": True}, "heartbeat: must be a number above 0, not True"),
    ({"heartbeat": None}, "heartbeat: must be a number above 0, not None"),
    ({"drain": nan}, "drain: must be a number above 0, not nan"),
    ({"drain": inf}, "drain: must be a number above 0, not inf"),
    ({"segment": 1.5}, "segment: must be a whole number, not 1.5"),
    ({"relay_cache": -1}, "relay_cache: must be a number of 0 or more, not -1"),
    ({"reconnect_min": 11}, "reconnect_max: must not be below reconnect_min"),
    ({"dead_after": 1}, "dead_after: 1 s is shorter than a heartbeat (2.0 s); give at least two heartbeats"),
    ({"segment": 1024}, "control_limit: must not be above segment"),
]


@pytest.mark.parametrize(("values", "line"), BAD, ids=[line for _, line in BAD])
def test_a_wrong_value_is_refused_when_it_is_made(values: dict[str, Any], line: str) -> None:
    with pytest.raises(TopologyError) as caught:
        CellConfig(**values)
    assert caught.value.line() == line


def test_a_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        CellConfig().drain = 1  # type: ignore[misc]


def test_whole_numbers_are_good_seconds() -> None:
    assert CellConfig(heartbeat=1, dead_after=1) == CellConfig(heartbeat=1.0, dead_after=1.0)


def test_a_route_can_name_as_many_cells_as_hops_are_allowed() -> None:

    assert CellConfig(max_hops=MAX_HOPS).max_hops == MAX_ROUTE
    with pytest.raises(TopologyError, match="max_hops: must not be above 64"):
        CellConfig(max_hops=MAX_HOPS + 1)
