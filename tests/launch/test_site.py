"""A site process: what it runs, how it is stopped, how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.federation import LONG, QUICK, Federation, until
from tests.system.launching import CommandLine, ended_by, read_until
from zmqfl import Cell
from zmqfl.launch import site as site_module
from zmqfl.launch.spec import Listener, SiteSpec

PAIR = """\
version: 1
name: fl
timing: {heartbeat: 0.2, dead_after: 2, reconnect: [0.02, 0.2], drain: 2}
sites:
  server: {}
  site-1:
    parent: server
    run: RUN
    restart: {policy: never}
"""


def up(zmqfl: CommandLine, folder: Path, run: str, more: str = "") -> None:
    """A federation whose one site runs `run`."""
    (folder / "fl.yaml").write_text(PAIR.replace("RUN", json.dumps(run)) + more)
    zmqfl("up", "-d", folder / "fl.yaml")


@pytest.mark.parametrize(("run", "answer"), [("double", 42), ("double_in_loop", [42])])
def test_a_function_that_returns_none_serves_on(zmqfl: CommandLine, tmp_path: Path, run: str, answer: object) -> None:
    up(zmqfl, tmp_path, f"tests.launch.runs:{run}")
    assert zmqfl.json("request", "site-1", "math:double", 21)["payload"] == answer
    zmqfl("down")
    zmqfl.assert_nothing_left()


def test_arguments_variables_and_secrets(zmqfl: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    more = (
        f"    args: [--a, b c]\n    env: {{A: from the topology}}\n    secrets: {{SECRET: 'file:{tmp_path}/secret'}}\n"
    )
    up(zmqfl, tmp_path, "tests.launch.runs:tell", more)
    answer = zmqfl.json("request", "site-1", "test:tell")["payload"]
    assert answer == {"args": ["--a", "b c"], "A": "from the topology", "SECRET": "s3cret"}
    assert not any("s3cret" in file.read_text() for file in zmqfl.run_dir.rglob("*.json"))
    zmqfl("down")


def test_a_command_line_becomes_the_cell(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, f"{sys.executable} -m tests.launch.runs --fast", "    args: [b c]\n")
    assert zmqfl.json("request", "site-1", "test:argv")["payload"] == ["--fast", "b c"]
    zmqfl("down")
    zmqfl.assert_nothing_left()


def test_a_replaced_program_is_not_started_again(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, f"{sys.executable} -m tests.launch.runs")
    newer = zmqfl.start("join", zmqfl.state()["door"][1], "--name", "site-1")
    read_until(newer, "connected to server")
    until(lambda: zmqfl.site("site-1")["status"] == "replaced")
    newer.terminate()
    assert newer.wait(LONG) == 0
    zmqfl("down")


def test_only_topics_of_the_allow_list(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, "tests.launch.runs:double", "    allow: ['model.*']\n")
    said = zmqfl("request", "site-1", "math:double", 21, status=1)
    assert "authentication_error: topic 'double' is not in the `allow` list of this site" in said
    assert zmqfl.json("request", "site-1", "echo", 1)["payload"] == 1
    zmqfl("down")


def test_the_federation_ends_with_the_run_of_its_root(zmqfl: CommandLine, tmp_path: Path) -> None:
    text = PAIR.replace("RUN", "tests.launch.runs:double").replace(
        "{}", "{run: 'tests.launch.runs:train', args: ['21']}"
    )
    (tmp_path / "fl.yaml").write_text(text)
    done = zmqfl.run("up", tmp_path / "fl.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "result 42" in done.stdout
    assert "server: done" in done.stdout
    zmqfl.assert_nothing_left()


@pytest.mark.parametrize("run", ["block", "block_in_loop"])
def test_a_stop_reaches_user_code(zmqfl: CommandLine, tmp_path: Path, run: str) -> None:
    up(zmqfl, tmp_path, f"tests.launch.runs:{run}")
    zmqfl("down", "site-1")
    assert "cleaned up" in zmqfl("logs", "site-1")
    assert (zmqfl.site("site-1")["status"], zmqfl.site("site-1")["exit"]) == ("stopped", 0)
    zmqfl("down")


def test_what_a_site_has_started_ends_with_it(zmqfl: CommandLine, tmp_path: Path) -> None:
    up(zmqfl, tmp_path, "tests.launch.runs:leave_a_child")
    until(lambda: len(zmqfl.processes()) == 4)  # supervisor, server, site-1, its child
    zmqfl("down")
    zmqfl.assert_nothing_left()


FAILING = {
    "tests.launch.runs:fail": (1, "RuntimeError: this run has failed"),
    "tests.launch.runs:return_text": (1, "TypeError: tests.launch.runs:return_text returned 'done'"),
    "tests.launch.runs:nothing": (2, "run: module 'tests.launch.runs' has no 'nothing'; name a function of it"),
    "tests.launch.runs:not_callable": (2, "run: tests.launch.runs:not_callable is no function; name a function"),
    "no_such.module:f": (2, "run: there is no module 'no_such'; start it in the folder of the module"),
    "no-such-program --x": (2, "run: cannot run 'no-such-program': No such file or directory; give a program"),
}


@pytest.mark.parametrize("run", FAILING)
def test_a_run_that_fails(zmqfl: CommandLine, tmp_path: Path, run: str) -> None:
    status, said = FAILING[run]
    (tmp_path / "fl.yaml").write_text(PAIR.replace("RUN", json.dumps(run)))
    done = zmqfl.run("up", "-d", tmp_path / "fl.yaml", "--wait", 20)
    if status == 2:
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert done.stderr.startswith(f"zmqfl: site-1: {said}")
    else:
        until(lambda: said in zmqfl("logs", "site-1", "-t", "fl"))
        if done.returncode == 0:  # all were connected, for the moment before this one failed
            assert zmqfl.site("site-1")["status"] == "failed"
            zmqfl("down")
    zmqfl.assert_nothing_left()


# ----------------------------------------------------------------------------------------------------- without launcher


def spec_of(zmqfl: CommandLine, folder: Path, run: str) -> Path:
    """The spec of a root that runs `run`."""
    (folder / "fl.yaml").write_text(f"version: 1\nname: fl\nsites: {{server: {{run: '{run}'}}}}\n")
    plan = json.loads(zmqfl("up", folder / "fl.yaml", "--dry-run"))
    file = folder / "server.json"
    file.write_text(json.dumps({**plan["sites"][0], "run_dir": str(zmqfl.run_dir)}))
    return file


def test_its_exit_status_is_that_of_the_run(zmqfl: CommandLine, tmp_path: Path) -> None:
    spec = spec_of(zmqfl, tmp_path, "tests.launch.runs:end_with_5")
    assert "listening at ipc://" in zmqfl("run", spec, status=5)


def test_signals(zmqfl: CommandLine, tmp_path: Path) -> None:
    site = zmqfl.start("run", spec_of(zmqfl, tmp_path, "tests.launch.runs:double"), "--set", "heartbeat=0.5")
    read_until(site, "listening at")
    site.send_signal(signal.SIGUSR2)
    read_until(site, "most recent call first")
    site.send_signal(signal.SIGHUP)
    read_until(site, "SIGHUP: this site has no keys to read again")
    site.terminate()
    assert "stopping" in read_until(site, "stopping")
    assert site.wait(LONG) == 0


def test_the_second_signal_ends_it_at_once(zmqfl: CommandLine, tmp_path: Path) -> None:
    spec = spec_of(zmqfl, tmp_path, "tests.launch.runs:hold")
    site = zmqfl.start("run", spec, "--set", "drain=1000")
    url = read_until(site, "listening at").rpartition("listening at ")[2].strip()
    code = f"from zmqfl import Cell\nc = Cell('server.x', parent={url!r}).__enter__()\n"
    code += "c.request('server', 'test', 'hold')\n"
    asking = subprocess.Popen(
        [sys.executable, "-u", "-c", code + "print(c.request('server', '_net_manager', 'echo').result())\ninput()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=zmqfl.environ, text=True,
    )  # fmt: skip
    zmqfl.started.append(asking)
    read_until(asking, "echo")
    site.send_signal(signal.SIGTERM)
    read_until(site, "stopping")
    until(lambda: ended_by(site, signal.SIGTERM))
    assert site.wait() == 128 + signal.SIGTERM
    assert asking.stdin is not None
    asking.stdin.close()


def test_a_site_imports_nothing_heavy() -> None:
    code = "import json, sys, zmqfl.launch.site; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"pydantic", "yaml", "typer", "rich", "blosc2", "cryptography", "numpy", "zmqfl.cli", "zmqfl.topology"}
    heavy |= {"zmqfl.context", "zmqfl.streaming"}  # floors above the cell that a bare site does not need
    assert heavy.isdisjoint(json.loads(done.stdout))


# ------------------------------------------------------------------------------------------------- who hears what


@pytest.fixture
def hearing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cell, Cell, SiteSpec]]:
    """A server as its spec says, a site below it, and that spec; the site may hear of the group `models` only."""
    spec = SiteSpec(
        federation="fl", fqcn="server", site="server", role="server", root="server", host="", launcher="", kind="local",
        run_dir="", config=QUICK, listen=(Listener("tcp://127.0.0.1:*"),), hearers={"site-1": ("rids/models/",)},
    )  # fmt: skip
    (tmp_path / "spec.json").write_text(spec.to_json())
    monkeypatch.setenv(site_module.SPEC, str(tmp_path / "spec.json"))
    federation = Federation()
    server = site_module.open_cell(spec)
    federation.cells.append(server)
    server.start()
    yield server, federation.start("site-1", server, None), spec
    federation.close()


def hears(cell: Cell, rid: str) -> None:
    until(lambda: rid in [each.rid for each in cell.announcements("models")])


def test_a_child_hears_what_its_parents_spec_says(hearing: tuple[Cell, Cell, SiteSpec], tmp_path: Path) -> None:
    server, site, spec = hearing
    stranger = Cell("site-2", parent=server.url, config=QUICK)
    with stranger:
        server.props.set("round", 1)
        hears(site, server.offer(b"m", announce="models").rid)
        until(lambda: stranger.props.get("server", "round") == 1)  # who is not named hears everything
        assert site.props.get("server", "round") is None

        (tmp_path / "spec.json").write_text(replace(spec, hearers={}).to_json())
        site_module._reload(server, spec)  # what SIGHUP does
        until(lambda: site.props.get("server", "round") == 1)


def test_a_reload_cuts_a_live_subscriber(hearing: tuple[Cell, Cell, SiteSpec], tmp_path: Path) -> None:
    server, site, spec = hearing
    (tmp_path / "spec.json").write_text(replace(spec, hearers={}).to_json())
    site_module._reload(server, spec)
    heard: list[object] = []
    with site.props.watch(lambda prop: heard.append(prop.value), "server"):
        server.props.set("round", 1)
        until(lambda: heard == [1])
        (tmp_path / "spec.json").write_text(spec.to_json())
        site_module._reload(server, spec)
        server.props.set("round", 2)
        hears(site, server.offer(b"m", announce="models").rid)
    assert 2 not in heard


def test_a_spec_that_cannot_be_read_again_changes_nothing(
    hearing: tuple[Cell, Cell, SiteSpec], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, site, spec = hearing
    for text, said in (("{", "is not JSON"), (replace(spec, hearers={"a..b": ()}).to_json(), "is not a cell name")):
        (tmp_path / "spec.json").write_text(text)
        site_module._reload(server, spec)
        assert said in caplog.text
    server.props.set("round", 1)
    hears(site, server.offer(b"m", announce="models").rid)
    assert site.props.get("server", "round") is None


def test_the_plane_has_the_port_of_the_spec_or_none(hearing: tuple[Cell, Cell, SiteSpec]) -> None:
    _, _, spec = hearing
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with site_module.open_cell(replace(spec, fqcn="other", plane=port)):
        socket.create_connection(("127.0.0.1", port)).close()
    with site_module.open_cell(replace(spec, fqcn="other", plane=None, hearers={})) as links:
        site = Cell("site-3", parent=links.url, config=QUICK)
        with site:
            links.props.set("round", 1)
            until(lambda: site.props.get("other", "round") == 1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
