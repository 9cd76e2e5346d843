"""Federations of real processes, started and stopped by the command line: they come up, heal, and leave nothing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.federation import LONG, until
from tests.system.launching import ROOT, CommandLine, command_line, ended_by, read_until
from zmqfl import Cell
from zmqfl.cli.federation import attached, choose
from zmqfl.cli.network import view

QUICK = [
    *("--set", "timing.heartbeat=0.2"),
    *("--set", "timing.dead_after=2"),
    *("--set", "timing.reconnect=[0.02, 0.2]"),
    *("--set", "timing.drain=2"),
]
RESTARTED = ["--set", "defaults.restart.backoff=0.05"]


@pytest.fixture
def zmqfl(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    with command_line(tmp_path_factory.getbasetemp()) as zmqfl:
        monkeypatch.setenv("ZMQFL_RUN_DIR", str(zmqfl.run_dir))
        yield zmqfl


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def starts(cell: Cell, *names: str) -> dict[str, int]:
    """FQCN -> which start of it is connected; only of those that are."""
    return {name: link["instance"] for name, link in view(cell).items() if name in names and link["state"] == "up"}


STAR = """\
version: 1
name: star
security: {mode: none}
timing: {heartbeat: 0.2, dead_after: 2, reconnect: [0.02, 0.2], drain: 2}
sites:
  server: {listen: [{bind: "tcp://127.0.0.1:PORT"}]}
  site-1: {parent: server, restart: {backoff: 0.05}}
