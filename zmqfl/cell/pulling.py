"""Pulls of a cell, the receiver's side: from the verb to the handle, and the sink in between."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from zmqfl.blobs.digest import digest
from zmqfl.blobs.sink import Sink
from zmqfl.cell.handles import Handle
from zmqfl.cell.progress import TransferProgress
from zmqfl.cell.pushing import Submit
from zmqfl.cell.workers import Workers
from zmqfl.errors import (
    AuthenticationError,
    BlobError,
    CellReturnCode,
    ClosedError,
    DecodeError,
    DigestError,
    RequestFailed,
    SourceChangedError,
    TransferError,
    told,
)
from zmqfl.protocol.commands import Abandon, Command, Commit, Prepare, PullEnded, Write
from zmqfl.protocol.node import Node
from zmqfl.protocol.pull_receiver import PullReceiver
from zmqfl.wire.chunk_codec import unpack
from zmqfl.wire.messages import Buffer

log = logging.getLogger("zmqfl.cell")

Tell = Callable[[PullReceiver, float], list[Command]]
SinkFactory = Callable[[str, int], Sink[Any]]
"""(name of the source, bytes) -> where it goes."""
Then = Callable[[Exception | None], None]
Prove = Callable[[Then], None]
"""Has the owner asked whether what is here is right, and tells the answer later, in any thread: None, or why not."""


class PullHandle(Handle[Any]):
    """A pull under way. `result` and `await` give the path of the file (the bytes, of a pull into memory), and raise
    `TransferError`, or the `BlobError` of the sink or source."""

    def __init__(self, rid: str, owner: str, *, on_cancel: Callable[[], None], on_reactor: Callable[[], bool]) -> None:
        super().__init__(on_cancel=on_cancel, on_reactor=on_reactor)
        self.rid = rid
        self.owner = owner
        self.name = ""
        """What the owner calls it; not a path. "" until it is known."""
        self.begin = time.monotonic()
        self._machine: PullReceiver | None = None
        self._seconds: float | None = None
        self._seal_size = (1, 0)
        """Of a sealed one: bytes of a chunk on its way, and how many of them are the seal's."""

    def abort(self) -> None:
        """Give it up as `cancel` does, but let the handle end by itself, when the sink is closed."""
        self._on_cancel()

    @property
    def progress(self) -> TransferProgress:
        """Bytes that are verified and written, of all; those of an earlier attempt count."""
        seconds = self._seconds if self._seconds is not None else time.monotonic() - self.begin
        if (machine := self._machine) is None:
            return TransferProgress(0, 0, seconds)
        chunk, seal = self._seal_size
        done, size = (total - seal * -(-total // chunk) for total in (machine.done, machine.size))
        return TransferProgress(done, size, seconds)

    @property
    def fetched(self) -> int:
        """Bytes that came over the network."""
        return self._machine.fetched if self._machine else 0

    def _about(self) -> str:
        return f" of {self.rid} from {self.owner}"


@dataclass(slots=True)
class _Pull:
    """What the machine does not know of a pull."""

    handle: PullHandle
    make_sink: SinkFactory
    keep: bool
    prove: Prove | None = None
    sink: Sink[Any] | None = None
    error: Exception | None = None
    busy: bool = False
    """The sink is being opened or committed: whoever does it closes it, should the cell stop meanwhile."""


class Pulling:
    """See the module."""

    def __init__(self, node: Node, files: Workers, submit: Submit, pause: float) -> None:
        self._node = node
        self._files = files
        self._submit = submit
        self._pause = pause
        self._pulls: dict[int, _Pull] = {}

    # -- any thread ----------------------------------------------------------------------------------------------------

    def pull(
        self,
        handle: PullHandle,
        make_sink: SinkFactory,
        timeout: float,
        keep: bool,
        rid: str = "",
        prove: Prove | None = None,
    ) -> None:
        """Begin. `keep`: leave what was written for a later attempt, should it fail. `rid`: what to ask for, where that
        is not the handle's. `prove`: must agree before the commit."""

        def act(now: float) -> list[Command]:
            if handle.done():
                return []
            machine = PullReceiver(self._node.next_id(), handle.owner, rid or handle.rid, timeout, self._pause, now)
            handle._machine = machine
            self._pulls[machine.id] = _Pull(handle, make_sink, keep, prove)
            return self._node.transfer(lambda transfers: transfers.pull(machine, now), now)

        self._submit(act)

    def cancel(self, handle: PullHandle, code: CellReturnCode, reason: str) -> None:
        """End a pull."""

        def act(now: float) -> list[Command]:
            machine = handle._machine
            return [] if machine is None else self._tell(machine.id, lambda m: m.cancel(code, reason, now), now)

        try:
            self._submit(act)
        except ClosedError:
            return  # closing has ended it as well

    # -- the reactor's thread --------------------------------------------------------------------------------------

    def prepare(self, command: Prepare) -> None:
        """Open the sink."""
        pull = self._pulls[command.id]
        pull.handle.name = pull.handle.name or command.name

        def job() -> None:
            have: set[int] = set()
            error = ""
            try:
                pull.sink = pull.make_sink(command.name, command.size)
                have = set(pull.sink.resume(command.fingerprint, command.chunk))
            except Exception as failure:  # noqa: BLE001  whatever it is, the handle must end
                pull.error, error = failure, told(failure)
            self._report_busy(command.id, pull, lambda machine, now: machine.prepared(have, error, now))

        self._run_busy(pull, job)

    def write(self, command: Write) -> None:
        """Check a chunk, and write it."""
        pull = self._pulls.get(command.id)
        if pull is None or pull.sink is None:
            return
        sink = pull.sink

        def job() -> None:
            verdict, error = "ok", ""
            try:
                data = _plain(command, pull.handle)
                if data is None or digest(data) != command.digest:
                    verdict = "bad"
                else:
                    sink.write(command.offset, data)
                    sink.mark(command.index, command.digest)
            except DigestError as failure:  # it is sealed, and does not open
                log.warning("%s of %s: %s", pull.handle.rid, pull.handle.owner, failure.problem)
                verdict = "bad"
            except Exception as failure:  # noqa: BLE001  as above
                if pull.sink is not None:  # else it was closed under this chunk, as the pull had failed before
                    pull.error = pull.error or failure
                verdict, error = "failed", told(failure)
            self._report(command.id, lambda machine, now: machine.written(command.index, verdict, error, now))

        self._run(job)

    def commit(self, command: Commit) -> None:
        """Everything is there."""
        pull = self._pulls[command.id]
        if pull.prove is None:
            self._run_busy(pull, lambda: self._commit(command.id, pull))
            return
        pull.busy = True
        pull.prove(lambda problem: self._run(lambda: self._commit(command.id, pull, problem)))

    def _commit(self, id: int, pull: _Pull, problem: Exception | None = None) -> None:
        """On a worker. `problem`: why it must not be."""
        value: Any = None
        error = ""
        try:
            if problem is not None:
                pull.keep = pull.keep and not isinstance(problem, AuthenticationError)  # no later attempt may use it
                raise problem
            if pull.prove is not None and pull.handle.done():
                raise RequestFailed("cancelled", code=CellReturnCode.ABORT_RUN)
            assert pull.sink is not None
            value = pull.sink.commit()
        except Exception as failure:  # noqa: BLE001  as above
            pull.error, error = failure, told(failure)
        self._report_busy(id, pull, lambda machine, now: machine.committed(value, error, now))

    def abandon(self, command: Abandon) -> None:
        """It has failed."""
        pull = self._pulls[command.id]

        def job() -> None:
            _close(pull)
            self._report(command.id, lambda machine, now: machine.abandoned())

        self._run(job)

    def ended(self, command: PullEnded) -> None:
        """Tell the handle."""
        pull = self._pulls.pop(command.id)
        handle = pull.handle
        handle._seconds = time.monotonic() - handle.begin
        if command.code is CellReturnCode.OK:
            handle._finish(command.value)
        elif isinstance(pull.error, BlobError):
            handle._fail(pull.error)
        elif command.kind == "source_changed":
            remedy = f"have {handle.owner} offer it again"
            handle._fail(SourceChangedError(command.reason, file=handle.rid, remedy=remedy))
        elif isinstance(pull.error, RequestFailed):
            handle._fail(TransferError(pull.error.reason, code=pull.error.code, culprit=handle.owner))
        else:
            culprit = handle.owner if pull.error is None else self._node.fqcn
            failure = TransferError(command.reason, code=command.code, culprit=culprit)
            failure.__cause__ = pull.error
            handle._fail(failure)

    def close(self) -> None:
        """Nothing will be told any more."""
        pulls, self._pulls = self._pulls, {}
        for pull in pulls.values():
            if not pull.busy:  # else the job does it
                _close(pull)
            pull.handle._fail(ClosedError(f"cell {self._node.fqcn} was closed"))

    def _run(self, job: Callable[[], None]) -> None:
        if not self._files.submit(job, 0, job):
            job()

    def _run_busy(self, pull: _Pull, job: Callable[[], None]) -> None:
        pull.busy = True
        self._run(job)

    def _report(self, id: int, tell: Tell) -> None:
        with suppress(ClosedError):  # the handle has been told
            self._submit(lambda now: self._tell(id, lambda machine: tell(machine, now), now))

    def _report_busy(self, id: int, pull: _Pull, tell: Tell) -> None:
        def act(now: float) -> list[Command]:
            pull.busy = False
            return self._tell(id, lambda machine: tell(machine, now), now)

        try:
            self._submit(act)
        except ClosedError:
            _close(pull)

    def _tell(self, id: int, act: Callable[[PullReceiver], list[Command]], now: float) -> list[Command]:
        return self._node.transfer(lambda transfers: transfers.to_pull(id, act), now)


def _plain(command: Write, handle: PullHandle) -> Buffer | None:
    """The bytes of a chunk; one that is shorter than its place in the grid is packed. None when it is damaged."""
    data = command.bodies[0] if len(command.bodies) == 1 else b"".join(command.bodies)
    machine = handle._machine
    assert machine is not None
    size = machine.grid.length(command.index)
    if len(data) == size:
        return data
    try:
        return unpack(data, size)
    except DecodeError as error:
        log.warning("a chunk of %s from %s: %s", handle.rid, handle.owner, error)
        return None


def _close(pull: _Pull) -> None:
    """Close the sink of a pull that did not end well: once, and never an error. After a commit it does nothing."""
    sink, pull.sink = pull.sink, None
    if sink is None:
        return
    try:
        if pull.keep:
            sink.close(keep=True)
        else:
            sink.discard()
    except Exception as error:
        log.warning("%s", error, exc_info=error)
