"""What a site finds on its disk when it runs a job.

    ROOT/JOB/meta.json            what the job says of itself, and how it runs here
    ROOT/JOB/app_SITE/config, custom

Source: reference "flare" 6.10. `zmqfl.context.workspace.Workspace` knows the folders.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from zmqfl.context.workspace import Workspace
from zmqfl.fl.jobs.job_folder import JobFolder


def deploy(job: JobFolder, app: str, workspace: Workspace, job_id: str, clients: Sequence[str]) -> None:
    """Copy one app of a job to where its site looks for it, in the place of what was there.

    `clients`: the names of those that take part. Raises OSError.
    """
    folder = Path(workspace.get_app_dir(job_id))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(job.app_folder(app), folder, ignore=shutil.ignore_patterns("__pycache__"))
    meta = {
        **job.meta.extra,
        "name": job.meta.name,
        "min_clients": job.meta.min_clients,
        "mandatory_clients": list(job.meta.mandatory_clients),
        "deploy_map": {name: list(sites) for name, sites in job.meta.deploy_map.items()},
        "job_id": job_id,
        "job_folder_name": job.path.absolute().name,
        "job_clients": list(clients),
        "byoc": (folder / "custom").is_dir(),
    }
    Path(workspace.get_job_meta_path(job_id)).write_text(json.dumps(meta, indent=2) + "\n")
