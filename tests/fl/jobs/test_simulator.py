"""Who takes part in a simulation, what becomes of its workspace, and which requests it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fl.jobs.conftest import CLIENT, META, WriteJob
from zmqfl.errors import UserError
from zmqfl.fl.jobs import simulator
from zmqfl.fl.jobs.job_folder import JobFolder, read_job
from zmqfl.fl.jobs.simulator import choose_clients, simulate

NAMED = {"app": ["server"], "a": ["site-1"], "b": ["hospital", "bank"]}


@pytest.fixture
def named(write_job: WriteJob) -> JobFolder:
    files = {f"{app}/config/config_fed_client.json": CLIENT for app in "ab"}
    meta = {**META, "deploy_map": NAMED, "min_clients": 2, "mandatory_clients": ["bank"]}
    return read_job(write_job({"meta.json": meta, **files}))


@pytest.fixture
def free(write_job: WriteJob) -> JobFolder:
    return read_job(write_job())


def test_run_F11_names_of_clients(free: JobFolder) -> None:
    assert choose_clients(free, None, []) == ["site-1", "site-2"]
    assert choose_clients(free, 3, []) == ["site-1", "site-2", "site-3"]
    assert choose_clients(free, 3, ["a", "b"]) == ["a", "b"]  # -c wins over -n


def test_run_F11_the_deploy_map_names_them(named: JobFolder) -> None:
    assert choose_clients(named, None, []) == ["site-1", "hospital", "bank"]
    assert choose_clients(named, None, ["bank", "site-1"]) == ["bank", "site-1"]


@pytest.mark.parametrize(
    ("count", "names", "told"),
    [
        (None, ["a..b"], "-c: 'a..b' is no name of a client: empty part; write a plain name"),
        (None, ["a.b"], "-c: 'a.b' is no name of a client: holds a dot; write a plain name"),
        (None, ["a", "a"], "-c: 'a' is taken; name each client once, and none server"),
        (None, ["Server"], "-c: 'Server' is taken; name each client once, and none server"),
        (None, [""], "-c: '' is no name of a client: empty; write a plain name"),
        (101, [], "-n: 101 clients are more than 100; raise the limit by -m"),
    ],
)
def test_run_F11_clients_that_cannot_be(free: JobFolder, count: int | None, names: list[str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        choose_clients(free, count, names)
    assert caught.value.line() == told


@pytest.mark.parametrize(
    ("count", "names", "told"),
    [
        (3, [], "-n: the deploy map of the job has no 'site-2'; name clients that it names: site-1, hospital, bank"),
        (None, ["bank"], "-c: the job needs 2 clients, and there are 1; give 2 or more"),
        (None, ["site-1", "hospital"], "-c: the job needs the client 'bank'; name it"),
    ],
)
def test_what_the_job_asks_for(named: JobFolder, count: int | None, names: list[str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        choose_clients(named, count, names)
    assert caught.value.line() == told


@pytest.mark.parametrize("threads", [0, 3])
def test_run_F11_threads(free: JobFolder, threads: int) -> None:
    with pytest.raises(UserError, match=f"-t: {threads} cannot execute at once among 2; give 1 to that number"):
        simulate(free.path, threads=threads)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """What is simulated is only written down."""
    runs: list[Any] = []

    class Simulation:
        def __init__(self, *arguments: Any) -> None:
            runs.append(arguments)

        async def run(self) -> int:
            return 0

    monkeypatch.setattr(simulator, "_Simulation", Simulation)
    return lambda: runs


def test_run_F11_the_workspace_is_wiped(free: JobFolder, ran: Callable[[], list[Any]]) -> None:
    root = Path("ws").absolute()
    assert simulate(free.path, "ws", threads=2) == 0
    assert [run[1:4] for run in ran()] == [(["site-1", "site-2"], root, 2)]
    for name in ("server/old.txt", "startup/kept.txt", "local/kept.txt", "log.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    (root / "elsewhere").symlink_to(free.path.absolute(), target_is_directory=True)
    simulate(free.path, "ws")
    assert sorted(entry.name for entry in root.iterdir()) == [".simulator", "local", "startup"]
    assert (root / "startup/kept.txt").exists()
    assert (free.path / "meta.json").exists()


def test_a_folder_of_somebody_else_is_not_wiped(free: JobFolder, ran: Callable[[], list[Any]]) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").touch()
    with pytest.raises(UserError, match=r"-w: .*/mine holds files that no simulation has made; name a new folder"):
        simulate(free.path, "mine")
    assert Path("mine/thesis.tex").exists()
    with pytest.raises(UserError, match=r"-w: .*meta\.json cannot be the workspace: File exists; name a folder"):
        simulate(free.path, free.path / "meta.json")
    assert ran() == []
