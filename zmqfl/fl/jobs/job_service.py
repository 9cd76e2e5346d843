"""What the root of a federation does with jobs for its user: it takes them, spreads them, and tells how they are.

    topic        payload                      who may                     reply
    job_submit   {archive, proof}             the user of the root        as job_list, once it runs or cannot
    job_list     -                            every admitted cell         [{id, name, state, ...}, ...], newest last
    job_wait     {job_id}                     every admitted cell         the same of one job, once it is over
    job_abort    {job_id, proof}              the user of the root        {}, once it is over
    job_exited   {job_id, status, ...}        the sites of the job        {}
    job_mine     -                            every admitted cell         the running jobs of the site that asks

What it knows of jobs is in SITE/jobs/jobs.json: a root that is started again goes on with those that ran.

A job is code, which all sites run: so who submits one proves to be the user of the root, on its machine; see
`zmqfl.cell.file_service`. The decisions are those of `zmqfl.fl.jobs.desk`.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Final

from zmqfl.cell.cell import Cell
from zmqfl.cell.message import Message
from zmqfl.cell.net_agent import CHANNEL
from zmqfl.cell.user_proof import check_proof
from zmqfl.cell.workers import blocked
from zmqfl.errors import InvalidRequest, RequestFailed, TopologyErrors, ZmqflError, told
from zmqfl.fl.jobs import records
from zmqfl.fl.jobs.archive import unpack
from zmqfl.fl.jobs.desk import DeskCommand, End, JobDesk, JobRecord, Settle, Start, names_of
from zmqfl.fl.jobs.host import DEPLOY, END, EXITED, MINE, START, JobHost
from zmqfl.fl.jobs.job_folder import SERVER, JobFolder, read_job
from zmqfl.launch.spec import SiteSpec

log = logging.getLogger("zmqfl.jobs")

SUBMIT, LIST, WAIT, ABORT = "job_submit", "job_list", "job_wait", "job_abort"
"""The topics of people."""
DEPLOYING: Final = 120.0
"""Seconds that a site may take to get a job's files."""
ASKING: Final = 10.0
"""Seconds for a site to answer anything else."""
PEOPLE: Final = ("admin-", "supervisor-")
"""How names of cells begin that stand for a person."""


