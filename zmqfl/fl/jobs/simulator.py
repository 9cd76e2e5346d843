"""A job on one machine: the server and each client as a process, joined by Unix sockets.

    WORKSPACE/server/JOB, WORKSPACE/site-1/JOB     what each site has of the job, and what it writes: see `deploy`
    WORKSPACE/SITE/log.txt                         what it prints and logs; log.json, error_log.txt, log_fl.txt
    WORKSPACE/startup, WORKSPACE/local             are kept from run to run; all else is wiped at the start

    the exit status is   when
    0                    the run has ended as it should
    1                    it could not begin: the job, or what was asked for, cannot be used
    2                    it failed or was aborted

Source: reference "flare" 6.10; there each client runs only while it executes, here `threads` bounds how many execute at
once while all of them live, and END_RUN is an event of every client.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from zmqfl.config import CellConfig
from zmqfl.context.workspace import Workspace
from zmqfl.errors import UserError
from zmqfl.fl.jobs.app_config import Role
from zmqfl.fl.jobs.deploy import deploy
from zmqfl.fl.jobs.job_folder import SERVER, JobFolder, read_job
from zmqfl.fl.jobs.order import JobOrder
from zmqfl.fl.jobs.slots import granting
from zmqfl.fqcn import FQCN
from zmqfl.launch.ending import USER_MISTAKE
from zmqfl.launch.launcher import Job as Process
from zmqfl.launch.local import LocalLauncher
from zmqfl.launch.log_stream import FolderWatch, LogLine, LogReader, last_lines, merged
from zmqfl.launch.spec import Listener, Restart, SiteSpec, socket_file

OK, NOT_BEGUN, FAILED = 0, 1, 2
JOB_ID: Final = "simulate_job"
CLIENTS: Final = 2
"""Clients of a simulation that names none, nor does its job."""
MOST_CLIENTS: Final = 100
THREADS: Final = 1
LEAVING: Final = 10.0
"""Seconds that clients may take to end after the server has, or the server after the last client."""
STOPPING: Final = 5.0
"""Seconds that a process may take to end once it was told to, before it is killed."""
_KEPT: Final = ("startup", "local")
_MARK: Final = ".simulator"
"""File that shows that a folder is the workspace of simulations, and may be wiped."""


def simulate(
    job: str | Path,
    workspace: str | Path = "simulator_workspace",
    n_clients: int | None = None,
    clients: Sequence[str] = (),
    threads: int | None = None,
    *,
    most_clients: int = MOST_CLIENTS,
    show: Callable[[LogLine], object] | None = None,
) -> int:
    """Run a job folder until it has ended; returns the exit status, 0 or 2.

    `clients`: their names; without any, `n_clients` of them are called site-1, site-2, ...; without both, they are
    those of the job's deploy map, else two. `threads`: how many may execute at once (default 1). `show` is called with
    each line that a process logs. Raises `UserError` for what cannot begin.
    """
    folder = read_job(job)
    names = choose_clients(folder, n_clients, clients, most_clients)
    bound = THREADS if threads is None else threads
    if not 1 <= bound <= len(names):
        raise UserError(
            f"{bound} cannot execute at once among {len(names)}", field="-t", remedy="give 1 to that number"
        )
    root = Path(workspace).absolute()
    _wipe(root)
    return asyncio.run(_Simulation(folder, names, root, bound, show).run())


def choose_clients(job: JobFolder, count: int | None, names: Sequence[str], most: int = MOST_CLIENTS) -> list[str]:
    """The names of the clients. Raises `UserError`."""
    if names:
        chosen, field = list(names), "-c"
    elif count is not None:
        chosen, field = [f"site-{i}" for i in range(1, count + 1)], "-n"
    else:
        chosen, field = list(job.clients) or [f"site-{i}" for i in range(1, CLIENTS + 1)], "deploy_map"
    for name in chosen:
        if problem := FQCN.validate(name) or ("holds a dot" if "." in name else ""):
            raise UserError(f"{name!r} is no name of a client: {problem}", field=field, remedy="write a plain name")
        if name.lower() == SERVER or chosen.count(name) > 1:
            raise UserError(f"{name!r} is taken", field=field, remedy="name each client once, and none server")
        if job.app_of(name) is None:
            remedy = f"name clients that it names: {', '.join(job.clients)}"
            raise UserError(f"the deploy map of the job has no {name!r}", field=field, remedy=remedy)
    if len(chosen) > most:
        raise UserError(f"{len(chosen)} clients are more than {most}", field=field, remedy="raise the limit by -m")
    if len(chosen) < job.meta.min_clients:
        problem = f"the job needs {job.meta.min_clients} clients, and there are {len(chosen)}"
        raise UserError(problem, field=field, remedy=f"give {job.meta.min_clients} or more")
    if missing := [name for name in job.meta.mandatory_clients if name not in chosen]:
        raise UserError(f"the job needs the client {missing[0]!r}", field=field, remedy="name it")
    return chosen


def _wipe(root: Path) -> None:
    """Make the workspace, or empty it when it is one. Raises `UserError`."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        entries = [entry for entry in root.iterdir() if entry.name not in _KEPT]
        if entries and not (root / _MARK).exists():
            remedy = "name a new folder, or an empty one"
            raise UserError(f"{root} holds files that no simulation has made", field="-w", remedy=remedy)
        (root / _MARK).touch()
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != _MARK:
                entry.unlink()
    except OSError as error:
        problem = f"{root} cannot be the workspace: {error.strerror}"
        raise UserError(problem, field="-w", remedy="name a folder that you may write") from None


