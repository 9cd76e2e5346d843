from __future__ import annotations

from pathlib import Path

from zmqfl.fl.jobs import records
from zmqfl.fl.jobs.desk import JobRecord
from zmqfl.fl.jobs.job_folder import JobMeta

META = JobMeta("name", 2, ("a",), {"app": ("server", "a")}, {"study": 1})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "jobs/jobs.json"
    assert records.read(file) == []
    jobs = [
        JobRecord("j-1", META, 1.0, 2.0, 3.0, "done", "", {"a": "region.a"}),
        JobRecord("j-2", META, 4.0, 5.0, state="running", clients={"a": "region.a"}),
    ]
    records.write(file, jobs)
    assert records.read(file) == jobs
    assert [each.name for each in file.parent.iterdir()] == ["jobs.json"]


def test_what_ended_long_ago_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    running = JobRecord("first", META, 0.0, state="running")
    ended = [JobRecord(f"j-{i}", META, float(i), state="failed") for i in range(records.MOST_ENDED + 5)]
    records.write(file, [running, *ended])
    assert [record.id for record in records.read(file)] == ["first", *(each.id for each in ended[5:])]