class JobService:
    """See the module."""

    def __init__(self, cell: Cell, spec: SiteSpec, host: JobHost) -> None:
        self._cell = cell
        self._spec = spec
        self._host = host
        self._desk = JobDesk(cell.fqcn)
        self._lock = threading.Lock()
        self._file = host.root / "jobs.json"
        self._waiting: dict[str, list[Future[dict[str, Any]]]] = {}

    def serve(self) -> None:
        """Answer from now on."""
        topics: dict[str, Callable[[Message], Any]] = {
            SUBMIT: self._submit,
            LIST: self._list,
            WAIT: self._wait,
            ABORT: self._abort,
            EXITED: self._exited,
            MINE: self._mine,
        }
        for topic, answer in topics.items():
            self._cell.register_request_cb(CHANNEL, topic, answer)

    def take_up(self) -> None:
        """Go on with the jobs of an earlier start."""
        for record in records.read(self._file):
            self._obey(partial(self._desk.resume, record, time.time()), resumed=True)

    def close(self) -> None:
        """The server stops: its jobs end with it, and are not taken up again."""
        with self._lock:
            if any(not job.ended for job in self._desk.jobs.values()):
                self._desk.stop(time.time())
                records.write(self._file, self._desk.jobs.values())

    # -- people --------------------------------------------------------------------------------------------------------

    def _submit(self, message: Message) -> Future[dict[str, Any]]:
        match message.payload:
            case {"archive": bytes() | bytearray() | memoryview() as archive, "proof": proof}:
                pass
            case _:
                raise InvalidRequest("job_submit takes {archive, proof}")
        self._check_proof(proof)
        data = bytes(archive)
        job = _looked_into(data)
        job_id = f"{_slug(job.meta.name)}-{secrets.token_hex(4)}"
        with self._lock:
            self._desk.submit(job_id, job.meta, time.time())
        log.info("job %s: submitted", job_id)
        begun: Future[dict[str, Any]] = Future()
        spreading = threading.Thread(
            target=self._spread, args=(job_id, job, data, begun), name=f"zmqfl-job:{job_id}", daemon=True
        )
        spreading.start()
        return begun

    def _list(self, message: Message) -> list[dict[str, Any]]:
        with self._lock:
            return [_told(job) for job in self._desk.jobs.values()]

    def _wait(self, message: Message) -> Future[dict[str, Any]]:
        match message.payload:
            case {"job_id": str() as job_id}:
                return self._end_of(job_id)
        raise InvalidRequest("job_wait takes {job_id}")

    def _abort(self, message: Message) -> Future[dict[str, Any]]:
        match message.payload:
            case {"job_id": str() as job_id, "proof": proof}:
                pass
            case _:
                raise InvalidRequest("job_abort takes {job_id, proof}")
        self._check_proof(proof)
        self._obey(lambda: self._desk.abort(job_id, "aborted by its user", time.time()))
        return self._end_of(job_id)

    def _check_proof(self, proof: object) -> None:
        check_proof(self._cell.fqcn, Path(self._spec.run_dir) if self._spec.run_dir else None, proof)

    def _end_of(self, job_id: str) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            job = self._desk.find(job_id)
            if job.ended:
                future.set_result(_told(job))
            else:
                self._waiting.setdefault(job_id, []).append(future)
        return future

    # -- sites ---------------------------------------------------------------------------------------------------------

    def _exited(self, message: Message) -> dict[str, Any]:
        match message.payload:
            case {
                "job_id": str() as job_id,
                "status": int() as status,
                "mistake": bool() as is_mistake,
                "words": words,
            }:
                site, said = message.origin, str(words)
                self._obey(lambda: self._desk.exited(job_id, site, status, is_mistake, said, time.time()))
                return {}
        raise InvalidRequest("job_exited takes {job_id, status, mistake, words}")

    def _mine(self, message: Message) -> list[dict[str, Any]]:
        with self._lock:
            found = self._desk.running_at(message.origin)
            return [{"job_id": job.id, "name": name, "clients": dict(job.clients)} for job, name in found]

    def _spread(self, job_id: str, job: JobFolder, data: bytes, begun: Future[dict[str, Any]]) -> None:
        """Have all sites of a job get its files, and start it; on a thread of its own."""
        try:
            deployed, refused = self._deploy_clients(job_id, job, data)
            self._host.deploy(job_id, SERVER, list(deployed), data)
        except Exception as error:  # whatever it is, who has submitted the job waits for an answer
            log.exception("job %s: was not spread", job_id)
            deployed, refused = {}, {SERVER: told(error)}
        self._obey(lambda: self._desk.deployed(job_id, deployed, refused, time.time()))
        with self._lock:
            begun.set_result(_told(self._desk.jobs[job_id]))

    def _deploy_clients(self, job_id: str, job: JobFolder, data: bytes) -> tuple[dict[str, str], dict[str, str]]:
        """(name -> FQCN of the sites that have it, name -> reason of those that have not)."""
        rows = self._cell.request(self._cell.fqcn, CHANNEL, "cells", ASKING, ASKING, deadline=ASKING).result().payload
        sites = [row[0] for row in rows if row[0] != self._cell.fqcn and not _is_hidden(row[0], self._desk.jobs)]
        names = {site: name for site, name in names_of(sites).items() if job.app_of(name) is not None}
        refused = {name: "is not connected" for name in job.clients if name not in names.values()}
        deployed: dict[str, str] = {}
        handles = {
            site: self._cell.request(site, CHANNEL, DEPLOY,
                                     {"job_id": job_id, "name": name, "clients": list(names.values()), "archive": data},
                                     DEPLOYING, deadline=DEPLOYING)
            for site, name in names.items()
        }  # fmt: skip
        for site, handle in handles.items():
            with blocked():
                reply = handle.reply()
            if reply.ok:
                deployed[names[site]] = site
            elif "no callback" in reply.error:
                refused[names[site]] = "takes no jobs; set `jobs: true` for it"
            else:
                refused[names[site]] = reply.error or str(reply.return_code)
        return deployed, refused

    # -- the desk ------------------------------------------------------------------------------------------------------

    def _obey(self, decide: Callable[[], list[DeskCommand]], resumed: bool = False) -> None:
        with self._lock:
            commands = decide()
            records.write(self._file, self._desk.jobs.values())
        for command in commands:
            match command:
                case Start(job_id=job_id) if resumed:
                    self._host.resume(job_id, SERVER, dict(command.clients))
                case Start():
                    self._start(command)
                case End(site=site, job_id=job_id, patience=patience) if site == self._cell.fqcn:
                    self._host.end(job_id, patience)
                case End():
                    self._cell.request(
                        command.site, CHANNEL, END, {"job_id": command.job_id, "patience": command.patience}, ASKING
                    )
                case Settle():
                    self._settle(command.job_id)

    def _start(self, command: Start) -> None:
        clients = dict(command.clients)
        if command.site == self._cell.fqcn:
            try:
                self._host.start(command.job_id, clients)
            except ZmqflError as error:
                self._failed_to_start(command, str(error))
            return
        payload = {"job_id": command.job_id, "clients": clients}
        handle = self._cell.request(command.site, CHANNEL, START, payload, ASKING, deadline=ASKING)
        handle.add_done_callback(lambda done: self._started(command, done))

    def _started(self, command: Start, handle: Any) -> None:
        try:
            handle.result()
        except RequestFailed as error:
            self._failed_to_start(command, error.reason)

    def _failed_to_start(self, command: Start, reason: str) -> None:
        self._obey(lambda: self._desk.exited(command.job_id, command.site, 1, True, reason, time.time()))

    def _settle(self, job_id: str) -> None:
        with self._lock:
            job = self._desk.jobs[job_id]
            told, waiting = _told(job), self._waiting.pop(job_id, [])
        level = logging.INFO if job.state == "done" else logging.WARNING
        log.log(level, "job %s: %s%s", job_id, job.state, f": {job.reason}" if job.reason else "")
        for future in waiting:
            future.set_result(told)


def _looked_into(data: bytes) -> JobFolder:
    """The job in an archive; its paths lead nowhere any more. Raises `InvalidRequest`."""
    with tempfile.TemporaryDirectory(prefix="zmqfl-job-") as folder:
        unpack(data, Path(folder, "job"))
        try:
            return read_job(Path(folder, "job"))
        except TopologyErrors as error:
            raise InvalidRequest(error.line().removeprefix(f"{folder}/")) from None


def _slug(name: str) -> str:
    """A name as part of the name of a cell."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "_-") else "-" for char in name)
    return plain.strip("-")[:40] or "job"


def _is_hidden(fqcn: str, jobs: Any) -> bool:
    """Whether a cell is no site: it stands for a person, or is a process of a job."""
    last = fqcn.rpartition(".")[2]
    return last.startswith(PEOPLE) or last in jobs


def _told(job: JobRecord) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.meta.name,
        "state": job.state,
        "reason": job.reason,
        "submitted": job.submitted,
        "started": job.started,
        "ended": job.ended,
        "clients": list(job.clients),
    }
