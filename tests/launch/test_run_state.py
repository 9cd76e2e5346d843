"""Run folders and what is written down in them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from zmqfl.errors import UserError
from zmqfl.launch import run_state
from zmqfl.launch.process import mark_of
from zmqfl.launch.run_state import RunState, SiteState


def state(folder: Path, name: str = "fl") -> RunState:
    site = SiteState("site-1", "running", 7, "m", 1, 2.5, None)
    me = os.getpid()
    return RunState(name, str(folder), "t.yaml", me, mark_of(me), 1.5, ("server", "ipc:///x"), True, (site,))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert run_state.read(tmp_path) is None
    state(tmp_path).write()
    assert run_state.read(tmp_path) == state(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["_state.json"]


def test_a_supervisor_is_known_by_more_than_its_number(tmp_path: Path) -> None:
    assert state(tmp_path).is_supervised
    assert not replace(state(tmp_path), mark="an earlier process").is_supervised


def test_which_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    assert run_state.run_folder("fl", {"ZMQFL_RUN_DIR": "/r", "XDG_RUNTIME_DIR": "/x"}) == Path("/r/fl")
    assert run_state.run_folder("fl", {"XDG_RUNTIME_DIR": "/x"}) == Path("/x/zmqfl/fl")
    assert run_state.run_folder("fl", {}) == Path("/home/x/.local/state/zmqfl/fl")


def test_the_files_of_sites_are_kept_on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    assert run_state.sites_folder("fl", {"ZMQFL_RUN_DIR": "/r", "XDG_RUNTIME_DIR": "/x"}) == Path("/r/fl/sites")
    assert run_state.sites_folder("fl", {"XDG_RUNTIME_DIR": "/x"}) == Path("/home/x/.local/state/zmqfl/fl/sites")


def test_a_folder_too_long_for_sockets_is_replaced_by_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "/" + "x" * 60
    assert run_state.run_folder("fl", {"XDG_RUNTIME_DIR": long}).name == "fl"
    assert run_state.run_folder("fl", {"XDG_RUNTIME_DIR": long}).parent.name == f"zmqfl-{os.geteuid()}"
    assert run_state.run_folder("fl", {"ZMQFL_RUN_DIR": long}) == Path(long, "fl")  # that was somebody's wish


def test_running(tmp_path: Path) -> None:
    environ = {"ZMQFL_RUN_DIR": str(tmp_path)}
    before = run_state.running(environ)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    for name in ("a", "c"):
        state(tmp_path / name, name).write()
    assert [each.name for each in run_state.running(environ) if each not in before] == ["a", "c"]


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    run_state.make_private(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "a").chmod(0o755)
    with pytest.raises(UserError) as caught:
        run_state.make_private(tmp_path / "a")
    assert caught.value.line().endswith(f"chmod 700 {tmp_path}/a, or set ZMQFL_RUN_DIR to a folder of your own")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot make the run folder"):
        run_state.make_private(tmp_path / "file" / "b")


def test_one_supervisor_at_a_time(tmp_path: Path) -> None:
    with run_state.locked(tmp_path), pytest.raises(UserError, match="runs already"), run_state.locked(tmp_path):
        pass
    with run_state.locked(tmp_path):
        pass


def test_only_logs_stay(tmp_path: Path) -> None:
    for name in ("a.log", "_lock", "a.sock", "a.spec.json", "_state.json", ".new"):
        (tmp_path / name).touch()
    (tmp_path / "keys").mkdir()
    run_state.remove_traces(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"a.log", "_lock"}
