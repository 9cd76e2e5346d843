"""Simulations as their users start them: real processes, and nothing left of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fl.jobs.sample_jobs import write_job
from tests.system.federation import LONG
from zmqfl.errors import UserError
from zmqfl.fl.jobs.simulator import simulate
from zmqfl.launch.log_stream import LogLine

ROOT = Path(__file__).parents[2]
Lines = Callable[[LogLine], None]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def show(lines: list[str]) -> Lines:
    return lambda line: lines.append(f"{line.fqcn}: {line.text}")


def test_run_F11_file_streaming(tmp_path: Path, lines: list[str], show: Lines) -> None:
    job = ROOT / "examples/jobs/file_streaming"
    assert simulate(job, tmp_path / "ws", 4, threads=2, show=show) == 0
    text = "\n".join(lines)
    for name in (f"site-{i}" for i in range(1, 5)):
        assert f"received 3000000 bytes of {name}, right: True" in text
        assert (
            f"{name}: INFO [{name}, job simulate_job, peer server] received 5000000 bytes of server, right: True"
            in text
        )
    assert sum("sent 5000000 bytes to site-1" in line for line in lines) == 1


def test_run_F11_dict_streaming(tmp_path: Path, lines: list[str], show: Lines) -> None:
    job = ROOT / "examples/jobs/dict_streaming"
    assert simulate(job, tmp_path / "ws", 4, threads=2, show=show) == 0
    for name in (f"site-{i}" for i in range(1, 5)):
        assert any(f"{name} has retrieved the dict: OK, right: True" in line for line in lines)


def test_run_F11_layout_logs_and_slots(tmp_path: Path) -> None:
    assert simulate(write_job(tmp_path), tmp_path / "ws", clients=["hospital", "bank"], threads=1) == 0
    for site in ("server", "hospital", "bank"):
        folder = tmp_path / "ws" / site
        assert (folder / f"simulate_job/app_{site}/config/config_fed_server.json").is_file()
        assert (folder / f"simulate_job/app_{site}/custom/sample_code.py").is_file()
        assert (folder / "simulate_job/meta.json").is_file()
        assert not (folder / "log.txt").is_symlink()
        assert "heard _start_run" in (folder / "log.txt").read_text()
        assert "heard _end_run" in (folder / "log_fl.txt").read_text()  # at every client
        assert (folder / "log.json").stat().st_size
        assert (folder / "error_log.txt").is_file()
    # One at a time: what one executes is not between the lines of the other.
    lines = (tmp_path / "ws/executions").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["begin", "end"] * 2
    assert lines[0].split()[1] == lines[1].split()[1]


@pytest.mark.parametrize("seconds", [0.0, pytest.param(15.0, marks=pytest.mark.soak)])
def test_an_executor_that_keeps_the_interpreter_delays_nobody_else(
    tmp_path: Path, lines: list[str], show: Lines, seconds: float
) -> None:
    """The results of the others are what lets it go; in soak only after more than `dead_after` seconds."""
    os.mkfifo(tmp_path / "gate")
    gate = os.open(tmp_path / "gate", os.O_RDWR)  # open all the while: what a pipe holds is lost with its last opener
    job = write_job(
        tmp_path, {"path": "sample_code.Jailer", "args": {"seconds": seconds}}, {"path": "sample_code.Held"}
    )
    try:
        assert simulate(job, tmp_path / "ws", 3, threads=3, show=show) == 0
    finally:
        os.close(gate)
    [told] = [line for line in lines if "results of [" in line]
    assert told.endswith("'site-1']")
    assert "'site-2'" in told
    assert "'site-3'" in told
    assert not any("is gone" in line for line in lines)


def test_run_F11_a_run_that_fails(tmp_path: Path) -> None:
    job = write_job(tmp_path, {"args": {"fails": True}})
    assert simulate(job, tmp_path / "ws", 1) == 2
    assert "the flow has failed" in (tmp_path / "ws/server/error_log.txt").read_text()


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"executor": {"path": "sample_code.Wrk"}},
         "/sample/app/config/config_fed_client.json:15: executors.0.executor.path: module 'sample_code' has no"),
        ({"workflow": {"args": {"wait": True}}},
         "/sample/app/config/config_fed_server.json:14: workflows.0.args.wait: sample_code.Flow takes no"),
    ],
)  # fmt: skip
def test_run_F11_what_cannot_be_made_is_a_mistake(tmp_path: Path, parts: dict[str, Any], told: str) -> None:
    """It shows only in the processes: it is told in one line, with file, line and key, and all of them end."""
    job = write_job(tmp_path, **parts)
    with pytest.raises(UserError) as caught:
        simulate(job, tmp_path / "ws", 2, threads=2)
    assert told in caught.value.line()
    assert caught.value.line().count("\n") == 0


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `zmqfl simulator` in a process group of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "zmqfl", "simulator", *map(str, arguments)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=LONG)


def test_run_F11_an_abort_leaves_nothing(tmp_path: Path, command: Callable[..., subprocess.Popen[str]]) -> None:
    job = write_job(tmp_path, {"args": {"waits": True}})
    process = command(job, "-w", tmp_path / "ws", "-n", 2, "-t", 2)
    assert process.stdout is not None
    while "] waits" not in (line := process.stdout.readline()):
        assert line, "it ended"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does for Ctrl-C
    _, err = process.communicate(timeout=LONG)
    assert (process.returncode, err) == (2, "")
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_the_command_line(tmp_path: Path, command: Callable[..., subprocess.Popen[str]]) -> None:
    process = command(write_job(tmp_path, name="quiet"), "-w", tmp_path / "ws", "-c", "only", "-q")
    assert (process.communicate(timeout=LONG), process.returncode) == (("", ""), 0)
    assert (tmp_path / "ws/only/log.txt").is_file()


@pytest.mark.parametrize("hidden", [32, 0], ids=["mlp", "softmax"])
def test_federated_averaging_is_as_good_as_all_data_in_one_place(tmp_path: Path, hidden: int) -> None:
    """Within two points, with data that are split unevenly over three sites."""
    job = tmp_path / "job"
    shutil.copytree(ROOT / "examples/jobs/fedavg_digits", job)
    for file in (job / "app/config").iterdir():
        file.write_text(file.read_text().replace('"hidden": 32', f'"hidden": {hidden}'))
    assert simulate(job, tmp_path / "ws", 3, threads=3) == 0
    run = tmp_path / "ws/server/simulate_job"
    rows = [line.split(",") for line in (run / "accuracy.csv").read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows] == list(range(20))
    reached, central = float(rows[-1][1]), float(rows[-1][3])
    assert central > 0.95
    assert reached > central - 0.02
    assert (run / "accuracy.svg").stat().st_size
    with np.load(run / "models/model.npz") as model:
        assert len(model.files) == (4 if hidden else 2)
