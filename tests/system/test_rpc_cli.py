"""Methods of sites that are called from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.federation import until
from tests.system.launching import CommandLine, command_line
from tests.system.test_transfers_cli import interrupted, told, up, verb


@pytest.fixture
def zmqfl(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    with command_line(tmp_path_factory.getbasetemp()) as zmqfl:
        monkeypatch.setenv("ZMQFL_RUN_DIR", str(zmqfl.run_dir))
        monkeypatch.chdir(tmp_path)
        yield zmqfl


def running(method: str) -> int:
    """Calls of a method that site-1 serves now."""
    statistics = told("request", "site-1", "_rpc_ask:statistics", '""')["payload"]
    count: int = statistics[method]["running"]
    return count


def test_ls_and_call(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, "sites.site-1.run=tests.rpc.published:run")
    lines = verb("rpc", "ls", "site-1").splitlines()
    assert lines[0].split() == ["METHOD", "WHAT", "IT", "DOES"]
    assert "add(a: int, b: int = 3) -> int" in lines[2]
    assert "Add two numbers." in lines[2]
    found = {each["path"]: each for each in told("rpc", "ls", "site-1")}
    assert found["trig.half"]["signature"] == "(x: float) -> float"
    assert [path for path, each in found.items() if each["is_stream"]] == ["acount", "count"]
    assert [each["path"] for each in told("rpc", "ls", "site-1", "--service", "trig")] == ["half"]

    assert json.loads(verb("rpc", "call", "site-1.add", "1", "b=2", "--tto", "10")) == 3
    assert json.loads(verb("rpc", "call", "site-1.trig.half", "3")) == 1.5
    assert json.loads(verb("rpc", "call", "site-1.my_echo", "--text", "HALLO")) == ["MY ECHO", "HALLO"]
    assert verb("rpc", "call", "site-1.count", "3") == "0\n1\n2\n"
    assert told("rpc", "call", "site-1.none") == {"value": None}
    (tmp_path / "args").write_text('{"a": [1]}')
    assert told("rpc", "call", "site-1.my_echo", "@args")["value"] == ["MY ECHO", {"a": [1]}]
    assert json.loads(verb("rpc", "call", "site-1.half", "1", "--service", "trig")) == 0.5

    mistakes: list[tuple[str, int, str]] = [
        (
            "rpc call site-1.add",
            2,
            "ARGS: missing a required argument: 'a'; it is add(a: int, b: int = 3) -> int; look",
        ),
        ("rpc call site-1.ad 1", 1, "site-1: invalid_request: ad is not published, or not to this cell; did you mean"),
        ("rpc call site-1.trig 1", 1, "trig is a part, with methods of its own"),
        ('rpc call site-1.fail "value"', 1, "site-1: fail: ValueError: no such layer"),
        ('rpc call site-1.fail "own"', 1, "site-1: fail: tests.rpc.published.NotADecimalError: x"),
        ("rpc call site-1.hold --tto 0.1", 3, "site-1: timeout: hold took longer than 0.1 s"),
        ("rpc call site-9.add 1", 3, "no cell of that name is there: 'site-9'; look at `zmqfl cells`"),
        ("rpc ls site-9", 3, "server has no route to site-9; look at `zmqfl cells`"),
        ("rpc ls site-2", 1, "site-2: service_unavailable: it publishes nothing (no callback is"),
        ("rpc ls site-1 --service no", 1, "site-1 publishes nothing under the name 'no'"),
    ]
    for line, status, text in mistakes:
        (said,) = verb(*line.split(), status=status).splitlines()
        assert text in said, line

    holding = zmqfl.start("rpc", "call", "site-1.hold", "--tto", "1000")
    until(lambda: running("hold") == 1)
    interrupted(holding)
    until(lambda: running("hold") == 0)
    zmqfl("down")
    zmqfl.assert_nothing_left()
