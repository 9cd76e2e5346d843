"""What has a site take part in jobs: it keeps their files, starts their processes, ends them and tells the server.

    topic        payload                                          reply
    job_deploy   {job_id, name, archive}                          {}, once the files of the site's app are in place
    job_start    {job_id, clients: {name: FQCN of a site}}        {}, once the process runs
    job_end      {job_id, patience: seconds}                      {}, at once: an end is told by `job_exited`

Only the root of the federation may ask. A process is the cell SITE.JOB, a child of the site's own cell over its Unix
socket. One that fails is started again, as often as `STARTS` says and after a pause, unless its job is to end: a client
that was killed in a round takes its task up again, a server that was killed goes on after the last finished round. One
that fails because of a mistake in the job is not. A site that was killed itself asks the root, after its restart, for
the jobs that it had.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zmqfl.cell.cell import Cell
from zmqfl.cell.handles import RequestHandle
from zmqfl.cell.message import Message
from zmqfl.cell.net_agent import CHANNEL
from zmqfl.context.workspace import Workspace
from zmqfl.errors import (
    AuthenticationError,
    InvalidRequest,
    RequestFailed,
    ServiceUnavailable,
    TopologyErrors,
    UserError,
    ZmqflError,
)
from zmqfl.fl.jobs.hosted_job import HostedJob, process_spec
from zmqfl.fl.jobs.order import JobOrder
from zmqfl.fqcn import FQCN
from zmqfl.launch.ending import USER_MISTAKE
from zmqfl.launch.launcher import Job as Process
from zmqfl.launch.local import LocalLauncher
from zmqfl.launch.log_stream import last_lines
from zmqfl.launch.spec import SiteSpec
from zmqfl.protocol.commands import EXIT_REPLACED

if TYPE_CHECKING:
    from zmqfl.fl.jobs.job_service import JobService

log = logging.getLogger("zmqfl.jobs")

DEPLOY, START, END = "job_deploy", "job_start", "job_end"
"""The topics."""
EXITED, MINE = "job_exited", "job_mine"
"""Topics of the root: {job_id, status, mistake, words} tells it of an end; the other asks for the jobs of a site."""
STARTS: Final = 4
"""How often the process of a job is started at most."""
PAUSE: Final = 1.0
"""Seconds before a failed process is started again; twice as many each time."""
STOPPING: Final = 8.0
"""Seconds that a process may take to end once it was told to, before it is killed."""
FOLDER: Final = "jobs"
"""Folder of a site that holds the files of its jobs."""


def serve_jobs(cell: Cell, spec: SiteSpec) -> JobHost:
    """Have a site take part in jobs; at the root of the federation, also have it take them from its user."""
    host = JobHost(cell, spec)
    host.serve()
    if not spec.parent:
        from zmqfl.fl.jobs.job_service import JobService

        host.service = JobService(cell, spec, host)
        host.service.serve()
    return host


class JobHost:
    """See the module."""

    def __init__(self, cell: Cell, spec: SiteSpec) -> None:
        self._cell = cell
        self._spec = spec
        self._name = FQCN.split(spec.fqcn)[-1]
        self.root = Path(spec.folder, FOLDER)
        self._jobs: dict[str, HostedJob] = {}
        self._lock = threading.Lock()
        self._launcher: LocalLauncher | None = None
        self._ends = ThreadPoolExecutor(1, thread_name_prefix=f"zmqfl-jobs:{spec.fqcn}")
        """Handles the ends of processes: the launcher's own thread must not wait for whoever waits for it."""
        self._closing = False
        self.service: JobService | None = None
        """At the root."""
        self._all_ended = threading.Condition(self._lock)

    def serve(self) -> None:
        """Answer from now on."""
        for topic, answer in ((DEPLOY, self._deploy), (START, self._start), (END, self._end)):
            self._cell.register_request_cb(CHANNEL, topic, answer)

    def take_up(self) -> None:
        """Go on with the jobs that this site had when its process ended; called once the cell is connected."""
        if self.service is not None:
            self.service.take_up()
            return
        self._cell.request(self._cell.root, CHANNEL, MINE).add_done_callback(
            lambda handle: self._ends.submit(self._take_up_all, handle)
        )

    def _take_up_all(self, handle: RequestHandle) -> None:
        try:
            jobs = handle.result().payload
        except RequestFailed as error:  # the root takes no jobs, or has gone again
            log.debug("no jobs were taken up: %s", error)
            return
        for job in jobs:
            self.resume(job["job_id"], job["name"], job["clients"])

    def resume(self, job_id: str, name: str, clients: dict[str, str]) -> None:
        """Start the process of a job whose files an earlier start of this site was given."""
        if not Path(self.workspace(name).get_app_dir(job_id)).is_dir():
            log.warning("job %s: its files are not here any more", job_id)
            return
        with self._lock:
            if self._closing or job_id in self._jobs:
                return
            self._jobs[job_id] = HostedJob(job_id, name)
        log.info("job %s: taken up again", job_id)
        try:
            self.start(job_id, clients)
        except ZmqflError as error:
            log.warning("job %s: %s", job_id, error)

    def close(self) -> None:
        """End all processes of jobs: told first, then killed."""
        if self.service is not None:
            self.service.close()
        with self._lock:
            self._closing = True
            for job in self._jobs.values():
                job.is_ending = True
                job.forget_timer()
                self._stop(job, force=False)
            self._all_ended.wait_for(lambda: not self._running(), STOPPING)
        if self._launcher is not None:
            self._launcher.close()
        self._ends.shutdown()

    def workspace(self, name: str) -> Workspace:
        """Where this site keeps the files of jobs in which it is called so."""
        return Workspace(str(self.root), name)

    # -- what the root asks --------------------------------------------------------------------------------------------

    def _deploy(self, message: Message) -> dict[str, Any]:
        self._check_root(message)
        match message.payload:
            case {"job_id": str() as job_id, "name": str() as name, "clients": list() as clients, "archive": archive}:
                pass
            case _:
                raise InvalidRequest("job_deploy takes {job_id, name, clients, archive}")
        self.deploy(job_id, name, clients, archive)
        return {}

    def deploy(self, job_id: str, name: str, clients: list[str], archive: Any) -> None:
        """Put the files of this site's app where its process looks for them. Raises `InvalidRequest`."""
        from zmqfl.fl.jobs.archive import unpack
        from zmqfl.fl.jobs.deploy import deploy
        from zmqfl.fl.jobs.job_folder import SERVER, read_job

        if FQCN.validate(job_id) or "." in job_id or FQCN.validate(f"{self._spec.fqcn}.{job_id}"):
            raise InvalidRequest(f"{job_id!r} is no id of a job")
        if self._closing:
            raise ServiceUnavailable(f"{self._spec.fqcn} is stopping")
        with self._lock:
            if job_id in self._jobs:
                raise InvalidRequest(f"job {job_id!r} is here already")
            self._jobs[job_id] = HostedJob(job_id, name)
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with tempfile.TemporaryDirectory(prefix=".incoming-", dir=self.root) as folder:
                unpack(bytes(archive), Path(folder, "job"))
                job = read_job(Path(folder, "job"))
                app = job.app_of(SERVER if self._is_root else name)
                if app is None:
                    raise InvalidRequest(f"the job has no app for {name!r}")
                deploy(job, app, self.workspace(name), job_id, clients)
        except (TopologyErrors, InvalidRequest, OSError) as error:
            with self._lock:
                del self._jobs[job_id]
            raise InvalidRequest(str(error)) from None

    def _start(self, message: Message) -> dict[str, Any]:
        self._check_root(message)
        match message.payload:
            case {"job_id": str() as job_id, "clients": dict() as clients}:
                self.start(job_id, clients)
                return {}
        raise InvalidRequest("job_start takes {job_id, clients}")

    def start(self, job_id: str, clients: dict[str, str]) -> None:
        """Start the process of a job; `clients`: name -> FQCN of its site. Raises `InvalidRequest`."""
        job = self._job(job_id)
        order = JobOrder(
            job_id=job_id,
            site=job.name,
            role="server" if self._is_root else "client",
            workspace=self.workspace(job.name).get_root_dir(),
            server=f"{self._cell.root}.{job_id}",
            clients={name: f"{site}.{job_id}" for name, site in clients.items()},
            min_clients=len(clients),
        )
        job.order = Path(self._spec.run_dir, f"{self._spec.fqcn}.{job_id}.order.json")
        order.write(job.order)
        with self._lock:
            self._spawn(job)

    def _end(self, message: Message) -> dict[str, Any]:
        self._check_root(message)
        match message.payload:
            case {"job_id": str() as job_id, "patience": int() | float() as patience}:
                self.end(job_id, float(patience))
                return {}
        raise InvalidRequest("job_end takes {job_id, patience}")

    def end(self, job_id: str, patience: float) -> None:
        """End the process of a job, when it has not ended by itself within `patience` seconds."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return
            job.is_ending = True
            job.forget_timer()
            if job.process is None:
                self._forget(job)
            elif patience:
                self._later(job, patience, lambda: self._stop(job, force=False))
            else:
                self._stop(job, force=False)

    # -- processes; the lock is held -----------------------------------------------------------------------------------

    def _spawn(self, job: HostedJob) -> None:
        if self._closing or job.is_ending:
            return
        if self._launcher is None:
            self._launcher = LocalLauncher(lambda process: self._ends.submit(self._exited, process))
        job.starts += 1
        job.process = self._launcher.start(process_spec(self._spec, job, self.root, self._cell.urls))
        log.info("job %s: process %d", job.id, job.process.id)

    def _stop(self, job: HostedJob, force: bool) -> None:
        if job.process is not None and self._launcher is not None:
            self._launcher.stop(job.process, force)
            if not force and not self._closing:
                self._later(job, STOPPING, lambda: self._stop(job, force=True))

    def _later(self, job: HostedJob, seconds: float, action: Any) -> None:
        """Do something to a job after a pause, unless something else is decided before."""

        def act() -> None:
            with self._lock:
                if job.timer is timer and not self._closing:
                    job.timer = None
                    action()

        timer = threading.Timer(seconds, act)
        timer.daemon = True
        job.timer = timer
        timer.start()

    def _running(self) -> list[HostedJob]:
        return [job for job in self._jobs.values() if job.process is not None]

    def _forget(self, job: HostedJob) -> None:
        """It will not run here again: its files stay."""
        self._jobs.pop(job.id, None)
        if job.order is not None:
            job.order.unlink(missing_ok=True)
        for file in Path(self._spec.run_dir).glob(f"{self._spec.fqcn}.{job.id}.*.json"):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.root / job.id / "work", ignore_errors=True)

    # -- the ends of processes -----------------------------------------------------------------------------------------

    def _exited(self, process: Process) -> None:
        assert self._launcher is not None  # it has started this
        status = self._launcher.poll(process) or 0
        with self._lock:
            job = next((job for job in self._jobs.values() if job.process == process), None)
            if job is None:
                return
            job.process = None
            job.forget_timer()
            if not job.is_ending and job.starts < STARTS and self._may_start_again(status):
                pause = PAUSE * 2 ** (job.starts - 1)
                log.warning("job %s: ended with status %d; starts again in %g s", job.id, status, pause)
                self._later(job, pause, lambda: self._spawn(job))
                return
            self._forget(job)
            self._all_ended.notify_all()
        log.info("job %s: ended with status %d", job.id, status)
        if not self._closing:
            self._tell(job, process, status)

    def _may_start_again(self, status: int) -> bool:
        """Whether another start may go better. A server that ends by itself has ended the run; one that was killed goes
        on from its snapshot."""
        return status < 0 if self._is_root else status not in (0, USER_MISTAKE, EXIT_REPLACED)

    def _tell(self, job: HostedJob, process: Process, status: int) -> None:
        lines = last_lines(Path(self._spec.run_dir, f"{process.fqcn}.log"), 1) if status else []
        words = lines[0].removeprefix("zmqfl: ") if lines else ""
        told = {"job_id": job.id, "status": status, "mistake": status == USER_MISTAKE, "words": words}
        with contextlib.suppress(UserError):
            self._cell.request(self._cell.root, CHANNEL, EXITED, told)

    # -- within ------------------------------------------------------------------------------------------------------

    @property
    def _is_root(self) -> bool:
        return not self._spec.parent

    def _job(self, job_id: str) -> HostedJob:
        if (job := self._jobs.get(job_id)) is None:
            raise InvalidRequest(f"job {job_id!r} was not deployed here")
        return job

    def _check_root(self, message: Message) -> None:
        if message.origin != self._cell.root:
            raise AuthenticationError(f"only the root of the federation may start jobs at {self._spec.fqcn}")