class _Simulation:
    """One run: its processes, from the first start to the last end."""

    def __init__(
        self,
        job: JobFolder,
        names: list[str],
        root: Path,
        threads: int,
        show: Callable[[LogLine], object] | None,
    ) -> None:
        self.job = job
        self.names = names
        self.root = root
        self.threads = threads
        self.show = show
        self.ended: dict[str, asyncio.Future[int]] = {}
        self.processes: dict[str, Process] = {}
        self._stop = asyncio.Event()
        self._aborted = False

    async def run(self) -> int:
        with tempfile.TemporaryDirectory(prefix="zmqfl-sim-") as folder:
            self.run_dir = Path(folder)
            try:
                async with AsyncExitStack() as stack:
                    await self._open(stack)
                    for name in (SERVER, *self.names):
                        self._start(name)
                    return await self._attend()
            finally:
                self._keep_logs()

    async def _open(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
            stack.callback(loop.remove_signal_handler, number)
        if self.threads < len(self.names):
            await stack.enter_async_context(granting(self.run_dir / "slots", self.threads))
        if self.show is not None:
            self._readers = [LogReader(name, self.run_dir / f"{name}.log") for name in (SERVER, *self.names)]
            watch = stack.enter_context(closing(FolderWatch(self.run_dir)))
            stack.callback(self._show_logs)
            loop.add_reader(watch, self._look, watch)
            stack.callback(loop.remove_reader, watch)
        self.launcher = LocalLauncher(lambda process: loop.call_soon_threadsafe(self._exited, process))
        stack.callback(self.launcher.close)

    # -- processes -----------------------------------------------------------------------------------------------------

    def _start(self, name: str) -> None:
        role: Role = "server" if name == SERVER else "client"
        workspace = Workspace(str(self.root / name), name)
        app = self.job.app_of(name)
        assert app is not None  # `choose_clients` and `read_job` have looked
        deploy(self.job, app, workspace, JOB_ID, self.names)
        logs = Path(workspace.get_log_file_path())
        logs.symlink_to(self.run_dir / f"{name}.log")
        order = JobOrder(
            job_id=JOB_ID,
            site=name,
            role=role,
            workspace=workspace.get_root_dir(),
            server=SERVER,
            clients={client: client for client in self.names},
            min_clients=len(self.names),
            simulated=True,
            slots=str(self.run_dir / "slots") if role == "client" and self.threads < len(self.names) else "",
        )
        file = self.run_dir / f"{name}.order.json"
        order.write(file)
        self.ended[name] = asyncio.get_running_loop().create_future()
        self.processes[name] = self.launcher.start(self._spec(name, role, file))

    def _spec(self, name: str, role: Role, order: Path) -> SiteSpec:
        url = f"ipc://{socket_file(str(self.run_dir), SERVER)}"
        spec = SiteSpec(
            federation="simulator",
            fqcn=name,
            site=name,
            role=role,
            root=SERVER,
            host="localhost",
            launcher="local",
            kind="local",
            run_dir=str(self.run_dir),
            config=CellConfig(reconnect_min=0.02),
            run="zmqfl.fl.jobs.job_process:run",
            args=(str(order),),
            restart=Restart(policy="never"),
            work=str(self.root / name),
        )
        if role == "server":
            return replace(spec, listen=(Listener(url),))
        return replace(spec, parent=SERVER, parent_url=url)

    def _exited(self, process: Process) -> None:
        future = self.ended[process.fqcn]
        if not future.done():
            future.set_result(self.launcher.poll(process) or 0)

    # -- the end -------------------------------------------------------------------------------------------------------

    async def _attend(self) -> int:
        """Wait for the end of the run, and end what is left of it."""
        server = self.ended[SERVER]
        watched: list[asyncio.Task[Any]] = [asyncio.create_task(self._lost(name)) for name in self.names]
        watched += [asyncio.create_task(self._stop.wait()), asyncio.create_task(self._deserted())]
        first: list[asyncio.Future[Any]] = [server, *watched]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        for task in watched:
            task.cancel()
        self._aborted = not server.done()
        # A server that has ended as it should has told its clients, too.
        is_orderly = server.done() and server.result() in (0, 1)
        await self._end([SERVER], 0.0)
        await self._end(self.names, LEAVING if is_orderly else 0.0)
        return self._status()

    async def _lost(self, name: str) -> None:
        """Wait until a client has ended because of somebody's mistake: the run cannot go well without it."""
        if await asyncio.shield(self.ended[name]) != USER_MISTAKE:
            await asyncio.Event().wait()

    async def _deserted(self) -> None:
        """Wait until the server could have ended after the last of its clients, which nobody starts again."""
        await asyncio.wait([self.ended[name] for name in self.names])
        await asyncio.sleep(LEAVING)

    async def _end(self, names: Iterable[str], patience: float) -> None:
        """Have these end: by themselves, after `patience` by being told to, at last by a kill."""
        for force in (None, False, True):
            left = [name for name in names if not self.ended[name].done()]
            for name in left if force is not None else ():
                self.launcher.stop(self.processes[name], bool(force))
            if left and (patience or force is not None):
                await asyncio.wait([self.ended[name] for name in left], timeout=patience if force is None else STOPPING)

    def _status(self) -> int:
        statuses = {name: ended.result() for name, ended in self.ended.items()}
        for name, status in statuses.items():
            if status == USER_MISTAKE:
                raise UserError(self._last_words(name))
        return OK if not self._aborted and not statuses[SERVER] else FAILED

    def _last_words(self, name: str) -> str:
        """What a process said of the mistake; the file that it names is the user's own, not its copy."""
        lines = last_lines(self.run_dir / f"{name}.log", 1) or ["it did not say why"]
        copy = Workspace(str(self.root / name), name).get_app_dir(JOB_ID)
        own = self.job.app_folder(self.job.app_of(name) or "")
        return f"{name}: {lines[0].removeprefix('zmqfl: ').replace(copy, str(own))}"

    # -- logs ----------------------------------------------------------------------------------------------------------

    def _look(self, watch: FolderWatch) -> None:
        watch.clear()
        self._show_logs()

    def _show_logs(self) -> None:
        assert self.show is not None  # else nobody watches
        for line in merged(self._readers):
            self.show(line)

    def _keep_logs(self) -> None:
        """What the processes have written goes to where each of them has its files."""
        for name in self.processes:
            file = Path(Workspace(str(self.root / name), name).get_log_file_path())
            file.unlink(missing_ok=True)
            shutil.move(self.run_dir / f"{name}.log", file)
            os.chmod(file, 0o600)
