"""Starts a plan, keeps its sites running, and leaves nothing behind.

    a site is   waiting      its parent has not bound its sockets yet
                running
                restarting   after a pause that doubles (see `restart`)
                done, failed, replaced, stopped

The federation is up when every site has been seen in the network, by a cell of the supervisor's own below the root. It
is over when it is told to stop, or when its root has ended for good. Sites are stopped from the leaves to the root, so
that what they still have to say gets through.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from zmqfl.errors import UserError
from zmqfl.launch import notify, run_state
from zmqfl.launch.ending import AGAIN, USER_MISTAKE, StartFailed
from zmqfl.launch.launcher import Job
from zmqfl.launch.local import LocalLauncher
from zmqfl.launch.log_stream import log_handler
from zmqfl.launch.lookout import Links, Lookout
from zmqfl.launch.plan import Plan, check_keys
from zmqfl.launch.process import mark_of
from zmqfl.launch.restart import STABLE, after_exit
from zmqfl.launch.run_state import RunState
from zmqfl.launch.supervised import Supervised, depth

log = logging.getLogger("zmqfl.launch")

BEYOND_DRAIN: Final = 4.0
"""Seconds that a site may take to end after its drain, before it is killed."""


class Supervisor:
    """See the module. Runs in an event loop of its own; `topology` is the file, for people."""

    def __init__(self, plan: Plan, topology: str = "") -> None:
        self.plan = plan
        self.run_dir = Path(plan.run_dir)
        self.sites = {spec.fqcn: Supervised(spec) for spec in plan.local}
        self._topology = topology
        self._started = time.time()
        self._is_up = False
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._drain: float | None = None
        self._told = 0.0
        """When it was told to stop."""
        self._is_dirty = False
        self._has_bug = False
        self._lookout = Lookout(plan, self.sites)

    async def run(self, wait: float, on_up: Callable[[], object], on_begin: Callable[[], object] = lambda: None) -> int:
        """From the first start to the last end; returns the exit status.

        `wait`: seconds for all cells to be connected; 0 = do not wait. `on_begin` is called when the run folder is
        ready, `on_up` when all are up. SIGINT, SIGTERM and SIGHUP stop it; a second one kills what is left. Raises
        `StartFailed`, `UserError`.
        """
        if not self.sites:
            raise UserError(
                f"federation {self.plan.name!r}: all of its sites are started by their operators",
                remedy="let each of them run `zmqfl join`",
            )
        run_state.make_private(self.run_dir)
        with run_state.locked(self.run_dir):
            self._refuse_leftovers()
            run_state.remove_traces(self.run_dir)
            for file in self.run_dir.glob("*.log"):
                file.unlink()
            with self._edges():
                try:
                    self._make_keys()
                    on_begin()
                    return await self._supervise(wait, on_up)
                finally:
                    run_state.remove_traces(self.run_dir)

    @property
    def links(self) -> Links:
        """What was seen of the network while it came up."""
        return self._lookout.seen

    def stop(self, force: bool = False, drain: float | None = None) -> None:
        """Stop all; with `force`, or when it is said again, kill them."""
        again = self._stop.is_set() and time.monotonic() - self._told >= AGAIN
        if again or force:
            self._force.set()
        if not self._stop.is_set():
            self._told, self._drain = time.monotonic(), drain
            self._stop.set()

    # -- set-up --------------------------------------------------------------------------------------------------------

    def _refuse_leftovers(self) -> None:
        state = run_state.read(self.run_dir)
        if state is not None and (left := [site.fqcn for site in state.sites if run_state.members(site)]):
            problem = f"processes of an earlier start of {self.plan.name!r} are left: {', '.join(left)}"
            raise UserError(problem, remedy=f"end them by `zmqfl down -t {self.plan.name}`")

    def _make_keys(self) -> None:
        """Make what `keys: auto` asks for, and check that all others are there."""
        folder = f"{self.plan.run_dir}/keys"
        for spec in self.plan.local:
            if spec.keys == folder:
                from zmqfl.transport import keys as key_files

                key_files.generate(spec.fqcn, Path(folder))
        check_keys(self.plan)

    @contextmanager
    def _edges(self) -> Iterator[None]:
        """Signals, sockets, launcher, log."""
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            handler = log_handler(run_state.supervisor_log(self.run_dir).open("a"))
            stack.callback(handler.stream.close)
            root = logging.getLogger("zmqfl")
            root.addHandler(handler)
            stack.callback(root.removeHandler, handler)
            root.setLevel(logging.INFO)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self.stop)
                stack.callback(loop.remove_signal_handler, number)
            loop.add_signal_handler(signal.SIGUSR2, _dump, handler.stream)
            stack.callback(loop.remove_signal_handler, signal.SIGUSR2)
            receiver = notify.open_receiver(run_state.notify_socket(self.run_dir))
            stack.callback(receiver.close)
            loop.add_reader(receiver, self._notified, receiver)
            stack.callback(loop.remove_reader, receiver)
            environ = {notify.VARIABLE: str(run_state.notify_socket(self.run_dir))}
            self._launcher = LocalLauncher(lambda job: loop.call_soon_threadsafe(self._exited, job), environ)
            stack.callback(self._launcher.close)
            yield

    async def _supervise(self, wait: float, on_up: Callable[[], object]) -> int:
        orders = await asyncio.start_unix_server(self._order, run_state.orders_socket(self.run_dir))
        self._write_state()
        for site in self.sites.values():
            self._begin(site)
        try:
            if wait:
                await self._come_up(wait)
            if not self._stop.is_set():
                self._is_up = True
                self._changed()
                notify.notify(READY=1)  # to systemd, where the supervisor is a service
                on_up()
            await self._stop.wait()
            return self._status()
        finally:
            await self._stop_sites(list(self.sites.values()), self._drain)
            orders.close()
            await self._lookout.close()

    # -- the life of a site --------------------------------------------------------------------------------------------

    def _begin(self, site: Supervised) -> None:
        site.life = asyncio.create_task(self._keep(site))
        site.life.add_done_callback(self._life_ended)

    def _life_ended(self, life: asyncio.Task[None]) -> None:
        if not life.cancelled() and (error := life.exception()) is not None:
            log.error("a site is not supervised any more because of a bug in zmqfl", exc_info=error)
            self._has_bug = True
            self._stop.set()

    async def _keep(self, site: Supervised) -> None:
        """Start it, and start it again, until it has ended for good."""
        parent = self.sites.get(site.spec.parent)
        if parent is not None:
            await parent.bound.wait()
        pause: float | str = 0.0
        while isinstance(pause, float):
            if pause:
                self._set(site, "restarting")
                log.warning("%s: starts again in %g s", site.spec.fqcn, pause)
                await asyncio.sleep(pause)
                site.restarts += 1
            try:
                status = await self._run_once(site, parent)
            except UserError as error:
                log.error("%s: %s", site.spec.fqcn, error.line())
                pause = "failed"
                break
            lasted = time.time() - site.started >= STABLE
            site.in_a_row = 0 if lasted else site.in_a_row
            mistaken = status == USER_MISTAKE and not site.bound.is_set()
            pause = (
                "failed"
                if mistaken and site.wanted
                else after_exit(site.spec.restart, status, site.restarts, site.in_a_row, not site.wanted)
            )
            site.in_a_row += 1
            if status:
                self._lookout.tell_parent(site, isinstance(pause, float))
        self._set(site, pause)
        log.info("%s: %s", site.spec.fqcn, pause)
        is_last = all(each.life and each.life.done() for each in self.sites.values() if each is not site)
        if is_last or (not site.spec.parent and pause != "stopped"):
            self._stop.set()

    async def _run_once(self, site: Supervised, parent: Supervised | None) -> int:
        site.ended = asyncio.get_running_loop().create_future()
        site.started, site.exit, site.instance = time.time(), None, 0
        site.job = self._launcher.start(site.to_start(parent))
        self._set(site, "running")
        status = await site.ended
        site.exit, site.job = status, None
        how = f"by signal {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        log.log(logging.INFO if not status or not site.wanted else logging.WARNING, "%s: ended %s", site.spec.fqcn, how)
        return status

    def _exited(self, job: Job) -> None:
        site = self.sites[job.fqcn]
        if site.ended is not None and not site.ended.done() and site.job == job:
            site.ended.set_result(self._launcher.poll(job) or 0)

    def _notified(self, receiver: Any) -> None:
        while (lines := notify.receive(receiver)) is not None:
            site = self.sites.get(lines.get("X_ZMQFL_CELL", ""))
            if site is None:
                continue
            if lines.get("STOPPING") == "1":
                site.wanted = False
            if lines.get("READY") == "1":
                site.endpoints = json.loads(Path(site.spec.endpoints).read_text())
                site.instance = int(lines["X_ZMQFL_INSTANCE"])
                site.bound.set()

    # -- coming up -----------------------------------------------------------------------------------------------------

    async def _come_up(self, wait: float) -> None:
        """Return when all cells are connected, or when it is to stop. Raises `StartFailed`."""
        looking = asyncio.create_task(self._lookout.until_all_are_connected())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([looking, stopping], timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                return looking.result()
            if not stopping.done():
                raise StartFailed(self._lookout.missing(wait))
            if failed := [site for site in self.sites.values() if site.status == "failed"]:
                raise StartFailed(self._lookout.last_words(failed[0]))
        finally:
            for task in (looking, stopping):
                task.cancel()

    # -- stopping ------------------------------------------------------------------------------------------------------

    async def _stop_sites(self, sites: list[Supervised], drain: float | None) -> None:
        """From the leaves to the root."""
        for generation in sorted({depth(site, self.sites) for site in sites}, reverse=True):
            await asyncio.gather(
                *(self._stop_site(site, drain) for site in sites if depth(site, self.sites) == generation)
            )

    async def _stop_site(self, site: Supervised, drain: float | None) -> None:
        site.wanted = False
        if site.life is None or site.life.done():
            return
        if site.job is None:
            site.life.cancel()
            self._set(site, "stopped")
            return
        patience = site.spec.config.drain if drain is None else drain
        self._launcher.stop(site.job, force=self._force.is_set())
        forced = asyncio.create_task(self._force.wait())
        await asyncio.wait([site.life, forced], timeout=patience + BEYOND_DRAIN, return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        if site.job is not None:
            log.warning("%s: killed", site.spec.fqcn)
            self._launcher.stop(site.job, force=True)
        await asyncio.wait([site.life])

    def _status(self) -> int:
        """Stopped on purpose is a success, and so is a root that is done."""
        return int(
            self._has_bug
            or any(not site.spec.parent and site.status in ("failed", "replaced") for site in self.sites.values())
        )

    # -- orders and state ----------------------------------------------------------------------------------------------

    async def _order(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One order of the command line: a line of JSON, answered by a line of JSON when it is carried out."""
        try:
            error = await self._carry_out(json.loads(await reader.readline()))
            writer.write(json.dumps({"error": error}).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, ValueError) as problem:
            log.warning("an order of the command line was not understood: %s", problem)
        finally:
            writer.close()

    async def _carry_out(self, order: dict[str, Any]) -> str:
        sites = [self.sites[name] for name in order.get("sites", []) if name in self.sites]
        match order["order"]:
            case "stop" if sites:
                if order.get("force"):
                    for site in sites:
                        if site.job is not None:
                            site.wanted = False
                            self._launcher.stop(site.job, force=True)
                await self._stop_sites(sites, order.get("drain"))
            case "stop":
                self.stop(bool(order.get("force")), order.get("drain"))
            case "start":
                for site in sites:
                    if site.life is None or site.life.done():
                        site.wanted, site.restarts, site.in_a_row = True, 0, 0
                        self._begin(site)
            case other:
                return f"there is no order {other!r}"
        return ""

    def _set(self, site: Supervised, status: str) -> None:
        site.status = status
        self._changed()

    def _changed(self) -> None:
        """Write the state down soon: once for all that changes now."""
        if not self._is_dirty:
            self._is_dirty = True
            asyncio.get_running_loop().call_soon(self._write_state)

    def _write_state(self) -> None:
        self._is_dirty = False
        mark = mark_of(os.getpid())
        sites = tuple(site.state() for site in self.sites.values())
        RunState(
            self.plan.name, self.plan.run_dir, self._topology, os.getpid(), mark, self._started, self.plan.door,
            self._is_up, sites,
        ).write()  # fmt: skip


def _dump(stream: TextIO) -> None:
    """Where all tasks and threads are: for whoever asks why nothing goes on."""
    for task in asyncio.all_tasks():
        task.print_stack(file=stream)
    faulthandler.dump_traceback(stream)
    stream.flush()
