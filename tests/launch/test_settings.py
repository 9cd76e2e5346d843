"""Who wins: command line > environment > the site's file > topology > defaults; and what is refused where."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmqfl.config import CellConfig
from zmqfl.errors import TopologyErrors
from zmqfl.launch.settings import load_settings

CONF = Path(__file__).parents[2] / "conf/zmqfl.yaml"


def test_nothing_given_means_the_defaults() -> None:
    assert load_settings(None, {}) == CellConfig()


def test_the_shipped_file_means_the_defaults() -> None:
    assert load_settings(CONF, {}) == CellConfig()


def test_who_wins(tmp_path: Path) -> None:
    """Five settings, each given by one source more than the one before."""
    topology = CellConfig(heartbeat=2.5, dead_after=21, drain=22, max_hops=23)
    file = tmp_path / "site.yaml"
    file.write_text("dead_after: 31\ndrain: 32\nmax_hops: 33\n")
    environ = {"ZMQFL_DRAIN": "42.5", "ZMQFL_MAX_HOPS": "43", "ZMQFL_SEEDS": "9", "ZMQFL_IO_THREADS": ""}
    settings = load_settings(file, environ, ["max_hops=53"], topology)
    assert settings == CellConfig(heartbeat=2.5, dead_after=31, drain=42.5, max_hops=53)


def test_the_last_override_wins() -> None:
    assert load_settings(None, {}, ["drain=1", "drain=2e1"]).drain == 20


def test_a_file_may_use_variables(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("drain: ${DRAIN:-7}")
    assert load_settings(tmp_path / "site.yaml", {"DRAIN": "8"}).drain == 8


def lines(
    path: Path | None = None, environ: dict[str, str] | None = None, overrides: tuple[str, ...] = ()
) -> list[str]:
    with pytest.raises(TopologyErrors) as caught:
        load_settings(path, environ or {}, overrides)
    return [error.line() for error in caught.value.errors]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("drain: 1\nhartbeat: 1", "2: hartbeat: unknown setting; did you mean 'heartbeat'?"),
        ("drain: 1\nheartbeat: x", "2: heartbeat: must be a number above 0, not 'x'"),
        ("heartbeat: [1]", "1: heartbeat: must be a number above 0, not [1]"),
        ("heartbeat: 1e999", "1: heartbeat: must be a number above 0, not inf"),
        ("segment: 1.5", "1: segment: must be a whole number, not 1.5"),
        ("a: b: c", "1: is not valid YAML: mapping values are not allowed here; mend the syntax there"),
    ],
)
def test_a_mistake_in_the_file(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    assert lines(path) == [f"{path}:{line}"]


def test_a_mistake_in_the_environment() -> None:
    assert lines(environ={"ZMQFL_HEARTBEAT": "fast"}) == [
        "environment: ZMQFL_HEARTBEAT: must be a number above 0, not 'fast'"
    ]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("hartbeat=1", "--set hartbeat=1: hartbeat: unknown setting; did you mean 'heartbeat'?"),
        ("heartbeat", "--set heartbeat: heartbeat: must be a number above 0, not ''"),
        ("heartbeat=nan", "--set heartbeat=nan: heartbeat: must be a number above 0, not 'nan'"),
        ("heartbeat=1_0", "--set heartbeat=1_0: heartbeat: must be a number above 0, not '1_0'"),
        ("heartbeat=-1", "--set heartbeat=-1: heartbeat: must be a number above 0, not -1"),
    ],
)
def test_a_mistake_on_the_command_line(override: str, line: str) -> None:
    assert lines(overrides=(override,)) == [line]


def test_an_unknown_name_that_is_near_to_none() -> None:
    (line,) = lines(overrides=("q=1",))
    assert line.startswith("--set q=1: q: unknown setting; there is: heartbeat, dead_after, ")


def test_all_unknown_names_are_told() -> None:
    assert len(lines(overrides=("x=1", "y=1"))) == 2


def test_a_conflict_with_what_was_not_given_here() -> None:
    assert lines(overrides=("heartbeat=30",)) == [
        "settings: dead_after: 10.0 s is shorter than a heartbeat (30 s); give at least two heartbeats"
    ]
