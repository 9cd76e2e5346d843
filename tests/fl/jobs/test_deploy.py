"""The files of a site: its app alone, where the workspace says, in the place of what was there."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fl.jobs.conftest import META, WriteJob
from zmqfl.context.workspace import Workspace
from zmqfl.fl.jobs.deploy import deploy
from zmqfl.fl.jobs.job_folder import read_job


def test_run_F11_layout(write_job: WriteJob) -> None:
    job = read_job(
        write_job(
            {
                "meta.json": {**META, "study": "s"},
                "app/custom/works.py": "x = 1\n",
                "app/custom/__pycache__/works.pyc": "",
                "other/custom/secret.py": "",
            }
        )
    )
    workspace = Workspace("ws/site-1", "site-1")
    old = Path("ws/site-1/job-7/app_site-1/custom/old.py")
    old.parent.mkdir(parents=True)
    old.touch()
    deploy(job, "app", workspace, "job-7", ["site-1", "site-2"])
    assert sorted(str(file.relative_to("ws/site-1/job-7")) for file in Path("ws").rglob("*") if file.is_file()) == [
        "app_site-1/config/config_fed_client.json",
        "app_site-1/config/config_fed_server.json",
        "app_site-1/custom/works.py",
        "meta.json",
    ]
    assert json.loads(Path("ws/site-1/job-7/meta.json").read_text()) == {
        "name": "trial",
        "min_clients": 1,
        "mandatory_clients": [],
        "deploy_map": {"app": ["@ALL"]},
        "study": "s",
        "job_id": "job-7",
        "job_folder_name": "job",
        "job_clients": ["site-1", "site-2"],
        "byoc": True,
    }
