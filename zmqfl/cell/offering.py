"""Pulls of a cell, the owner's side: transactions of files, what is read for whom, and who is told of it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from zmqfl.blobs.digest import digest
from zmqfl.blobs.source import Source
from zmqfl.cell.callbacks import Callback
from zmqfl.cell.filters import Filters
from zmqfl.cell.message import Message, MessageHeaderKey
from zmqfl.cell.pushing import Submit
from zmqfl.cell.recent_chunks import RecentChunks
from zmqfl.cell.workers import Workers
from zmqfl.errors import ArgumentError, BlobError, CellReturnCode, ClosedError, RequestFailed, SourceChangedError
from zmqfl.protocol.commands import Command, Expired, Outcome, Read, Served
from zmqfl.protocol.node import Node
from zmqfl.protocol.pull_source import changed
from zmqfl.wire.messages import Buffer

log = logging.getLogger("zmqfl.cell")


@dataclass(eq=False, slots=True)
class _File:
    """One file that is offered."""

    rid: str
    source: Source
    on_served: Callback | None
    taker: str = ""
    is_shared: bool = False
    """Whether more than one cell has asked for it: then its chunks are kept for a moment."""


@dataclass(eq=False, slots=True)
class _Group:
    """One transaction."""

    on_expired: Callback | None
    files: list[_File] = field(default_factory=list)


class Transaction:
    """Files that are offered together, and end together: when `end` is called, or when nobody has asked for any of them
    for `timeout` seconds.

    `end` may be called from any thread, and more than once.
    """

    def __init__(self, offering: Offering, id: str, timeout: float) -> None:
        self.id = id
        self.timeout = timeout
        self._offering = offering

    def add(
        self,
        source: Source,
        chunk_size: int,
        receivers: Iterable[str] | None = None,
        on_served: Callback | None = None,
    ) -> str:
        """Offer a source, which is then the transaction's; returns its reference id.

        Raises `ArgumentError` when the transaction has ended, `ClosedError`.
        """
        return self._offering.add(self.id, source, chunk_size, receivers, on_served)

    def end(self) -> None:
        """Offer nothing of it any more."""
        self._offering.end(self.id)

    def __enter__(self) -> Transaction:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Offering:
    """See the module."""

    def __init__(
        self,
        node: Node,
        files: Workers,
        calls: Workers,
        filters: Filters,
        submit: Submit,
        clock: Callable[[], float],
    ) -> None:
        self._node = node
        self._files = files
        self._calls = calls
        self._filters = filters
        self._submit = submit
        self._clock = clock
        self._groups: dict[str, _Group] = {}
        self._by_rid: dict[str, _File] = {}
        self._recent = RecentChunks()

    # -- any thread ----------------------------------------------------------------------------------------------------

    def new_transaction(self, timeout: float, on_expired: Callback | None) -> Transaction:
        """Begin a group of files."""
        id = f"T{secrets.token_hex(16)}"
        self._groups[id] = _Group(on_expired)

        def act(now: float) -> list[Command]:
            self._node.transfers.source.new_transaction(id, timeout, now)
            return []

        self._submit(act)
        return Transaction(self, id, timeout)

    def add(
        self, id: str, source: Source, chunk: int, receivers: Iterable[str] | None, on_served: Callback | None
    ) -> str:
        """See `Transaction.add`."""
        group = self._groups.get(id)
        if group is None:
            source.close()
            raise ArgumentError(f"transaction {id} has ended; begin a new one")
        file = _File(f"R{secrets.token_hex(16)}", source, on_served)
        self._by_rid[file.rid] = file
        group.files.append(file)
        names = None if receivers is None else list(receivers)

        def act(now: float) -> list[Command]:
            offered = self._node.transfers.source.add(
                id, file.rid, source.size, chunk, source.fingerprint, source.name, names, now
            )  # fmt: skip
            if not offered:
                self._withdraw(file)
            return []

        self._submit(act)
        return file.rid

    def end(self, id: str) -> None:
        """See `Transaction.end`."""

        def act(now: float) -> list[Command]:
            self._node.transfers.source.end(id)
            for file in self._groups.pop(id, _Group(None)).files:
                self._withdraw(file)
            return []

        try:
            self._submit(act)
        except ClosedError:
            return  # closing has ended it

    def names(self) -> Mapping[str, str]:
        """What is offered now: reference id -> name."""
        return {rid: file.source.name for rid, file in list(self._by_rid.items())}

    # -- the reactor's thread --------------------------------------------------------------------------------------

    def read(self, command: Read) -> None:
        """Have a chunk read."""
        call, file = command.call, self._by_rid.get(command.rid)
        if file is not None:
            file.is_shared = file.is_shared or file.taker not in ("", call.origin)
            file.taker = call.origin

        def job() -> None:
            call.started = self._clock()
            outcome = self._read(command, file) if command.index is not None else self._open(command, file)
            self._report(command, outcome)

        def refused() -> None:
            self._report(command, Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "no free worker"))

        workers = self._files if command.index is not None else self._calls  # filters are the application's code
        if not workers.submit(job, 0, refused):
            refused()

    def served(self, command: Served) -> None:
        """A receiver has it, or has failed."""
        file = self._by_rid.get(command.rid)
        if file is not None and file.on_served is not None:
            file.on_served.call(self._calls, command.rid, command.receiver, command.status, file.source.name)

    def expired(self, command: Expired) -> None:
        """Nobody has asked for anything of a transaction for its time-out."""
        group = self._groups.pop(command.transaction, None)
        if group is None:
            return
        for file in group.files:
            self._withdraw(file)
        if group.on_expired is not None:
            group.on_expired.call(self._calls, command.transaction, [file.source.name for file in group.files])

    def close(self) -> None:
        """Nothing will be told any more: the files are closed."""
        groups, self._groups = self._groups, {}
        for group in groups.values():
            for file in group.files:
                self._by_rid.pop(file.rid, None)
                file.source.close()

    def _withdraw(self, file: _File) -> None:
        self._by_rid.pop(file.rid, None)
        self._recent.forget(file.rid)
        file.source.close()  # when the last read has ended

    def _report(self, command: Read, outcome: Outcome) -> None:
        def act(now: float) -> list[Command]:
            return self._node.transfer(
                lambda transfers: transfers.source.read(command.call, command.rid, command.index, outcome, now), now
            )

        try:
            self._submit(act)
        except ClosedError:
            return

    # -- workers -------------------------------------------------------------------------------------------------------

    def _open(self, command: Read, file: _File | None) -> Outcome:
        """Filters see who wants to pull, as they see who asks for anything else; then the source is checked."""
        call = command.call
        headers = {
            MessageHeaderKey.MSG_TYPE: "req",
            MessageHeaderKey.ORIGIN: call.origin,
            MessageHeaderKey.DESTINATION: self._node.fqcn,
            MessageHeaderKey.CHANNEL: call.channel,
            MessageHeaderKey.TOPIC: call.topic,
            MessageHeaderKey.REQ_ID: call.id,
        }
        try:
            refusal = self._filters.on_request(Message(headers, command.rid), call.channel, call.topic)
        except RequestFailed as error:
            return Outcome(error.code, error.reason)
        if refusal is not None and not refusal.ok:
            return Outcome(refusal.return_code, refusal.error)
        return self._read(command, file)

    def _read(self, command: Read, file: _File | None) -> Outcome:
        if file is None:
            return Outcome(CellReturnCode.INVALID_REQUEST, "it is not offered any more")
        try:
            if command.index is None:
                file.source.read(0, 0)  # only whether it is what it was
                return Outcome(CellReturnCode.OK)
            data, checked = self._chunk(command, command.index, file)
            return Outcome(CellReturnCode.OK, headers={"d": checked}, codec=2, bodies=(data,) if data else ())
        except SourceChangedError as error:
            log.warning("%s: %s", self._node.fqcn, error)
            return changed(file.source.name)
        except BlobError as error:
            log.warning("%s: %s", self._node.fqcn, error)
            return Outcome(CellReturnCode.PROCESS_EXCEPTION, f"{file.source.name} cannot be read: {error.problem}")
        except Exception as error:
            log.warning("%s: cannot read %s", self._node.fqcn, file.source.name, exc_info=error)
            return Outcome(CellReturnCode.PROCESS_EXCEPTION, f"{type(error).__name__}: {error}")

    def _chunk(self, command: Read, index: int, file: _File) -> tuple[Buffer, bytes]:
        """A chunk and its digest, from the disk unless another receiver has just had it."""
        if (found := self._recent.find(file.rid, index)) is not None:
            return found
        data = file.source.read(command.offset, command.size)
        checked = digest(data)
        if file.is_shared:
            self._recent.keep(file.rid, index, data, checked)
        return data, checked
