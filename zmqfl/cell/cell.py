"""A cell: a named place in the tree that asks others and answers them.

    with Cell("server", listen="tcp://127.0.0.1:8102") as server:
        server.register_request_cb("math", "double", lambda message: message.payload * 2)
        with Cell("site-1", parent=server.url) as site:
            print(site.request("server", "math", "double", 21).result().payload)

Every verb returns at once with a handle: `.result()` in a thread, `await` in a coroutine, the same object. All state is
that of the node, and all of it lives on the reactor's thread; a verb only submits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from zmqfl.cell.asking import Asking
from zmqfl.cell.auto_pull import AutoPull
from zmqfl.cell.channel_edges import ChannelEdges
from zmqfl.cell.channel_verbs import ChannelVerbs
from zmqfl.cell.edges import CellEdges
from zmqfl.cell.filters import Filters
from zmqfl.cell.flare_names import FlareNames
from zmqfl.cell.handles import Handle
from zmqfl.cell.identity import endpoint_of, keys_of, known_key, seals_of
from zmqfl.cell.key_verbs import KeyVerbs
from zmqfl.cell.message_verbs import MessageVerbs
from zmqfl.cell.neighbour_verbs import NeighbourVerbs
from zmqfl.cell.net_agent import serve_net_agent
from zmqfl.cell.noticeboard import Noticeboard
from zmqfl.cell.peers import PeerCallbacks
from zmqfl.cell.plane_verbs import PlaneVerbs
from zmqfl.cell.references import References
from zmqfl.cell.serving import Serving
from zmqfl.cell.statistics import CellStatistics, collect
from zmqfl.cell.transfer_edges import TransferEdges
from zmqfl.cell.transfer_statistics import TransferStatistics, collect_transfers
from zmqfl.cell.transfer_verbs import TransferVerbs
from zmqfl.cell.workers import Workers
from zmqfl.config import CellConfig
from zmqfl.errors import ClosedError, ForkedError, UserError
from zmqfl.fqcn import parse
from zmqfl.protocol.commands import Call, Command, Exit, Outcome
from zmqfl.protocol.node import Node
from zmqfl.transport.keys import Keys
from zmqfl.transport.reactor import Reactor

log = logging.getLogger("zmqfl.cell")

GOODBYE = 0.5
"""Seconds that neighbours get to answer a BYE."""
FILES_QUEUE = 1 << 40
"""Bytes that jobs of files may hold while they are queued: windows bound them, not this."""
FIRST_CONNECTION = 2.0
"""Seconds that entering a cell waits for its parent. A parent that is not there yet is no error."""


class Cell(MessageVerbs, TransferVerbs, PlaneVerbs, ChannelVerbs, NeighbourVerbs, KeyVerbs, FlareNames):
    """See the module.

    `fqcn`: the name. `listen`: URLs for children, `tcp://host:port` (port 0: any) or `ipc:///path`. `parent`: the URL
    of the parent; None makes this the root. `keys`: a folder made by `zmqfl keygen`, or `Keys`; with keys every TCP
    link is encrypted and proves both ends (CURVE), without them TCP is accepted on loopback only, unless
    `trusted_network` says that nobody else can reach it. `plane`: the port where what everybody may know is published
    to children over TCP, 0: any that is free; None: the links tell it, where only one port is open.
    `config`: settings. `on_exit(status, reason)` is called when
    the process must end: status 75, a newer start holds the name.

    Raises `UserError` (with field and remedy) for a name, URL, key or port that cannot be used.
    """

    def __init__(
        self,
        fqcn: str,
        listen: str | Iterable[str] | None = None,
        parent: str | None = None,
        keys: Keys | str | Path | None = None,
        config: CellConfig | None = None,
        *,
        trusted_network: bool = False,
        plane: int | None = 0,
        on_exit: Callable[[int, str], None] | None = None,
    ) -> None:
        self.fqcn = parse(fqcn)
        self.config = config or CellConfig()
        self.filters = Filters()
        self.faces: dict[type, object] = {}
        """What floors above keep with this cell, one of each type."""
        urls = [listen] if isinstance(listen, str) else list(listen or ())
        listeners = [endpoint_of(url, "listen", keys is not None, trusted_network) for url in urls]
        parent_endpoint = endpoint_of(parent, "parent", keys is not None, trusted_network) if parent else None
        if not listeners and parent_endpoint is None:
            remedy = "give `parent`, or `listen` for a root"
            raise UserError(f"cell {self.fqcn!r} neither listens nor dials", field="parent", remedy=remedy)
        self._keys = keys_of(self.fqcn, keys, parent_endpoint)
        self._key_folder = Path(keys) if isinstance(keys, str | Path) else None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closing = False
        c = self.config
        self._workers = Workers(f"zmqfl-calls:{self.fqcn}", c.calls_min, c.calls_max, c.calls_cap, c.receive_budget)
        self._files = Workers(f"zmqfl-files:{self.fqcn}", 1, c.files_max, c.files_max, FILES_QUEUE)
        self._node = Node(
            self.fqcn,
            _random(),
            has_parent=parent_endpoint is not None,
            config=c,
            sessions=_random,
            wall_ms=int(time.time() * 1000),
            now=time.monotonic(),
        )
        if self._keys is not None:
            self._node.acceptor.allowed = frozenset(self._keys.allowed)
        self._peers = PeerCallbacks(self._workers)
        self._seals = seals_of(
            self._node, self._keys, self._known_key, self._submit, self._run_quick, time.monotonic, time.time
        )  # fmt: skip
        self._transfers = TransferEdges(
            self._node, c, self._files, self._workers, self.filters, self._submit, time.monotonic, self._seals
        )  # fmt: skip
        self._board = Noticeboard(self._node, self._workers, self._submit, self._is_on_reactor)
        self._channels = ChannelEdges(self._node, self._workers, self._submit, self._is_on_reactor)
        self._auto_pulls: list[AutoPull] = []
        self._on_close: list[Callable[[], object]] = []
        offering, pulling = self._transfers.offering, self._transfers.pulling
        self._references = References(self._node, c, offering, pulling, self._is_on_reactor)
        self._asking = Asking(
            self._node, c, self._workers, self.filters, self._references, self._submit, self._seals, time.monotonic
        )  # fmt: skip
        self._serving = Serving(
            self.fqcn, c, self._workers, self.filters, self._references, self._send_outcome, time.monotonic,
            self._seals,
        )  # fmt: skip
        self._edges = CellEdges(
            self._node, self._asking, self._serving, self._peers, self._transfers, self._references, self._seals,
            self._board, self._channels, self._send_outcome, on_exit,
        )  # fmt: skip
        self._reactor = Reactor(
            self._node,
            c,
            self._edges,
            listen=listeners,
            parent=parent_endpoint,
            keys=self._keys,
            trusted_network=trusted_network,
            plane=self._node.door if plane is not None else None,
            plane_port=plane or 0,
        )
        serve_net_agent(self)
        if self._seals is not None:
            from zmqfl.cell.sealed_offers import serve_sealed_pulls

            serve_sealed_pulls(self)

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the reactor; again does nothing. `with` and `async with` do it, and wait a moment for the parent.

        Raises `ClosedError` when the cell was closed: make a new one.
        """
        self._check_process()
        with self._lock:
            if self._closing:
                raise ClosedError(f"cell {self.fqcn} is closed; make a new one")
            if not self._reactor.is_started:
                self._reactor.start()

    def close(self, drain: float | None = None) -> None:
        """Stop: refuse new requests, let running handlers end (at most `drain` seconds), fail what waits, say BYE.

        May be called more than once, and from several threads: each call returns when the cell is closed. Only in a
        handler or callback of this cell it returns at once, for it would wait for itself; the cell closes after it.
        """
        if os.getpid() != self._pid:
            return
        is_own = self._reactor.is_current() or self._workers.is_current() or self._files.is_current()
        if is_own or any(pulls.is_current() for pulls in self._auto_pulls):
            threading.Thread(target=self.close, args=(drain,), name=f"zmqfl-close:{self.fqcn}").start()
            return
        with self._lock:
            if not self._closing:
                self._closing = True
                self._close(self.config.drain if drain is None else drain)

    stop = close

    def on_close(self, cb: Callable[[], object]) -> None:
        """Have `cb()` called when the cell begins to close, while it can still send; it must be quick.

        What it raises goes to the log.
        """
        self._on_close.append(cb)

    def run_on_worker(self, job: Callable[[], None]) -> None:
        """Have `job()` run by a thread that may wait: a worker for handlers, or a new thread where none is free."""

        def spawn() -> None:
            threading.Thread(target=job, name=f"zmqfl-job:{self.fqcn}").start()

        if not self._workers.submit(job, 0, spawn):
            spawn()

    def wait_connected(self, timeout: float | None = None) -> bool:
        """Wait until the parent has bound this cell; False when it has not within `timeout` seconds."""
        handle = self.connected()
        try:
            return handle.result(timeout)
        except TimeoutError:
            return False

    def connected(self) -> Handle[bool]:
        """Ends when the parent has bound this cell, both lanes; at once for a root."""
        handle: Handle[bool] = Handle(on_cancel=_nothing, on_reactor=self._reactor.is_current)
        self._submit(lambda now: self._edges.expect_ready(handle))
        return handle

    def __enter__(self) -> Self:
        self.start()
        self.wait_connected(FIRST_CONNECTION)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self.start()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.connected(), FIRST_CONNECTION)
        except BaseException:  # cancelled: `__aexit__` will not be called
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def ask_exit(self, status: int, reason: str) -> None:
        """Have the process of this cell end: `exit` is set and `on_exit` called."""
        self._edges.exit_process(status, reason)

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def instance(self) -> int:
        """Which start of the name this is: a random number."""
        return self._node.instance

    @property
    def urls(self) -> list[str]:
        """Where it listens, with the real port."""
        return [str(listener.endpoint) for listener in self._reactor.ports.listeners]

    @property
    def url(self) -> str:
        """The first of `urls`. Raises `UserError` for a cell that does not listen."""
        if not self._reactor.ports.listeners:
            raise UserError(f"cell {self.fqcn} does not listen", remedy="give it `listen`")
        return self.urls[0]

    @property
    def exit(self) -> Exit | None:
        """Status and reason when the process must end; None until then."""
        return self._edges.exit

    def statistics(self) -> CellStatistics:
        """Everything countable, as it is at one moment. Waits for one pass of the reactor, in a coroutine too."""
        if self._reactor.is_current():
            return collect(self._reactor, self._workers.statistics(), self._references, time.monotonic())
        future: Future[CellStatistics] = Future()

        def act(now: float) -> list[Command]:
            future.set_result(collect(self._reactor, self._workers.statistics(), self._references, now))
            return []

        self._submit(act)
        return future.result()

    def transfers(self) -> tuple[TransferStatistics, ...]:
        """What is pushed, received, pulled and offered here now. Waits as `statistics` does."""
        if self._reactor.is_current():
            return collect_transfers(self._node.transfers, self._transfers, time.monotonic())
        future: Future[tuple[TransferStatistics, ...]] = Future()

        def act(now: float) -> list[Command]:
            future.set_result(collect_transfers(self._node.transfers, self._transfers, now))
            return []

        self._submit(act)
        return future.result()

    def __repr__(self) -> str:
        return repr(self._node).replace("<Node", "<Cell closed" if self._closing else "<Cell", 1)

    # -- within ------------------------------------------------------------------------------------------------------

    def _send_outcome(self, call: Call, outcome: Outcome) -> None:
        try:
            self._reactor.submit(lambda now: self._edges.reply(call, outcome, now))
        except ClosedError:
            return  # the handler took longer than the drain; its caller has been told

    def _known_key(self, name: str) -> bytes | None:
        return known_key(self._keys, name, self.parent)

    def _run_quick(self, job: Callable[[], None]) -> None:
        """Run what only computes, on a worker for files; it must not depend on one."""
        if not self._files.submit(job, 0, job):
            job()

    def _is_on_reactor(self) -> bool:
        return self._reactor.is_current()

    def _submit(self, action: Callable[[float], list[Command]]) -> None:
        self._check()
        self._reactor.submit(action)

    def _check(self) -> None:
        self._check_process()
        if self._reactor.is_closed:
            raise ClosedError(f"cell {self.fqcn} is closed")
        if not self._reactor.is_started:
            raise ClosedError(f"cell {self.fqcn} is not started; use `with`, `async with` or `start()`")

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedError(f"cell {self.fqcn} belongs to process {self._pid}; make a new one after a fork")

    def _close(self, drain: float) -> None:
        for pulls in self._auto_pulls:
            pulls.close()
        for cb in self._on_close:
            try:
                cb()
            except Exception:
                log.exception("a callback of the close of %s failed", self.fqcn)
        if self._reactor.is_started and not self._reactor.is_closed:
            with contextlib.suppress(ClosedError):  # the reactor has died
                self._reactor.submit(lambda now: self._edges.begin_closing())
                self._edges.idle.wait(drain)
                self._reactor.submit(self._edges.leave)
                self._edges.left.wait(GOODBYE)
        for workers in (self._files, self._workers):
            workers.drop_queued()
        for workers in (self._files, self._workers):
            workers.stop(GOODBYE)
        self._reactor.stop()


def _random() -> int:
    """63 unguessable bits that are not 0."""
    return secrets.randbits(63) or 1


def _nothing(*_: object) -> None:
    """For handles whose work cannot be given up."""
