"""Containers and arrays moved by the command line between real processes: what arrives, what is said, what is left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.system.federation import until
from tests.system.launching import CommandLine, command_line
from tests.system.object_runs import CONTAINERS
from tests.system.test_transfers_cli import TWO, arrived, interrupted, told, up, verb

GIVE = "sites.site-1.run=tests.system.object_runs:give"
TAKE = "sites.site-2.run=tests.system.object_runs:take"


@pytest.fixture
def zmqfl(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    with command_line(tmp_path_factory.getbasetemp()) as zmqfl:
        monkeypatch.setenv("ZMQFL_RUN_DIR", str(zmqfl.run_dir))  # for `verb`
        monkeypatch.chdir(tmp_path)
        yield zmqfl


def arrays(path: Path | str) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def held(begun: int, gave_up: int) -> None:
    """Wait until so many have had to wait at site-1, and so many of them do no longer."""
    until(lambda: told("request", "site-1", "test:held")["payload"] == [begun, gave_up])


def test_retrieve(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, GIVE)
    here = tmp_path / "here"
    said = verb("retrieve", "site-1", "model", "-o", here / "m.npz")
    assert said.startswith(f"{here}/m.npz: 3 entries, 4.00 MB from site-1; ")
    found = arrays(here / "m.npz")
    assert np.array_equal(found["weights"], CONTAINERS["model"]["weights"])
    assert (found["bias"].dtype, found["bias"].item(), found["round"].item()) == (np.float32, 0.5, 3)

    assert told("retrieve", "site-1", "empty")["name"] == "empty.npz"  # in this folder
    assert arrays("empty.npz") == {}
    again = told("retrieve", "site-1", "model", "-o", here / "m.npz", "--force")
    assert (again["entries"], again["site"]) == (["weights", "bias", "round"], "site-1")

    mistakes: list[tuple[str, int, str]] = [
        ("retrieve site-1 nothing", 1, "site-1: nothing: no container is called 'nothing' there; `add_container`"),
        ("retrieve site-1 mixed", 1, "site-1: mixed: entry 'names' is a list; only arrays and numbers can be in"),
        ("retrieve site-1 rows", 1, "site-1: rows: is a list, and an .npz holds arrays by name; have it made a dict"),
        ("retrieve site-1 broken", 1, "site-1: broken: entry 'lock' of the dict cannot be sent"),
        ("retrieve site-1 model --topic other", 1, "site-1: model: no program there has a ContainerRetriever with"),
        ("retrieve site-2 model", 1, "site-2: model: no program there has a ContainerRetriever with topic 'Container"),
        ("retrieve site-9 model", 2, "SITE: there is no cell 'site-9' in this federation; did you mean 'site-"),
        ("retrieve site-1 model -o here/m.npz", 2, "here/m.npz: exists already; replace it by --force, or choose"),
        ("retrieve site-1 model --topic held --timeout 0.3", 3, "site-1: model: nothing has come for 0.3 s; look at"),
    ]  # fmt: skip
    for arguments, status, expected in mistakes:
        said = verb(*arguments.split(), status=status)
        assert expected in said
        assert len(said.splitlines()) == 1
    assert sorted(os.listdir(here)) == ["m.npz"]
    zmqfl("down")


def test_ctrl_c_in_a_retrieve(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, GIVE)
    process = zmqfl.start("retrieve", "site-1", "model", "--topic", "held", "-o", tmp_path / "m.npz")
    held(1, 0)
    assert interrupted(process) == "zmqfl: interrupted: nothing was kept\n"
    held(1, 1)
    assert not (tmp_path / "m.npz").exists()
    zmqfl("down")


def test_push_npz(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, TAKE)
    model = tmp_path / "best model.npz"
    np.savez(model, weights=np.arange(300_000.0), bias=np.float32(0.5))
    table = verb("push", "--npz", model, *TWO).splitlines()
    assert [line.split()[:5] for line in table[1:]] == [
        ["best", "model.npz", site, "best", "model.npz"] for site in ("site-1", "site-2")
    ]
    folder = zmqfl.run_dir / "star/sites"
    assert arrived(zmqfl) == ["site-1/inbox/best model.npz", "site-2/inbox/best model.npz"]
    expected = arrays(model)
    for file in folder.rglob("*.npz"):
        found = arrays(file)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[key], value) and found[key].dtype == value.dtype
                   for key, value in expected.items())  # fmt: skip

    again = told("push", "--npz", model, "--to", "site-1")
    assert (again["topic"], again["files"][0]["sites"]["site-1"]["name"]) == ("objects", "best model-1.npz")
    taken = told("push", "--npz", model, "--to", "site-2", "--topic", "models")
    assert taken["files"][0]["sites"]["site-2"]["name"] == "in memory"
    sums = {key: float(value.sum()) for key, value in expected.items()}
    assert told("request", "site-2", "test:taken")["payload"] == [sums]

    both = told("push", tmp_path / "star.yaml", "--npz", model, "--to", "site-1")
    assert [each["sites"]["site-1"]["name"] for each in both["files"]] == ["star.yaml", "best model-2.npz"]
    said = verb("push", "--npz", model, "--to", "site-1", "--topic", "models", "--timeout", "0.5", status=1)
    assert said == (
        "zmqfl: site-1: best model.npz: nobody consumes 'models' there; "
        "sites consume 'objects', others what they register\n"
    )
    zmqfl("down")


def test_a_disk_that_takes_no_more_is_named(zmqfl: CommandLine, tmp_path: Path) -> None:
    run = f"sh -c 'ulimit -f 1024; exec {sys.executable} -m tests.launch.runs'"
    up(zmqfl, tmp_path, f"sites.site-2.run={run}")
    np.savez(tmp_path / "model.npz", weights=np.arange(1_000_000.0))
    said = verb("push", "--npz", tmp_path / "model.npz", "--to", "site-2", status=1)
    assert "site-2: model.npz: model.npz.part: is larger than a file may be here; raise `ulimit -f`" in said
    until(lambda: arrived(zmqfl) == [])
    zmqfl("down")
