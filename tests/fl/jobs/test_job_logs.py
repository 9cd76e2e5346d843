from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from zmqfl.context.workspace import Workspace
from zmqfl.fl.jobs.job_logs import job_logs


@pytest.mark.parametrize("job_id", [None, "job-7"])
def test_run_F11_logs(tmp_path: Path, job_id: str | None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    root = logging.getLogger()
    before = list(root.handlers)
    with job_logs(Workspace(str(tmp_path / "site-1"), "site-1"), job_id):
        logging.getLogger("zmqfl.component.Learner").info("trained %d", 3)
        logging.getLogger("zmqfl.cell").warning("late")
        try:
            raise ValueError("odd")
        except ValueError:
            logging.getLogger("mine").exception("failed")
    assert root.handlers == before
    folder = tmp_path / "site-1" / (job_id or "")
    lines = [json.loads(line) for line in (folder / "log.json").read_text().splitlines()]
    assert [(line["level"], line["logger"], line["message"]) for line in lines] == [
        ("INFO", "zmqfl.component.Learner", "trained 3"),
        ("WARNING", "zmqfl.cell", "late"),
        ("ERROR", "mine", "failed"),
    ]
    assert lines[2]["exception"].endswith("ValueError: odd")
    assert [line[24:] for line in (folder / "log_fl.txt").read_text().splitlines()] == [" INFO trained 3"]
    errors = (folder / "error_log.txt").read_text()
    assert "WARNING late" in errors
    assert "ValueError: odd" in errors
    assert "trained" not in errors
