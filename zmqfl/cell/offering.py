"""Pulls of a cell, the owner's side: transactions of files, what is read for whom, and who is told of it."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from zmqfl.blobs.digest import digest
from zmqfl.blobs.source import Source
from zmqfl.cell.callbacks import Callback
from zmqfl.cell.filters import Filters
from zmqfl.cell.message import Message, MessageHeaderKey
from zmqfl.cell.offered_files import Group, OfferedFile
from zmqfl.cell.pushing import Submit
from zmqfl.cell.recent_chunks import RecentChunks
from zmqfl.cell.reference_ids import check_rid, new_rid
from zmqfl.cell.workers import Workers
from zmqfl.errors import ArgumentError, BlobError, CellReturnCode, ClosedError, RequestFailed, SourceChangedError
from zmqfl.protocol.commands import Command, Expired, Outcome, Read, Served
from zmqfl.protocol.node import Node
from zmqfl.protocol.pull_receiver import FIRST_WINDOW
from zmqfl.protocol.pull_source import CHANNEL, OPEN, changed
from zmqfl.wire.chunk_codec import ChunkPacker, Codec
from zmqfl.wire.messages import Buffer

log = logging.getLogger("zmqfl.cell")

UNPACKS: Final = "z"
"""Header of a GET whose sender can read packed chunks: one shorter than its place in the grid is packed."""
Activity = Mapping[tuple[str, str], float]
"""(reference id, receiver) -> when it was heard of last."""


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
        rid: str | None = None,
        on_opened: Callable[[str, str], None] | None = None,
        codec: Codec = "auto",
        item: int = 1,
    ) -> str:
        """Offer a source, which is then the transaction's; returns its reference id.

        `rid`: the id to offer it by, for who has told the receivers already; None: one is made. Whoever knows it may
        pull, so it must not be guessable. `on_opened(rid, receiver)`: called by a worker when a receiver begins; it
        must not raise. `codec`: see `zmqfl.wire.chunk_codec`; `item`: bytes of one item of what is in the source.
        Raises `ArgumentError` when the transaction has ended, for an id that can be guessed and for
        one that is in use; `ClosedError`. The source is then closed.
        """
        return self._offering.add(self.id, source, chunk_size, receivers, on_served, rid, on_opened, codec, item)

    def on_ended(self, fn: Callable[[], None]) -> None:
        """Have `fn` called, once, when it ends for any reason but the end of the cell, on the reactor: it must be quick
        and must not wait. It is called at once when it has ended before."""
        self._offering.on_ended(self.id, fn)

    def end(self) -> None:
        """Offer nothing of it any more."""
        self._offering.end(self.id)

    # -- for who keeps accounts of it ----------------------------------------------------------------------------------

    def run(self, job: Callable[[], None]) -> None:
        """Have a worker of the cell run `job`; in this thread when none can, so that it runs in any case."""
        self._offering.run(job)

    def on_closed(self, fn: Callable[[], None]) -> None:
        """Have `fn` called, once, when the cell is closed, on its reactor: it must be quick and must not wait."""
        self._offering.on_closed(fn)

    def ask_activity(self, tell: Callable[[float, Activity], None]) -> None:
        """Have `tell(when anybody was active last, receivers)` called, on the reactor: it must be quick.

        Times are those of `time.monotonic`. It is not called for a transaction that has ended. Raises `ClosedError`.
        """
        self._offering.ask_activity(self.id, tell)

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
        self._groups: dict[str, Group] = {}
        self._by_rid: dict[str, OfferedFile] = {}
        self._recent = RecentChunks()
        self._packed = RecentChunks()
        self._lock = threading.Lock()
        self._closed = False
        self._on_closed: list[Callable[[], None]] = []

    # -- any thread ----------------------------------------------------------------------------------------------------

    def new_transaction(self, timeout: float, on_expired: Callback | None) -> Transaction:
        """Begin a group of files."""
        id = f"T{secrets.token_hex(16)}"
        self._groups[id] = Group(on_expired)

        def act(now: float) -> list[Command]:
            self._node.transfers.source.new_transaction(id, timeout, now)
            return []

        self._submit(act)
        return Transaction(self, id, timeout)

    def add(
        self,
        id: str,
        source: Source,
        chunk: int,
        receivers: Iterable[str] | None,
        on_served: Callback | None,
        rid: str | None = None,
        on_opened: Callable[[str, str], None] | None = None,
        codec: Codec = "auto",
        item: int = 1,
    ) -> str:
        """See `Transaction.add`."""
        group = self._groups.get(id)
        if group is None:
            source.close()
            raise ArgumentError(f"transaction {id} has ended; begin a new one")
        file = OfferedFile(self._check_rid(rid, source), source, on_served, on_opened, codec, item)
        if self._by_rid.setdefault(file.rid, file) is not file:
            source.close()
            raise ArgumentError(f"rid {file.rid!r} is in use at {self._node.fqcn}; offer it by another one")
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
            self._end(self._groups.pop(id, Group(None)))
            return []

        try:
            self._submit(act)
        except ClosedError:
            return  # closing has ended it

    def run(self, job: Callable[[], None]) -> None:
        """See `Transaction.run`."""
        if not self._calls.submit(job, 0, job):
            job()

    def on_closed(self, fn: Callable[[], None]) -> None:
        """See `Transaction.on_closed`."""
        with self._lock:
            if not self._closed:
                self._on_closed.append(fn)
                return
        fn()

    def ask_activity(self, id: str, tell: Callable[[float, Activity], None]) -> None:
        """See `Transaction.ask_activity`."""

        def act(now: float) -> list[Command]:
            source = self._node.transfers.source
            if (entry := source._transactions.get(id)) is None:
                return []
            heard: dict[tuple[str, str], float] = {}
            for (receiver, _, _), taker in source._takers.items():
                if taker.rid in entry.rids:
                    file = self._by_rid.get(taker.rid)
                    key = (taker.rid if file is None else file.told_as, receiver)
                    heard[key] = max(taker.heard, heard.get(key, 0.0))
            tell(entry.active, heard)
            return []

        self._submit(act)

    def on_ended(self, id: str, fn: Callable[[], None]) -> None:
        """See `Transaction.on_ended`."""

        def act(now: float) -> list[Command]:
            if (group := self._groups.get(id)) is None:
                fn()
            else:
                group.on_ended.append(fn)
            return []

        self._submit(act)

    def is_twin(self, rid: str) -> bool:
        """Whether this is only the sealed form of another file."""
        file = self._by_rid.get(rid)
        return file is not None and file.is_twin

    def names(self) -> Mapping[str, str]:
        """What is offered now: reference id -> name."""
        return {rid: file.source.name for rid, file in list(self._by_rid.items()) if not file.is_twin}

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
        if (file := self._by_rid.get(command.rid)) is not None:
            file.packers.pop(command.receiver, None)
            file.served(self._calls, command.receiver, command.status)

    def expired(self, command: Expired) -> None:
        """Nobody has asked for anything of a transaction for its time-out."""
        group = self._groups.pop(command.transaction, None)
        if group is None:
            return
        self._end(group)
        if group.on_expired is not None:
            group.on_expired.call(self._calls, command.transaction, [file.source.name for file in group.files])

    def close(self) -> None:
        """Nothing will be told any more: the files are closed."""
        groups, self._groups = self._groups, {}
        for group in groups.values():
            for file in group.files:
                self._withdraw(file)
        with self._lock:
            self._closed = True
        for fn in self._on_closed:
            fn()

    def _check_rid(self, rid: str | None, source: Source) -> str:
        try:
            return new_rid() if rid is None else check_rid(rid, "rid")
        except ArgumentError:
            source.close()
            raise

    def _end(self, group: Group) -> None:
        for fn in group.on_ended:
            fn()
        for file in group.files:
            self._withdraw(file)

    def _withdraw(self, file: OfferedFile) -> None:
        if file.twin is not None:
            self._withdraw(file.twin)
        self._by_rid.pop(file.rid, None)
        self._recent.forget(file.rid)
        self._packed.forget(file.rid)
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

    def refusal(self, rid: str, origin: str, id: int, is_proved: bool = False) -> Outcome | None:
        """Filters see who wants to pull, as they see who asks for anything else. What they answer, if they do."""
        channel, topic = CHANNEL, OPEN
        headers = {
            MessageHeaderKey.MSG_TYPE: "req",
            MessageHeaderKey.ORIGIN: origin,
            MessageHeaderKey.DESTINATION: self._node.fqcn,
            MessageHeaderKey.CHANNEL: channel,
            MessageHeaderKey.TOPIC: topic,
            MessageHeaderKey.REQ_ID: id,
        }
        if is_proved:
            headers[MessageHeaderKey.SECURE] = True
        try:
            answer = self._filters.on_request(Message(headers, rid), channel, topic)
        except RequestFailed as error:
            return Outcome(error.code, error.reason)
        return None if answer is None or answer.ok else Outcome(answer.return_code, answer.error)

    def _open(self, command: Read, file: OfferedFile | None) -> Outcome:
        """Filters first, which have seen who pulls it sealed before; then the source is checked."""
        call = command.call
        is_seen = file is not None and file.is_twin
        if not is_seen and (refusal := self.refusal(command.rid, call.origin, call.id)) is not None:
            return refusal
        outcome = self._read(command, file)
        if file is not None and outcome.code is CellReturnCode.OK:
            file.opened(call.origin)
        return outcome

    def _read(self, command: Read, file: OfferedFile | None) -> Outcome:
        if file is None:
            return Outcome(CellReturnCode.INVALID_REQUEST, "it is not offered any more")
        try:
            if command.index is None:
                file.source.read(0, 0)  # only whether it is what it was
                return Outcome(CellReturnCode.OK)
            data, checked = self._sent(command, command.index, file)
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

    def _sent(self, command: Read, index: int, file: OfferedFile) -> tuple[Buffer, bytes]:
        """What a receiver gets for a chunk, packed where it can read that and its link is slow, and the digest of the
        plain bytes. It is packed once for all who want it at about the same time."""
        packer = self._packer(command, file)
        if packer is None or not packer.wants(command.size):
            return self._chunk(command, index, file)
        if (found := self._packed.find(file.rid, index)) is not None:
            return found
        data, checked = self._chunk(command, index, file)
        packed = packer.squeeze((data,), len(data), file.item)
        if packed is None:
            return data, checked
        if file.is_shared:
            self._packed.keep(file.rid, index, packed, checked)
        return packed, checked

    def _packer(self, command: Read, file: OfferedFile) -> ChunkPacker | None:
        if not command.call.headers.get(UNPACKS):
            return None
        packer = file.packers.get(command.call.origin)
        if packer is None:
            packer = ChunkPacker(file.codec, self._clock, FIRST_WINDOW, file.source.size)
            packer = file.packers.setdefault(command.call.origin, packer)
        return packer

    def _chunk(self, command: Read, index: int, file: OfferedFile) -> tuple[Buffer, bytes]:
        """A chunk and its digest, from the disk unless another receiver has just had it."""
        if (found := self._recent.find(file.rid, index)) is not None:
            return found
        data = file.source.read(command.offset, command.size)
        checked = digest(data)
        if file.is_shared:
            self._recent.keep(file.rid, index, data, checked)
        return data, checked
