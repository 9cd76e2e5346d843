"""Channels by the command line, between real processes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.federation import until
from tests.system.launching import CommandLine, command_line
from tests.system.test_transfers_cli import told, up, verb


@pytest.fixture
def zmqfl(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    with command_line(tmp_path_factory.getbasetemp()) as zmqfl:
        monkeypatch.setenv("ZMQFL_RUN_DIR", str(zmqfl.run_dir))  # for `verb`
        monkeypatch.chdir(tmp_path)
        yield zmqfl


def test_channels_by_the_command_line(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path)
    (tmp_path / "key").write_text("open sesame\n")
    owner = zmqfl.start("channel", "create", "c")
    hidden = zmqfl.start("channel", "create", "hidden", "--key", tmp_path / "key")
    until(lambda: [row["name"] for row in told("channel", "ls")] == ["c"])
    reader = zmqfl.start("channel", "sub", "c", "--count", "3", "--items", "0", "--policy", "wait", "--json")
    verb("channel", "pub", "c", "1", '{"a": [2]}', '"three"')
    out, _ = reader.communicate(timeout=30)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["value"] for line in lines] == [1, {"a": [2]}, "three"]
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert "c " in verb("channel", "ls")
    found = told("channel", "info", "c")
    assert (found["offered"], found["readers"], found["writers"]) == (3, 0, 0)
    assert "3 items" in verb("channel", "info", "c")

    for arguments, status, said in (
        ("channel info nothing", 2, "CHANNEL: server has no channel 'nothing', or it is private and the key is wrong"),
        ("channel sub hidden", 2, "or it is private; give its key; look at `zmqfl channel ls`"),
        ("channel pub c 1 --create", 2, "there is a channel 'c' at server already; choose another name"),
        ("channel pub c 1 --timeout 0.2", 3, "nobody reads channel 'c', or takes nothing, for 0.2 s"),
        ("channel ls --broker site-9", 3, "site-9"),
    ):  # fmt: skip
        line = verb(*arguments.split(), status=status)
        assert said in line
        assert len(line.splitlines()) == 1

    reader = zmqfl.start("channel", "sub", "c")
    until(lambda: told("channel", "info", "c")["readers"] == 1)
    for process in owner, hidden:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 130
    out, _ = reader.communicate(timeout=30)
    assert "channel 'c' has ended: its owner" in out
    assert reader.returncode == 0
    assert told("channel", "ls") == []
    zmqfl("down")