"""


def write_star(folder: Path, more: str = "", port: int | None = None) -> tuple[Path, str]:
    """A topology file, and the URL of its server."""
    port = port or free_port()
    file = folder / "star.yaml"
    file.write_text(STAR.replace("PORT", str(port)) + more)
    return file, f"tcp://127.0.0.1:{port}"


# ---------------------------------------------------------------------------------------------------------- up and down

RUNNABLE = {"pair": "site-1", "quickstart": "site-3", "relay-tree": "region-b.site-b-2", "secure-star": "site-2"}
"""Shipped topology -> the cell that is asked."""
ELSEWHERE = {"hospitals"}


def test_every_shipped_topology_is_expected_here() -> None:
    assert {file.stem for file in (ROOT / "topologies").glob("*.yaml")} == {*RUNNABLE, *ELSEWHERE}


@pytest.mark.parametrize("name", sorted(RUNNABLE))
def test_up_ask_down(zmqfl: CommandLine, tmp_path: Path, name: str) -> None:
    file = shutil.copy(ROOT / f"topologies/{name}.yaml", tmp_path)
    zmqfl.environ["ZMQFL_PORT"] = str(free_port())
    if name == "secure-star":
        assert zmqfl("keygen", "-t", file).count("made") == 3
    up = zmqfl.json("up", "-d", file)
    names = {site["fqcn"] for site in up["sites"]}
    assert {site["state"] for site in up["sites"]} == {"up"}
    sites = zmqfl.sites()
    assert sites.keys() == names
    assert {(site["process"], site["network"], site["difference"]) for site in sites.values()} == {
        ("running", "up", "")
    }
    assert zmqfl.json("request", RUNNABLE[name], "echo", '{"a": [1, null]}')["payload"] == {"a": [1, None]}
    assert {cell["fqcn"] for cell in zmqfl.json("cells")} == names
    assert {int(pid) for site in sites.values() if (pid := site["pid"])} < set(zmqfl.processes())
    assert zmqfl("down") == f"{up['name']} is stopped\n"
    zmqfl.assert_nothing_left()
    assert "no federation runs here" in zmqfl("ps", status=3)


def test_through_the_relays(zmqfl: CommandLine) -> None:
    zmqfl("up", "-d", "topologies/relay-tree.yaml")
    begin, end = "region-a.site-a-1", "region-b.site-b-2"
    assert zmqfl.json("route", end, "--from", begin) == [begin, "region-a", "server", "region-b", end]
    assert zmqfl.json("rtt", end, "--from", begin, "--count", 20)["tries"] == 20
    zmqfl("down")
    zmqfl.assert_nothing_left()


def test_foreground_shows_one_stream_and_ctrl_c_stops_all(zmqfl: CommandLine) -> None:
    up = zmqfl.start("up", "topologies/pair.yaml", *QUICK)
    shown = read_until(up, "PARENT")
    assert "server | listening at ipc://" in shown
    assert "site-1 | connected to server" in shown
    read_until(up, "site-1   up")
    os.killpg(up.pid, signal.SIGINT)
    rest = read_until(up, "server: stopped")
    assert "site-1 | stopping" in rest
    assert "killed" not in rest
    assert up.wait(LONG) == 0
    zmqfl.assert_nothing_left()


def test_a_second_ctrl_c_kills_what_hangs(zmqfl: CommandLine) -> None:
    up = zmqfl.start("up", "topologies/pair.yaml", *QUICK, "--set", "timing.drain=1000")
    read_until(up, "site-1   up")
    os.kill(zmqfl.site("site-1")["pid"], signal.SIGSTOP)
    os.killpg(up.pid, signal.SIGINT)
    until(lambda: ended_by(up, signal.SIGINT))
    assert "site-1: killed" in read_until(up, "server: stopped")
    zmqfl.assert_nothing_left()


def test_starting_twice_is_refused(zmqfl: CommandLine) -> None:
    zmqfl("up", "-d", "topologies/pair.yaml", *QUICK)
    supervisor = zmqfl.state()["pid"]
    expected = (
        f"zmqfl: federation 'pair' runs already (supervisor: process {supervisor}); stop it by `zmqfl down -t pair`\n"
    )
    assert zmqfl("up", "topologies/pair.yaml", status=2) == expected
    assert zmqfl("up", "-d", "topologies/pair.yaml", status=2) == expected
    zmqfl("down")


def test_some_of_the_sites_and_those_above(zmqfl: CommandLine) -> None:
    zmqfl("up", "-d", "topologies/relay-tree.yaml", "site-a")
    assert zmqfl.sites().keys() == {"server", "region-a", "region-a.site-a-1", "region-a.site-a-2"}
    zmqfl("down")


def test_one_site_down_and_up_again(zmqfl: CommandLine) -> None:
    zmqfl("up", "-d", "topologies/quickstart.yaml", *QUICK)
    zmqfl("down", "site-2")
    site = zmqfl.sites()["site-2"]
    assert (site["process"], site["network"], site["difference"]) == ("stopped", "missing", "")
    assert zmqfl("up", "topologies/quickstart.yaml", "site-2") == "site-2: started\n"
    with attached(choose(None)) as cell:
        until(lambda: starts(cell, "site-2"))
    zmqfl("down")
    zmqfl.assert_nothing_left()


def test_two_federations_must_be_named(zmqfl: CommandLine) -> None:
    zmqfl("up", "-d", "topologies/pair.yaml", *QUICK)
    zmqfl("up", "-d", "topologies/quickstart.yaml", *QUICK, "--set", "sites.site.count=1")
    assert zmqfl("ps", status=2) == "zmqfl: -t: several run: pair, quickstart; say which, as in `-t pair`\n"
    assert {cell["fqcn"] for cell in zmqfl.json("cells", "-t", "topologies/pair.yaml")} == {"server", "site-1"}
    zmqfl("down", "-t", "pair")
    zmqfl("down")
    zmqfl.assert_nothing_left()


# ------------------------------------------------------------------------------------------------------------- start-up


def test_a_taken_port_is_one_line(zmqfl: CommandLine, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        file, url = write_star(tmp_path, port=port)
        expected = f"zmqfl: server: cannot listen at {url}: the port is taken; stop who has it, or give another port\n"
        assert zmqfl("up", file, status=2) == expected
        assert zmqfl("up", "-d", file, status=2) == expected
    zmqfl.assert_nothing_left()


def test_whoever_does_not_get_through_is_named_and_all_are_stopped(zmqfl: CommandLine, tmp_path: Path) -> None:
    file, _ = write_star(tmp_path, "  mute: {parent: server, run: 'sh -c \"echo I have no cell; exec sleep 1000\"'}\n")
    said = zmqfl("up", "-d", file, "--wait", 8, status=1)
    assert said.splitlines()[0] == (
        "zmqfl: not connected within 8 s: mute; all sites were stopped, look at their logs or --wait longer"
    )
    assert "I have no cell" in said
    zmqfl.assert_nothing_left()


def test_a_refusal_is_told(zmqfl: CommandLine, tmp_path: Path) -> None:
    """A site with a key that the server does not know."""
    file = tmp_path / "locked.yaml"
    text = STAR.replace("{mode: none}", "{keys: keys}").replace("PORT", "*")
    file.write_text(text)
    zmqfl("keygen", "-t", file)
    zmqfl("keygen", "--force", "site-1", "--keys", tmp_path / "other")
    (tmp_path / "keys/revoked").write_text("site-1\n")
    said = zmqfl("up", "-d", file, status=2)
    assert "site-1: " in said
    assert "is revoked" in said
    zmqfl.assert_nothing_left()


def test_a_site_may_start_before_its_parent(zmqfl: CommandLine, tmp_path: Path) -> None:
    file, url = write_star(tmp_path)
    early = zmqfl.start("join", url, "--name", "early", "--set", "reconnect_max=0.2")
    read_until(early, "dialling server")
    zmqfl("up", "-d", file)
    read_until(early, "connected to server")
    row = zmqfl.sites()["early"]
    assert (row["process"], row["network"], row["difference"]) == ("-", "up", "joined by itself")
    early.terminate()
    assert early.wait(LONG) == 0
    zmqfl("down")
    zmqfl.assert_nothing_left()


# -------------------------------------------------------------------------------------------------------------- kill -9


@pytest.mark.parametrize("victim", ["region-a.site-a-1", "region-a", "server"])
def test_what_is_killed_is_started_again_and_found(zmqfl: CommandLine, victim: str) -> None:
    zmqfl("up", "-d", "topologies/relay-tree.yaml", *QUICK, *RESTARTED)
    names = [site["fqcn"] for site in zmqfl.state()["sites"] if site["fqcn"] != "server"]
    before = zmqfl.site(victim)["pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: zmqfl.site(victim)["restarts"] == 1 and zmqfl.site(victim)["pid"] not in (0, before))
    with attached(choose(None), LONG) as cell:
        until(lambda: _all_up(cell, names), f"not all are back: {view}")
    rows = zmqfl.sites()
    assert {(row["process"], row["network"], row["difference"]) for row in rows.values()} == {("running", "up", "")}
    assert {name for name, row in rows.items() if row["restarts"]} == {victim}
    assert zmqfl.json("request", "region-a.site-a-1", "echo", "1")["payload"] == 1
    zmqfl("down")
    zmqfl.assert_nothing_left()


def _all_up(cell: Cell, names: list[str]) -> bool:
    try:
        return starts(cell, *names).keys() == set(names)
    except Exception as error:
        if type(error).__name__ != "NotRunning":  # the root is just coming back
            raise
        return False


def test_who_waits_for_the_dead_is_told_at_once(zmqfl: CommandLine, tmp_path: Path) -> None:
    file, _ = write_star(tmp_path)
    changes = ["sites.site-1.run=tests.launch.runs:hold", "sites.site-1.restart.policy=never", "timing.dead_after=1000"]
    zmqfl("up", "-d", file, *(part for change in changes for part in ("--set", change)))
    with attached(choose(None)) as cell:
        waiting = cell.request("site-1", "test", "hold", timeout=1000)
        until(lambda: cell.request("site-1", "_net_manager", "info").result(LONG).payload["running_calls"] == 2)
        os.kill(zmqfl.site("site-1")["pid"], signal.SIGKILL)
        reply = waiting.reply(LONG)
    assert not reply.ok
    assert "no route to site-1" in reply.error
    assert zmqfl.sites()["site-1"]["process"] == "failed"
    zmqfl("down")


def test_the_sites_end_with_a_killed_supervisor(zmqfl: CommandLine) -> None:
    zmqfl("up", "-d", "topologies/pair.yaml", *QUICK)
    os.kill(zmqfl.state()["pid"], signal.SIGKILL)
    until(lambda: not zmqfl.processes())
    assert "the supervisor of 'pair' has ended; clean up by `zmqfl down`" in zmqfl("ps")
    assert {site["process"] for site in zmqfl.sites().values()} == {"lost"}
    zmqfl("down")
    zmqfl.assert_nothing_left()


def test_leftovers_of_a_killed_supervisor_are_found(zmqfl: CommandLine) -> None:
    zmqfl("up", "-d", "topologies/pair.yaml", *QUICK)
    hung = zmqfl.site("site-1")["pid"]
    os.kill(hung, signal.SIGSTOP)
    os.kill(zmqfl.state()["pid"], signal.SIGKILL)
    until(lambda: zmqfl.processes() == [hung])
    assert zmqfl("up", "-d", "topologies/pair.yaml", status=2) == (
        "zmqfl: processes of an earlier start of 'pair' are left: site-1; end them by `zmqfl down -t pair`\n"
    )
    zmqfl("down", "--drain", "0")
    zmqfl.assert_nothing_left()
    zmqfl("up", "-d", "topologies/pair.yaml", *QUICK)
    zmqfl("down", "--force")
    zmqfl.assert_nothing_left()


# -------------------------------------------------------------------------------------------------- the same name twice


def test_of_two_that_join_the_newer_stays(zmqfl: CommandLine, tmp_path: Path) -> None:
    file, url = write_star(tmp_path)
    zmqfl("up", "-d", file)
    older = zmqfl.start("join", url, "--name", "own")
    read_until(older, "connected to server")
    newer = zmqfl.start("join", url, "--name", "own")
    read_until(newer, "connected to server")
    read_until(older, "must end with status 75")
    assert older.wait(LONG) == 75
    assert zmqfl.json("request", "own", "info")["payload"]["pid"] == newer.pid
    newer.terminate()
    assert newer.wait(LONG) == 0
    zmqfl("down")
    zmqfl.assert_nothing_left()


def test_a_replaced_site_is_not_started_again(zmqfl: CommandLine, tmp_path: Path) -> None:
    file, url = write_star(tmp_path)
    zmqfl("up", "-d", file, "--set", "sites.site-1.restart.policy=always")
    newer = zmqfl.start("join", url, "--name", "site-1")
    read_until(newer, "connected to server")
    until(lambda: zmqfl.site("site-1")["status"] == "replaced")
    row: dict[str, Any] = zmqfl.sites()["site-1"]
    assert (row["exit"], row["restarts"], row["network"]) == (75, 0, "up")
    assert row["difference"] == "connected, but not started here"
    assert zmqfl.json("request", "site-1", "info")["payload"]["pid"] == newer.pid
    newer.terminate()
    newer.wait(LONG)
    zmqfl("down")
