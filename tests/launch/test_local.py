"""The launcher of this machine, alone."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.federation import LONG, until
from zmqfl.launch.launcher import UNKNOWN_STATUS, Job, Launcher
from zmqfl.launch.local import LocalLauncher
from zmqfl.launch.plan import make_plan
from zmqfl.launch.process import is_alive, session_members
from zmqfl.launch.spec import SiteSpec
from zmqfl.topology import load


@pytest.fixture
def spec(tmp_path_factory: pytest.TempPathFactory) -> SiteSpec:
    folder = tmp_path_factory.mktemp("l")
    (folder / "t.yaml").write_text("version: 1\nname: fl\nsites: {server: {}}\n")
    return make_plan(load(folder / "t.yaml"), folder).sites[0]


class Watched:
    """A launcher, and the ends that it tells of."""

    def __init__(self) -> None:
        self.ends: queue.Queue[Job] = queue.Queue()
        self.launcher = LocalLauncher(self.ends.put)

    def status(self) -> int | None:
        return self.launcher.poll(self.ends.get(timeout=LONG))


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.launcher.close()


def start(launcher: Launcher, spec: SiteSpec) -> Job:
    """Start a site, and wait until it serves."""
    job = launcher.start(spec)
    until(lambda: "listening at" in Path(spec.log).read_text())  # behind the handlers of signals
    return job


def test_stop(watched: Watched, spec: SiteSpec) -> None:
    job = start(watched.launcher, spec)
    assert (job.fqcn, watched.launcher.poll(job)) == ("server", None)
    assert os.getpgid(job.id) == job.id
    watched.launcher.stop(job)
    assert watched.status() == 0
    watched.launcher.stop(job)  # does nothing now
    watched.launcher.stop(job, force=True)
    log = watched.launcher.logs(spec)
    assert log.stat().st_mode & 0o777 == 0o600
    assert f"started, pid {job.id}" in log.read_text()
    assert "stopping" in log.read_text()


def test_force(watched: Watched, spec: SiteSpec) -> None:
    job = start(watched.launcher, spec)
    os.kill(job.id, signal.SIGSTOP)
    watched.launcher.stop(job, force=True)
    assert watched.status() == -signal.SIGKILL


def test_what_a_site_leaves_is_killed(watched: Watched, spec: SiteSpec) -> None:
    job = watched.launcher.start(replace(spec, run="sh -c 'sleep 1000 & exit 3'"))
    assert watched.status() == 3
    until(lambda: not session_members(job.id, job.mark))


def test_close_kills_what_runs(spec: SiteSpec) -> None:
    watched = Watched()
    job = start(watched.launcher, spec)
    watched.launcher.close()
    watched.launcher.close()
    assert not is_alive(job.id, job.mark)


def test_another_launcher_adopts(watched: Watched, spec: SiteSpec) -> None:
    job = start(watched.launcher, spec)
    other = Watched()
    assert other.launcher.adopt(job)
    assert other.launcher.poll(job) is None
    other.launcher.stop(job)
    assert watched.status() == 0
    assert other.status() == UNKNOWN_STATUS
    assert not other.launcher.adopt(job)
    other.launcher.close()
