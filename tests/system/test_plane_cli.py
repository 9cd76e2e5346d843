"""Props and announcements by the command line, in a federation of real processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.federation import LONG, until
from tests.system.launching import CommandLine, command_line, read_until
from tests.system.test_transfers_cli import interrupted, told, up, verb


@pytest.fixture
def zmqfl(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    with command_line(tmp_path_factory.getbasetemp()) as zmqfl:
        monkeypatch.setenv("ZMQFL_RUN_DIR", str(zmqfl.run_dir))  # for `verb`
        monkeypatch.chdir(tmp_path)
        yield zmqfl


def lines(process: subprocess.Popen[str], number: int) -> list[dict[str, Any]]:
    """The next lines of JSON that it prints."""
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(number)]


def test_props(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path)
    assert verb("props", "list") == "nobody has set a prop\n"
    assert told("props", "set", "state", "ready: yes", "--text") == {
        "site": "server", "key": "state", "value": "ready: yes",
    }  # fmt: skip
    watching = zmqfl.start("props", "watch", "--json")
    assert [each["key"] for each in lines(watching, 1)] == ["state"]  # what is set already
    assert verb("props", "set", "round", -1, "--site", "site-1") == "site-1: round = -1\n"
    assert verb("props", "set", "round", 3, "--site", "site-1") == "site-1: round = 3\n"
    assert told("props", "list") == {"server": {"state": "ready: yes"}, "site-1": {"round": 3}}
    assert [line.split() for line in verb("props", "list", "site-1").splitlines()] == [
        ["SITE", "KEY", "VALUE"],
        ["site-1", "round", "3"],
    ]
    assert verb("props", "get", "site-1", "round") == "3\n"
    assert told("props", "get", "server", "state") == {"site": "server", "key": "state", "value": "ready: yes"}
    assert verb("props", "remove", "round", "--site", "site-1") == "site-1: round is set no more\n"
    assert told("props", "list", "site-1") == {"site-1": {}}
    assert [(each["site"], each["key"], each["value"]) for each in lines(watching, 3)] == [
        ("site-1", "round", -1), ("site-1", "round", 3), ("site-1", "round", None),
    ]  # fmt: skip

    mistakes: list[tuple[list[str], int, str]] = [
        (["get", "site-1", "round"], 1, "zmqfl: site-1: it has no prop 'round'; there is none\n"),
        (["get", "server", "stat"], 1, "zmqfl: server: it has no prop 'stat'; did you mean 'state'?\n"),
        (["get", "site-9", "round"], 2, "SITE: there is no cell 'site-9' in this federation; did you mean 'site-"),
        (["watch", "site-9"], 2, "SITE: there is no cell 'site-9' in this federation; did you mean 'site-"),
        (["list", "site-9"], 2, "SITE: there is no cell 'site-9' in this federation; did you mean 'site-"),
        (["set", "round", "1", "--site", "site-9"], 2, "federation 'star' has no site 'site-9' here; did you mean 'si"),
        (["remove", "stats"], 1, "zmqfl: server: it has no prop 'stats'; did you mean 'state'?\n"),
    ]
    for arguments, status, expected in mistakes:
        said = verb("props", *arguments, status=status)
        assert expected in said
        assert len(said.splitlines()) == 1

    for key in ("round", "loss"):
        verb("props", "set", key, "[0.5, 0.25]", "--site", "site-2")
    only = zmqfl.start("props", "watch", "site-2", "--key", "loss")
    assert read_until(only, "loss")[9:] == "site-2: loss = [0.5, 0.25]\n"
    zmqfl("down", "site-2")
    assert read_until(only, "loss")[9:] == "site-2: loss is set no more\n"  # a prop ends with its site
    zmqfl("down")
    assert only.wait(LONG) == 0, "it ends with the federation"
    assert watching.wait(LONG) == 0


def test_announcements(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path)
    model, here = tmp_path / "model.pt", tmp_path / "here"
    model.write_bytes(b"m" * 3_000_000)
    (tmp_path / "notes").write_text("42")
    assert verb("announcements") == "nothing is announced now\n"
    assert verb("announcements", "models") == "nothing is announced to models now\n"
    assert verb("announcements", "models", "--pull", here) == ""

    other = verb("share", tmp_path / "notes", "--announce", "notes").strip()
    watching = zmqfl.start("announcements", "--watch", "--json")
    assert [each["reference"] for each in lines(watching, 1)] == [other]
    reference = verb("share", model, "--announce", "models", "--site", "site-1").strip()
    (row,) = told("announcements", "models")
    assert row == {
        "group": "models", "name": "model.pt", "size": 3_000_000, "kind": "file", "owner": "site-1",
        "reference": reference,
    }  # fmt: skip
    assert [line.split() for line in verb("announcements").splitlines()] == [
        ["GROUP", "NAME", "SIZE", "KIND", "REFERENCE"],
        ["models", "model.pt", "3.00", "MB", "file", reference],
        ["notes", "notes", "2", "B", "file", other],
    ]
    said = verb("announcements", "models", "--pull", here)
    assert said[9:] == f"{here}/model.pt: 3.00 MB from site-1\n"
    assert (here / "model.pt").read_bytes() == model.read_bytes()
    assert verb("announcements", "models", "--pull", here) == ""  # once
    verb("unshare", reference)
    until(lambda: told("announcements", "models") == [])
    assert [(each["reference"], each["is_live"]) for each in lines(watching, 2)] == [
        (reference, True),
        (reference, False),
    ]

    pulling = zmqfl.start("announcements", "notes", "--watch", "--pull", here)
    assert f"{here}/notes: 2 B from server\n" in read_until(pulling, "notes")
    later = told("share", model, "--announce", "notes")
    assert later["announced"] == "notes"
    assert f"{here}/model-1.pt: 3.00 MB from server\n" in read_until(pulling, "model-1.pt")
    assert interrupted(pulling) == ""
    assert {file.name for file in here.iterdir()} == {"model.pt", "model-1.pt", "notes", ".pulled"}

    bound = told("share", model, "--announce", "models", "--to", "site-1")
    assert (bound["announced"], told("announcements", "models")) == ("models", [])  # it is for site-1 alone
    zmqfl("down")
    assert watching.wait(LONG) == 0


def test_what_cannot_be_pulled_is_told(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path)
    (tmp_path / "model.pt").write_text("1")
    verb("share", tmp_path / "model.pt", "--announce", "models")
    (tmp_path / "model.pt").write_text("longer")
    said = verb("announcements", "models", "--pull", tmp_path / "here", status=1)
    assert said.startswith("zmqfl: server: model.pt: ")
    assert len(said.splitlines()) == 1
    (tmp_path / "here/.pulled").mkdir()
    said = verb("announcements", "models", "--pull", tmp_path / "here", status=2)
    assert said == f"zmqfl: {tmp_path}/here/.pulled: cannot be read: Is a directory; remove it\n"
    zmqfl("down")
