"""The files of a site: its inbox, its exports, its folder."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.launch.test_site import up
from tests.system.federation import LONG
from tests.system.launching import CommandLine, read_until


def test_an_inbox_in_the_work_folder(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, "tests.launch.runs:tell_folder", f"    work: {tmp_path}/w\n")
    folder = tmp_path / "w/site-1"
    assert zmqfl.json("request", "site-1", "test:folder")["payload"] == str(folder)
    assert not folder.exists()  # it is made when something comes
    (tmp_path / "model.pt").write_text("new")
    for arrived in ("model.pt", "model-1.pt"):
        told = zmqfl.json("push", tmp_path / "model.pt", "--to", "site-1")["files"][0]["sites"]
        assert told == {"site-1": {"code": "ok", "reason": "", "name": arrived}}
        assert (folder / "inbox" / arrived).read_text() == "new"
    assert (folder / "inbox").stat().st_mode & 0o777 == 0o700
    assert "model.pt of server.admin-" in zmqfl("logs", "site-1")
    zmqfl("down")
    assert {file.name for file in folder.rglob("*") if file.is_file()} == {"model.pt", "model-1.pt"}


def test_the_default_is_in_the_folder_of_the_federation(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, "tests.launch.runs:tell_folder")
    assert zmqfl.json("request", "site-1", "test:folder")["payload"] == str(zmqfl.run_dir / "fl/sites/site-1")
    zmqfl("down")
    zmqfl.assert_nothing_left()


def test_a_folder_that_cannot_be_made_refuses_the_push(zmqfl: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "w").write_text("no folder")
    up(zmqfl, tmp_path, "tests.launch.runs:tell_folder", f"    work: {tmp_path}/w\n")
    said = zmqfl("push", tmp_path / "fl.yaml", "--to", "site-1", status=1)
    assert said == "zmqfl: site-1: fl.yaml: inbox: its folder is no folder; name a folder\n"
    zmqfl("down")


def test_a_program_has_them_too(zmqfl: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x").write_text("x")
    up(zmqfl, tmp_path, f"{sys.executable} -m tests.launch.runs", f"    exports: [{tmp_path}/out]\n")
    zmqfl("push", tmp_path / "fl.yaml", "--to", "site-1")
    assert (zmqfl.run_dir / "fl/sites/site-1/inbox/fl.yaml").read_bytes() == (tmp_path / "fl.yaml").read_bytes()
    zmqfl("pull", "site-1:x", "--to", tmp_path)
    assert (tmp_path / "x").read_text() == "x"
    zmqfl("down")


def test_who_joins_by_itself_says_where(zmqfl: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    up(zmqfl, tmp_path, "tests.launch.runs:double")
    url = zmqfl.state()["door"][1]
    plain = zmqfl.start("join", url, "--name", "plain")
    read_until(plain, "connected to server")
    said = zmqfl("push", tmp_path / "x", "--to", "plain", "--timeout", 1, status=1)
    assert said == "zmqfl: plain: x: nobody consumes 'files' there; sites consume 'files', others what they register\n"
    ready = zmqfl.start("join", url, "--name", "ready", "--work", tmp_path / "w", "--export", tmp_path)
    read_until(ready, "connected to server")
    zmqfl("push", tmp_path / "x", "--to", "ready")
    assert (tmp_path / "w/ready/inbox/x").read_text() == "x"
    assert zmqfl.json("pull", "ready:fl.yaml", "--to", tmp_path / "w")["path"] == f"{tmp_path}/w/fl.yaml"
    for joined in (plain, ready):
        joined.terminate()
        assert joined.wait(LONG) == 0
    zmqfl("down")
