"""What a server knows of its jobs, as a file: for its next start."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from zmqfl.fl.jobs.desk import FINAL, JobRecord
from zmqfl.fl.jobs.job_folder import JobMeta
from zmqfl.launch.spec import write_whole

MOST_ENDED: Final = 100
"""Jobs that have ended and are remembered, the youngest."""


def write(file: Path, records: Iterable[JobRecord]) -> None:
    """Write them, whole or not at all."""
    known = list(records)
    ended = [record for record in known if record.state in FINAL]
    forgotten = {record.id for record in ended[:-MOST_ENDED]}
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(file, json.dumps([asdict(record) for record in known if record.id not in forgotten], indent=1) + "\n")


def read(file: Path) -> list[JobRecord]:
    """What `write` wrote last, in its order; nothing where there is no file."""
    try:
        values = json.loads(file.read_text())
    except FileNotFoundError:
        return []
    return [_record(each) for each in values]


def _record(values: dict[str, Any]) -> JobRecord:
    meta = values.pop("meta")
    deploy_map = {app: tuple(sites) for app, sites in meta.pop("deploy_map").items()}
    mandatory = tuple(meta.pop("mandatory_clients"))
    return JobRecord(meta=JobMeta(**meta, mandatory_clients=mandatory, deploy_map=deploy_map), **values)
