"""Files moved by the command line between real processes: what arrives, what is said, what is left."""

from __future__ import annotations

import filecmp
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.system.federation import LONG, until
from tests.system.launching import CommandLine, command_line
from zmqfl.cli.main import app

BIG = 256 << 20
"""Bytes of a file that takes long enough to be interrupted in the middle; it has holes, and is quick to make."""
STAR = """\
version: 1
name: star
timing: {heartbeat: 0.2, dead_after: 2, reconnect: [0.02, 0.2], drain: 2}
defaults: {restart: {policy: never}}
sites:
  server: {}
  site-1: {parent: server, exports: [EXPORTS]}
  site-2: {parent: server}
"""
TWO = ["--to", "site-1,site-2"]


@pytest.fixture
def zmqfl(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    with command_line(tmp_path_factory.getbasetemp()) as zmqfl:
        monkeypatch.setenv("ZMQFL_RUN_DIR", str(zmqfl.run_dir))  # for `verb`
        yield zmqfl


def verb(*arguments: object, status: int = 0) -> str:
    """Run a verb in this process, which is quicker; returns what it prints. The exit status must be as expected."""
    result = CliRunner().invoke(app, [str(each) for each in arguments], prog_name="zmqfl")
    assert result.exit_code == status, result.output
    return result.stdout if status == 0 else result.stderr


def told(*arguments: object) -> Any:
    return json.loads(verb(*arguments, "--json"))


def up(zmqfl: CommandLine, folder: Path, *changes: str) -> None:
    (folder / "out").mkdir()
    (folder / "here").mkdir()
    (folder / "star.yaml").write_text(STAR.replace("EXPORTS", str(folder / "out")))
    zmqfl("up", "-d", folder / "star.yaml", *(part for change in changes for part in ("--set", change)))


def arrived(zmqfl: CommandLine) -> list[str]:
    """What is in the inboxes, parts included."""
    base = zmqfl.run_dir / "star/sites"
    return sorted(str(file.relative_to(base)) for file in base.rglob("*") if file.is_file())


def moving(kind: str) -> list[dict[str, Any]]:
    return [row for row in told("transfers")["transfers"] if row["kind"] == kind]


def interrupted(process: subprocess.Popen[str]) -> str:
    """What a verb says after Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=LONG)
    assert process.returncode == 130, said
    return said


def test_push_share_pull(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path)
    model, here = tmp_path / "model.pt", tmp_path / "here"
    model.write_bytes(os.urandom(3_000_000))
    (tmp_path / "notes").write_text("")

    said = verb("push", model, tmp_path / "notes", *TWO).splitlines()
    assert [line.split()[:3] for line in said] == [
        ["FILE", "SITE", "ARRIVED"],
        *([name, site, name] for name in ("model.pt", "notes") for site in ("site-1", "site-2")),
    ]  # fmt: skip
    pushed = told("push", model, "--to", "site-2")
    assert (pushed["ok"], pushed["files"][0]["size"], pushed["files"][0]["sites"]["site-2"]["name"]) == (
        True, 3_000_000, "model-1.pt",
    )  # fmt: skip
    expected = ["site-1/inbox/model.pt", "site-1/inbox/notes"]
    assert arrived(zmqfl) == [*expected, "site-2/inbox/model-1.pt", "site-2/inbox/model.pt", "site-2/inbox/notes"]

    reference = verb("share", model).strip()
    assert verb("pull", reference, "--to", here).startswith(f"{here}/model.pt: 3.00 MB from server; ")
    assert filecmp.cmp(model, here / "model.pt", shallow=False)
    taken = f"zmqfl: {here}/model.pt: exists already; replace it by --force, or choose another --name\n"
    assert verb("pull", reference, "--to", here, status=2) == taken
    assert told("pull", reference, "--to", here, "--force")["fetched"] == 3_000_000
    assert told("pull", reference, "--to", here, "--name", "mine")["name"] == "mine"
    assert "WHAT" in verb("transfers")
    assert [(row["site"], row["name"]) for row in moving("offer")] == [("server", "model.pt")]
    assert verb("unshare", reference) == f"{reference} is not shared any more\n"
    assert "no such reference" in verb("pull", reference, "--to", here, "--force", status=1)
    assert verb("transfers") == "nothing is moved or offered now\n"

    bound = told("share", model, "--site", "site-2", "--to", "server", "--ttl", "2h")
    assert (bound["site"], bound["to"], bound["ttl"], bound["name"]) == ("site-2", ["server"], 7200.0, "model.pt")
    verb("pull", bound["reference"], "--to", here, "--force")  # as the server's command line
    other = verb("share", model, "--site", "site-2", "--to", "site-1").strip()
    assert verb("pull", other, "--to", here, "--force", status=1).endswith("not for you; have it shared again\n")
    assert {file.name for file in here.iterdir()} == {"model.pt", "mine"}
    zmqfl("down")


def test_paths_of_a_site_and_mistakes(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path)
    out, here = tmp_path / "out", tmp_path / "here"
    (out / "sub").mkdir()
    (out / "sub/result").write_text("42")
    (tmp_path / "secret").write_text("s")
    (out / "link").symlink_to(tmp_path / "secret")
    (out / "folder").symlink_to(tmp_path)

    verb("pull", "site-1:sub/result", "--to", here)
    verb("pull", f"site-1:{out}/sub/result", "--to", here, "--name", "again")
    assert {file.name: file.read_text() for file in here.iterdir()} == {"result": "42", "again": "42"}
    until(lambda: not moving("offer"))

    outside = "there is no such file in what this site exports; ask for a file below an exported folder"
    no_site = "REFERENCE: there is no cell 'site-9' in this federation; did you mean 'site-"
    rid = f"R{0:032x}"
    mistakes: list[tuple[str, int, str]] = [
        ("pull site-1:nothing", 1, f"zmqfl: site-1: nothing: {outside}"),
        (f"pull site-1:{tmp_path}/secret", 1, f"zmqfl: site-1: {tmp_path}/secret: {outside}"),
        ("pull site-1:../secret", 1, f"zmqfl: site-1: ../secret: {outside}"),
        ("pull site-1:sub/../../secret", 1, outside),
        ("pull site-1:link", 1, f"zmqfl: site-1: link: {outside}"),
        ("pull site-1:folder/secret", 1, outside),
        ("pull site-1:sub", 1, "zmqfl: site-1: sub: is a folder, or no regular file; ask for a file below it"),
        ("pull site-2:x", 1, "zmqfl: site-2: x: this site exports no folder; name one under `exports:` of this site"),
        (f"pull site-1:sub/result --to {here}", 2, f"zmqfl: {here}/result: exists already; replace it by --force"),
        ("pull site-9:x", 2, no_site),
        (f"pull {rid}@site-9", 2, no_site),
        (f"pull {rid}@site-1", 1, f"zmqfl: site-1: {rid}: no such reference: never offered, ended by now, or not for"),
        (f"unshare {rid}@site-1", 1, "zmqfl: site-1: site-1 does not share that, or no longer"),
        (f"unshare {rid}@site-9", 2, "federation 'star' has no site 'site-9' here; did you mean 'site-"),
        (f"share {tmp_path}/secret --site site-9", 2, "federation 'star' has no site 'site-9' here; did you mean"),
        (f"share {tmp_path}/secret --to site-9", 2, "--to: there is no cell 'site-9' in this federation; did you"),
        (f"push {tmp_path}/secret --to site-1 --to site-9", 2, "--to: there is no cell 'site-9' in this federation"),
        ("transfers site-9", 2, "SITE: there is no cell 'site-9' in this federation; did you mean 'site-"),
        (
            f"push {tmp_path}/secret {TWO[0]} {TWO[1]} --topic models --timeout 0.5", 1,
            "secret: nobody consumes 'models' there; sites consume 'files', others what they register",
        ),
    ]  # fmt: skip
    for arguments, status, expected in mistakes:
        said = verb(*arguments.split(), status=status)
        assert expected in said
        assert len(said.splitlines()) == 1
    assert arrived(zmqfl) == []
    assert len(list(here.iterdir())) == 2
    zmqfl("down")


def test_ctrl_c_in_a_push_leaves_nothing(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, "sites.site-2.run=tests.launch.runs:take_slowly")
    (tmp_path / "model").write_bytes(bytes(5 << 20))
    push = zmqfl.start("push", tmp_path / "model", *TWO, "--window", 1)
    until(lambda: [row["state"] for row in moving("receive")].count("consuming") == 1)
    rows = {(row["site"], row["kind"], row["peer"]): row for row in told("transfers")["transfers"]}
    (sender,) = {site for site, kind, _ in rows if kind == "push"}
    assert rows.keys() == {
        ("site-1", "receive", sender), ("site-2", "receive", sender),
        (sender, "push", "site-1"), (sender, "push", "site-2"),
    }  # fmt: skip
    assert {(row["name"], row["total"]) for row in rows.values()} == {("model", 5 << 20)}
    assert rows[sender, "push", "site-2"]["done"] == 1 << 20
    assert told("transfers", "site-2")["transfers"][0]["peer"] == sender
    assert interrupted(push) == "zmqfl: interrupted: model has arrived nowhere\n"
    assert told("request", "site-2", "test:go")["payload"] == "gone"
    until(lambda: arrived(zmqfl) == [])
    zmqfl("down")


def test_a_site_that_dies_in_a_push_fails_it_for_all(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, "sites.site-2.run=tests.launch.runs:take_slowly")
    (tmp_path / "model").write_bytes(bytes(5 << 20))
    push = zmqfl.start("push", tmp_path / "model", tmp_path / "star.yaml", *TWO, "--json")
    until(lambda: "consuming" in [row["state"] for row in moving("receive") if row["site"] == "site-2"])
    os.kill(zmqfl.site("site-2")["pid"], signal.SIGKILL)
    said, _ = push.communicate(timeout=LONG)
    assert push.returncode == 3, said
    line = said.splitlines()[-1]
    assert line.startswith("zmqfl: site-2: model: ")
    assert line.endswith("; push it again when the site is back")
    assert '"ok": false' in said
    assert said.count('"culprit": "site-2"') == 1  # the second file was not tried
    until(lambda: not [name for name in arrived(zmqfl) if name.startswith("site-1")])
    zmqfl("down")


def test_ctrl_c_in_a_pull_and_resume(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path)
    big, here = tmp_path / "out/big", tmp_path / "here"
    big.touch()
    os.truncate(big, BIG)
    part = here / "big.part"
    said = ""
    for resume in ([], ["--resume"]):
        pull = zmqfl.start("pull", "site-1:big", "--to", here, *resume)
        until(lambda: part.exists() and part.stat().st_size > 8 << 20)
        said = interrupted(pull)
        until(lambda: not moving("offer"))  # the owner knows that it is over
        if not resume:
            assert said == "zmqfl: interrupted: nothing was kept\n"
            assert list(here.iterdir()) == []
    assert said.startswith("zmqfl: interrupted: ")
    assert said.endswith(f" of 268 MB are kept in {part}; --resume goes on\n")
    resumed = told("pull", "site-1:big", "--to", here, "--resume")
    assert 0 < resumed["fetched"] < BIG
    assert [file.name for file in here.iterdir()] == ["big"]
    assert filecmp.cmp(big, here / "big", shallow=False)
    zmqfl("down")


def test_a_disk_that_takes_no_more_is_named(zmqfl: CommandLine, tmp_path: Path) -> None:
    run = f"sh -c 'ulimit -f 1024; exec {sys.executable} -m tests.launch.runs'"
    up(zmqfl, tmp_path, f"sites.site-2.run={run}")
    (tmp_path / "model").write_bytes(bytes(5 << 20))
    said = verb("push", tmp_path / "model", *TWO, status=1)
    assert said == (
        "zmqfl: site-2: model: model.part: is larger than a file may be here; "
        "raise `ulimit -f`, or name a folder on another disk\n"
    )
    until(lambda: arrived(zmqfl) == [])
    zmqfl("down")
