"""A job at a site, as its host has it, and how its process is started."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from zmqfl.errors import InvalidRequest
from zmqfl.launch.launcher import Job as Process
from zmqfl.launch.spec import Restart, SiteSpec


@dataclass(slots=True)
class HostedJob:
    """A job at this site."""

    id: str
    name: str
    process: Process | None = None
    order: Path | None = None
    starts: int = 0
    is_ending: bool = False
    timer: threading.Timer | None = None
    """What is to be done next: kill it, or start it again."""

    def forget_timer(self) -> None:
        """Nothing is to be done next."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def process_spec(site: SiteSpec, job: HostedJob, folder: Path, urls: Iterable[str]) -> SiteSpec:
    """The cell SITE.JOB, a child of the site's own cell over its Unix socket.

    `folder`: of all jobs of the site. `urls`: where the site listens. Raises `InvalidRequest` when no Unix socket is
    among them.
    """
    url = next((url for url in urls if url.startswith("ipc:")), "")
    if not url:
        raise InvalidRequest(f"{site.fqcn} has no Unix socket for jobs; add ipc:///PATH to its `listen`")
    return replace(
        site,
        fqcn=f"{site.fqcn}.{job.id}",
        parent=site.fqcn,
        parent_url=url,
        parent_key="",
        listen=(),
        children=(),
        keys="",
        run="zmqfl.fl.jobs.job_process:run",
        args=(str(job.order),),
        restart=Restart(policy="never"),
        work=str(folder / job.id / "work"),
        exports=(),
        allow=(),
        jobs=False,
    )
