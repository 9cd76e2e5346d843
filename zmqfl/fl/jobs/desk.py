"""The jobs of a federation, as its server sees them. No I/O: it is told what happened and answers with what to do.

    a job is    when                              it becomes, and what is done
    deploying   deployed(clients): enough         running: Start at the server and at each client
                too few of them, or one missing   failed: End at all
                abort                             aborted: End at all
    running     exited(server, 0)                 done: End at the clients, with time to leave by themselves
                exited(server, other)             failed: End at the clients
                exited(client, its mistake)       failing: End at the server
                abort                             aborting: End at the server
    failing     exited(server, any)               failed: End at the clients
    aborting    exited(server, any)               aborted: End at the clients

    a server that is started again takes its jobs up: one that was running is started again (Start at the server; its
    clients ask), all others are over. One that is stopped on purpose aborts them.

`done`, `failed` and `aborted` are final: whatever comes later changes nothing. Settle comes once, with each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from zmqfl.errors import InvalidRequest
from zmqfl.fl.jobs.job_folder import SERVER, JobMeta

State = Literal["deploying", "running", "failing", "aborting", "done", "failed", "aborted"]

FINAL: Final = ("done", "failed", "aborted")
LEAVING: Final = 10.0
"""Seconds that clients may take to end after the server has."""


@dataclass(frozen=True, slots=True)
class Start:
    """Have a site start its process of a job. `clients`: name -> FQCN of the site, of all that take part."""

    site: str
    job_id: str
    clients: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class End:
    """Have a site end its process of a job, when it has not ended by itself within `patience` seconds."""

    site: str
    job_id: str
    patience: float


@dataclass(frozen=True, slots=True)
class Settle:
    """A job is over: tell who waits for it."""

    job_id: str


DeskCommand = Start | End | Settle


@dataclass(slots=True)
class JobRecord:
    """What is known of a job."""

    id: str
    meta: JobMeta
    submitted: float
    """When, in seconds of the wall clock; so the next two. 0: not yet."""
    started: float = 0.0
    ended: float = 0.0
    state: State = "deploying"
    reason: str = ""
    """Why it failed, or who aborted it."""
    clients: dict[str, str] = field(default_factory=dict)
    """Name of a client -> FQCN of its site."""


class JobDesk:
    """See the module; `root`: FQCN of the server's site."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.jobs: dict[str, JobRecord] = {}

    def submit(self, job_id: str, meta: JobMeta, now: float) -> JobRecord:
        """Open the file of a job that is about to be deployed."""
        record = self.jobs[job_id] = JobRecord(job_id, meta, now)
        return record

    def deployed(
        self, job_id: str, clients: Mapping[str, str], refused: Mapping[str, str], now: float
    ) -> list[DeskCommand]:
        """These clients (name -> FQCN) have the job; those of `refused` (name -> reason) have not."""
        job = self.find(job_id)
        job.clients = dict(clients)
        if job.state != "deploying":  # it was aborted meanwhile
            return self._end_clients(job, 0.0)
        missing = [name for name in job.meta.mandatory_clients if name not in clients]
        if missing or len(clients) < job.meta.min_clients:
            wanted = f"client {missing[0]!r}" if missing else f"{job.meta.min_clients} clients"
            told = "".join(f"; {name}: {reason}" for name, reason in refused.items())
            return self._over(job, "failed", f"needs {wanted}, and {len(clients)} can take it{told}", now)
        job.state, job.started = "running", now
        told_clients = tuple(job.clients.items())
        return [Start(site, job_id, told_clients) for site in (self.root, *job.clients.values())]

    def exited(
        self, job_id: str, site: str, status: int, is_mistake: bool, words: str, now: float
    ) -> list[DeskCommand]:
        """The process of a job at a site has ended for good. `words`: the last that it said."""
        job = self.jobs.get(job_id)
        if job is None or job.state in FINAL or site not in (self.root, *job.clients.values()):
            return []
        if site != self.root:
            return self._lost(job, site, words) if is_mistake else []
        match job.state:
            case "aborting":
                return self._over(job, "aborted", job.reason, now)
            case "failing":
                return self._over(job, "failed", job.reason, now)
        if status:
            return self._over(job, "failed", words or f"the server's process ended with status {status}", now)
        return self._over(job, "done", "", now, LEAVING)

    def abort(self, job_id: str, reason: str, now: float) -> list[DeskCommand]:
        """Somebody wants a job to end. Raises `InvalidRequest` for one that is over, or unknown."""
        job = self.find(job_id)
        if job.state in FINAL:
            raise InvalidRequest(f"job {job_id!r} is over already: {job.state}")
        if job.state == "deploying":
            return self._over(job, "aborted", reason, now)
        job.state, job.reason = "aborting", reason
        return [End(self.root, job_id, 0.0)]

    def resume(self, record: JobRecord, now: float) -> list[DeskCommand]:
        """Take up a job of an earlier start of the server: Start at the server; its clients ask by themselves.

        What was being deployed, or ended, is over.
        """
        self.jobs[record.id] = record
        match record.state:
            case "running":
                return [Start(self.root, record.id, tuple(record.clients.items()))]
            case "aborting":
                return self._over(record, "aborted", record.reason, now)
            case "deploying" | "failing":
                return self._over(record, "failed", record.reason or "the server was started again", now)
        return []

    def stop(self, now: float) -> None:
        """The server is stopped on purpose, and all of its jobs with it."""
        for job in self.jobs.values():
            if job.state not in FINAL:
                job.state, job.reason, job.ended = "aborted", "the server was stopped", now

    def running_at(self, site: str) -> list[tuple[JobRecord, str]]:
        """The running jobs of a site, each with its name there."""
        return [
            (job, name)
            for job in self.jobs.values()
            for name, fqcn in job.clients.items()
            if fqcn == site and job.state == "running"
        ]

    def find(self, job_id: str) -> JobRecord:
        """A job. Raises `InvalidRequest` when there is none of that id."""
        if (job := self.jobs.get(job_id)) is None:
            raise InvalidRequest(f"there is no job {job_id!r}; look at `zmqfl jobs list`")
        return job

    # -- within ------------------------------------------------------------------------------------------------------

    def _lost(self, job: JobRecord, site: str, words: str) -> list[DeskCommand]:
        """A client's part of the job cannot be used: without mending it, no start of it would go better."""
        if job.state != "running":
            return []
        job.state, job.reason = "failing", f"{site}: {words}"
        return [End(self.root, job.id, 0.0)]

    def _over(self, job: JobRecord, state: State, reason: str, now: float, patience: float = 0.0) -> list[DeskCommand]:
        job.state, job.reason, job.ended = state, reason, now
        return [*self._end_clients(job, patience), Settle(job.id)]

    def _end_clients(self, job: JobRecord, patience: float) -> list[DeskCommand]:
        return [End(site, job.id, patience) for site in job.clients.values()]


def names_of(sites: Iterable[str]) -> dict[str, str]:
    """FQCN of a site -> how a job calls it: the last part of its name where no other has the same, else all of it."""
    last: dict[str, list[str]] = {}
    for site in sites:
        last.setdefault(site.rpartition(".")[2], []).append(site)
    return {
        site: short if len(same) == 1 and short != SERVER else site for short, same in last.items() for site in same
    }
