"""Jobs on a launched federation, by the command line: submitted, listed, aborted, several at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.fl.jobs.sample_jobs import write_job
from tests.system.federation import until
from tests.system.launching import ROOT, CommandLine, command_line
from zmqfl.cli.main import app

TOPOLOGY = """\
version: 1
name: jobs
defaults: {jobs: true}
sites:
  server: {}
  site: {parent: server, count: 2}
  region: {parent: server, jobs: false}
  leaf: {parent: region}
"""
"""Three sites that take jobs, one of them behind a relay that takes none."""
CLIENTS = ["leaf", "site-1", "site-2"]


@pytest.fixture(scope="module")
def zmqfl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A federation that is up for all tests of this file."""
    file = tmp_path_factory.mktemp("topology") / "jobs.yaml"
    file.write_text(TOPOLOGY)
    with command_line(tmp_path_factory.getbasetemp()) as zmqfl, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZMQFL_RUN_DIR", str(zmqfl.run_dir))
        zmqfl("up", "-d", file)
        yield zmqfl
        zmqfl("down")  # with whatever still runs
        left = [file for file in (zmqfl.run_dir / "jobs").iterdir() if file.is_socket() or file.suffix == ".json"]
        assert left == []
        until(lambda: not zmqfl.processes(), "processes are left")


def verb(*arguments: object, status: int = 0) -> str:
    """A verb in this process; it ends with this status."""
    result = CliRunner().invoke(app, list(map(str, arguments)), prog_name="zmqfl")
    assert result.exit_code == status, result.output
    return result.stdout if status == 0 else result.stderr


def found(job_id: str) -> dict[str, Any]:
    jobs = json.loads(verb("jobs", "list", "--json"))["jobs"]
    return next(row for row in jobs if row["id"] == job_id)


def log(job_id: str, *site: str) -> str:
    return verb("jobs", "log", job_id, *site)


def waits(job_id: str) -> None:
    """Wait until the flow of a sample job waits for its end."""
    until(lambda: "] waits" in log(job_id), f"{job_id} does not wait")


def test_seed_001_5_and_6_on_a_launched_federation(zmqfl: CommandLine) -> None:
    """File streaming and dict streaming, as in the seed's POC."""
    told = json.loads(verb("submit", ROOT / "examples/jobs/file_streaming", "--wait", "--json", "-t", "jobs"))
    assert (told["state"], sorted(told["clients"])) == ("done", CLIENTS)
    text = log(told["id"])
    assert all(f"received 3000000 bytes of {name}, right: True" in text for name in CLIENTS)
    out = verb("submit", ROOT / "examples/jobs/dict_streaming", "--wait")
    job_id, end = out.splitlines()
    assert end.startswith("done after ")
    assert "retrieved 'model': OK, 4 entries" in log(job_id, "region.leaf")
    assert "dict_streaming   done" in verb("jobs", "list")
    # Each site keeps what it has of a job, and what the job wrote.
    folder = zmqfl.run_dir / "jobs/sites/region.leaf/jobs" / job_id
    assert (folder / "app_leaf/custom/dict_streaming.py").is_file()
    assert "retrieved 'model'" in (folder / "log_fl.txt").read_text()
    meta = json.loads((zmqfl.run_dir / "jobs/sites/server/jobs" / job_id / "meta.json").read_text())
    assert (meta["job_id"], sorted(meta["job_clients"])) == (job_id, CLIENTS)


def test_several_jobs_at_once_and_abort(zmqfl: CommandLine, tmp_path: Path) -> None:
    waiting = write_job(tmp_path, {"args": {"waits": True}}, name="waiting")
    first, second = (verb("submit", waiting).strip() for _ in range(2))
    for job_id in (first, second):
        waits(job_id)
    quick = verb("submit", write_job(tmp_path, name="quick"), "--wait").splitlines()
    assert quick[1].startswith("done")
    assert verb("jobs", "abort", first).startswith(f"{first}: aborted after ")
    assert (found(first)["state"], found(second)["state"]) == ("aborted", "running")
    assert "is over already: aborted" in verb("jobs", "abort", first, status=1)
    assert found(first)["reason"] == "aborted by its user"
    # What still runs ends with the federation.


