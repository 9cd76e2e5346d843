"""The launcher of this machine: each site is a child process with a session of its own, its output goes to a file.

A child must not outlive whoever supervises it: the kernel sends it SIGTERM when the *thread* that started it ends
(PR_SET_PDEATHSIG). So one thread starts all children, waits for their ends, and lives as long as they do.

When a child has ended, whatever else is in its session is killed before its status is told, so that nothing is left.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from zmqfl.errors import UserError
from zmqfl.launch.launcher import PARENT, UNKNOWN_STATUS, Job
from zmqfl.launch.process import is_alive, mark_of, signal_session
from zmqfl.launch.spec import SiteSpec, write_whole

T = TypeVar("T")


class LocalLauncher:
    """See the module, and `Launcher`. `on_exit(job)` is called, on the launcher's thread, when one has ended.

    `environ`: variables for all sites, beside those of this process.
    """

    def __init__(self, on_exit: Callable[[Job], object], environ: Mapping[str, str] = MappingProxyType({})) -> None:
        self._on_exit = on_exit
        self._environ = environ
        self._children: dict[Job, subprocess.Popen[bytes] | None] = {}
        self._descriptors: dict[int, Job] = {}
        self._statuses: dict[Job, int] = {}
        self._work: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="zmqfl-launcher", daemon=True)
        self._thread.start()

    def start(self, spec: SiteSpec) -> Job:
        """Start the process of a site; its output is added to `logs(spec)`. Raises `UserError`."""
        file = Path(spec.run_dir, f"{spec.fqcn}.spec.json")
        write_whole(file, spec.to_json())
        return self._on_thread(lambda: self._spawn(spec, file))

    def poll(self, job: Job) -> int | None:
        """The exit status; None while it runs."""
        return self._statuses.get(job)

    def stop(self, job: Job, force: bool = False) -> None:
        """SIGTERM for the process, or SIGKILL for its whole session."""
        self._on_thread(lambda: self._signal(job, force))

    def logs(self, spec: SiteSpec) -> Path:
        """The file with the output of a site."""
        return Path(spec.log)

    def adopt(self, job: Job) -> bool:
        """Watch over the session of a process that was started by another supervisor."""
        return self._on_thread(lambda: self._adopt(job))

    def close(self) -> None:
        """Kill what still runs, and end the thread."""
        if self._closing:
            return
        for job in list(self._children):
            self.stop(job, force=True)
        self._closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        os.close(self._wake)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _on_thread(self, action: Callable[[], T]) -> T:
        future: Future[T] = Future()

        def act() -> None:
            try:
                future.set_result(action())
            except BaseException as error:  # noqa: BLE001  the caller's to know
                future.set_exception(error)

        self._work.append(act)
        os.eventfd_write(self._wake, 1)
        return future.result()

    def _run(self) -> None:
        while not self._closing or self._children:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._wake:
                    os.eventfd_read(self._wake)
                else:
                    self._ended(descriptor)
            while self._work:
                self._work.popleft()()

    def _spawn(self, spec: SiteSpec, file: Path) -> Job:
        environ = {**os.environ, **self._environ, PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "zmqfl.launch.site", str(file)]
        with open(spec.log, "ab", opener=_private) as log:
            try:
                child = subprocess.Popen(
                    command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as error:
                raise UserError(f"cannot start {spec.fqcn}: {error.strerror}", remedy="end other processes") from None
            job = Job(spec.fqcn, child.pid, mark_of(child.pid))
            log.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:23].encode() + b"Z started, pid %d\n" % child.pid)
        self._watch(job, child)
        return job

    def _adopt(self, job: Job) -> bool:
        if not is_alive(job.id, job.mark):
            signal_session(job.id, job.mark, signal.SIGKILL)  # its leader ended unwatched
            return False
        self._watch(job, None)
        return True

    def _watch(self, job: Job, child: subprocess.Popen[bytes] | None) -> None:
        descriptor = os.pidfd_open(job.id)
        self._descriptors[descriptor] = job
        self._children[job] = child
        self._poll.register(descriptor, select.POLLIN)

    def _ended(self, descriptor: int) -> None:
        job = self._descriptors.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        signal_session(job.id, job.mark, signal.SIGKILL)
        child = self._children.pop(job)
        self._statuses[job] = UNKNOWN_STATUS if child is None else child.wait()
        self._on_exit(job)

    def _signal(self, job: Job, force: bool) -> None:
        if job not in self._children:
            return  # it has ended, and its id may be another's
        if force:
            signal_session(job.id, job.mark, signal.SIGKILL)
        else:
            os.kill(job.id, signal.SIGTERM)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