def test_what_does_not_start(zmqfl: CommandLine, tmp_path: Path) -> None:
    needy = write_job(tmp_path, meta={"min_clients": 4}, name="needy")
    reason = "needs 4 clients, and 3 can take it; region: takes no jobs; set `jobs: true` for it"
    assert verb("submit", needy, status=1).endswith(f": failed: {reason}\n")
    row = json.loads(verb("jobs", "list", "--json"))["jobs"][-1]
    assert (row["state"], row["reason"]) == ("failed", reason)
    named = write_job(tmp_path, meta={"deploy_map": {"app": ["server", "site-1", "gone"]}}, name="named")
    told = json.loads(verb("submit", named, "--wait", "--json"))
    assert (told["state"], told["clients"]) == ("done", ["site-1"])
    odd = write_job(tmp_path, executor={"path": "sample_code.Wrk"}, name="odd")
    verb("submit", odd, "--wait", status=1)
    row = json.loads(verb("jobs", "list", "--json"))["jobs"][-1]
    assert row["state"] == "failed"
    assert "config_fed_client.json:15: executors.0.executor.path: module 'sample_code' has no class" in row["reason"]
    assert "no site of this machine has a log of job 'x'" in verb("jobs", "log", "x", status=2)
    assert "there is no job 'x'; look at `zmqfl jobs list`" in verb("jobs", "abort", "x", status=1)


def test_a_process_of_a_client_that_is_killed_starts_again(zmqfl: CommandLine, tmp_path: Path) -> None:
    job_id = verb("submit", write_job(tmp_path, {"args": {"waits": True}})).strip()
    waits(job_id)
    starts = log(job_id, "site-1").count("started, pid")
    pid = int(log(job_id, "site-1").split("started, pid ")[1].split()[0])
    os.kill(pid, signal.SIGKILL)
    until(lambda: log(job_id, "site-1").count("heard _start_run") == starts + 1, "it does not start again")
    assert found(job_id)["state"] == "running"
    assert verb("jobs", "abort", job_id).startswith(f"{job_id}: aborted")


def test_a_server_that_is_killed_goes_on_after_the_last_finished_round(zmqfl: CommandLine, tmp_path: Path) -> None:
    job_id = verb("submit", slow_digits(tmp_path)).strip()
    until(lambda: "round 2 begins" in log(job_id, "server"), "it does not train")
    pid = int(log(job_id, "server").split("started, pid ")[1].split()[0])
    os.kill(pid, signal.SIGKILL)
    until(lambda: found(job_id)["ended"] != 0, f"{job_id} does not end")
    assert found(job_id)["state"] == "done", log(job_id)
    text = log(job_id, "server")
    assert text.count("started, pid") == 2
    assert (text.count("round 0 begins"), text.count("round 5 begins")) == (1, 1)
    csv = (zmqfl.run_dir / "jobs/sites/server/jobs" / job_id / "accuracy.csv").read_text()
    assert [line.split(",")[0] for line in csv.splitlines()[1:]] == list("012345")


def slow_digits(folder: Path) -> Path:
    """The example that trains, with rounds that last."""
    job = folder / "slow_digits"
    shutil.copytree(ROOT / "examples/jobs/fedavg_digits", job)
    config = job / "app/config/config_fed_client.json"
    config.write_text(config.read_text().replace('"epochs": 2', '"epochs": 20'))
    config = job / "app/config/config_fed_server.json"
    config.write_text(config.read_text().replace('"num_rounds": 20', '"num_rounds": 6'))
    return job


@pytest.mark.soak
@pytest.mark.parametrize("site", ["site-1", "server"])
def test_a_site_that_is_killed_takes_its_jobs_up_again(zmqfl: CommandLine, tmp_path: Path, site: str) -> None:
    """The site itself, and with it what runs for it there."""
    job_id = verb("submit", slow_digits(tmp_path)).strip()
    until(lambda: "round 2 begins" in log(job_id, "server"), "it does not train")
    os.kill(zmqfl.sites()[site]["pid"], signal.SIGKILL)
    until(lambda: log(job_id, site).count("started, pid") == 2, "its process does not start again")
    until(lambda: "round 5: accuracy" in log(job_id, "server"), "it does not go on")
    assert log(job_id, "server").count("round 0 begins") == 1
    until(lambda: site in zmqfl.sites() and found(job_id)["ended"] != 0, f"{job_id} does not end")
    assert found(job_id)["state"] == "done", log(job_id)


def test_a_federation_without_jobs(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (tmp_path / "plain.yaml").write_text("version: 1\nname: plain\nsites: {server: {}}\n")
    with command_line(tmp_path_factory.getbasetemp()) as plain:
        plain("up", "-d", tmp_path / "plain.yaml")
        told = plain("submit", write_job(tmp_path), status=1)
        assert (
            told == "zmqfl: server takes no jobs; set `jobs: true` under `defaults` of the topology, and start again\n"
        )
        plain("down")
