"""Large payloads by reference: they stay with their sender, and each receiver pulls them once.

    sender    leave         the pieces of a value are offered, bound to the targets; the message says where (REFERENCE)
              freed         when all targets have ended (of a request), have it (of a fire or reply), or by time-out
    receiver  fetch         pulled into one buffer of the receiver's own, checked, decoded without another copy
              pass through  a handler that asks for it gets the reference, and may send it on: nobody in between pulls

    message   [owner, reference id, bytes], flag "p" in the headers where it was passed through
    object    mark (8 bytes), one record of `zmqfl.cell.records`: the frames of the payload

A value is serialised once however many targets it has; its arrays are not copied, but their chunks' digests are taken
before the verb returns, so a receiver gets what they were then, or `source_changed`.
Source: design, decisions 8 and 15; reference "flare" 7.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from zmqfl.blobs.buffer_sink import BufferSink
from zmqfl.cell.callbacks import Callback
from zmqfl.cell.offered_objects import ObjectSource, aligned, records_in
from zmqfl.cell.offering import Offering, Transaction
from zmqfl.cell.pulling import PullHandle, Pulling
from zmqfl.cell.records import Piece, record_of
from zmqfl.config import MIB, CellConfig
from zmqfl.errors import CellReturnCode, ClosedError, DecodeError, InvalidRequest, RequestFailed, SinkError, ZmqflError
from zmqfl.fqcn import FQCN, tree_is_below
from zmqfl.protocol.node import Node
from zmqfl.protocol.pull_source import BELOW
from zmqfl.wire import payload
from zmqfl.wire.messages import Buffer

log = logging.getLogger("zmqfl.cell")

MARK: Final = b"zmqfl pl"
CHUNK: Final = 1 * MIB
IDLE: Final = 300.0
"""Seconds without activity after which a reference ends that nobody has freed."""
NO_PROGRESS: Final = 60.0
"""Seconds without progress after which a receiver gives up."""
PASSED_THROUGH: Final = "zmqfl.passed_through"
"""Header of a message whose reference is that of another cell."""


Fetched = Callable[[Any, RequestFailed | ClosedError | None], object]
"""Is given the payload, or why it could not be had."""


@dataclass(frozen=True, slots=True)
class LargeObjectRef:
    """Where a large payload is to be had: what a handler that passes through gets as its payload, and sends on."""

    owner: str
    rid: str
    size: int
    """Bytes."""


class References:
    """See the module. `is_on_reactor`: whether this thread is the reactor."""

    def __init__(
        self, node: Node, config: CellConfig, offering: Offering, pulling: Pulling, is_on_reactor: Callable[[], bool]
    ) -> None:
        self.on_free: Callable[[], None] | None = None
        """Called, by any thread, when a reference that others wait for is freed."""
        self._node = node
        self._config = config
        self._offering = offering
        self._pulling = pulling
        self._is_on_reactor = is_on_reactor
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}

    # -- sender ------------------------------------------------------------------------------------------------------

    def is_large(self, size: int) -> bool:
        """Whether a payload of `size` bytes stays here."""
        return 0 < self._config.reference_threshold <= size

    def leave(
        self, pieces: list[bytes | memoryview], items: list[int], targets: Iterable[str], copy: bool, until_taken: bool
    ) -> Held:
        """Offer the pieces of a value (see `payload.encode_pieces`) to `targets`.

        `copy`: a snapshot. `until_taken`: it is freed when all targets have it, or have failed; else by `free` alone.
        Raises `RequestFailed` for more than `object_limit`, `ClosedError`.
        """
        made_of = [*aligned([Piece(MARK, 1)]), *aligned(record_of(pieces, items))]
        size = sum(len(piece.data) for piece in made_of)
        if size > self._config.object_limit:
            text = f"{size} bytes are more than the {self._config.object_limit} of `object_limit` at {self._node.fqcn}"
            raise RequestFailed(f"{text}; send it in parts, or raise it", code=CellReturnCode.MSG_TOO_BIG)
        source = ObjectSource("payload", made_of, CHUNK, copy)
        transaction = self._offering.new_transaction(IDLE, Callback(self._expired))
        held = Held(self, transaction, frozenset(targets), until_taken)
        with self._lock:
            self._held[transaction.id] = held
        receivers = [*held.targets, *(name + BELOW for name in held.targets)]  # who passes through is not who pulls
        rid = transaction.add(source, CHUNK, receivers, Callback(held.served), item=source.item)
        held.ref = LargeObjectRef(self._node.fqcn, rid, source.size)
        return held

    def _expired(self, id: str, names: list[str]) -> None:
        log.warning("%s: a payload that was left here is freed: nobody has asked for it in %g s", self._node.fqcn, IDLE)
        self._forget(id)

    def _forget(self, id: str) -> None:
        with self._lock:
            known = self._held.pop(id, None)
        if known is not None and self.on_free is not None:
            self.on_free()

    @property
    def open(self) -> int:
        """Payloads that are held here."""
        return len(self._held)

    @property
    def awaited(self) -> int:
        """Those among them that a receiver has yet to take: of replies and fires."""
        with self._lock:
            return sum(held.until_taken for held in self._held.values())

    # -- receiver ------------------------------------------------------------------------------------------------------

    def fetch(self, ref: LargeObjectRef, done: Fetched) -> PullHandle:
        """Pull a payload; `done(value, error)` is called once, by a thread that must not be held up for long.

        Raises `ClosedError`.
        """
        handle = PullHandle(
            ref.rid, ref.owner, on_cancel=lambda: self._give_up(handle), on_reactor=self._is_on_reactor
        )  # fmt: skip
        handle.add_done_callback(lambda ended: done(*_result_of(ended, ref)))
        make = partial(_make_sink, min(ref.size, self._config.object_limit))
        self._pulling.pull(handle, make, NO_PROGRESS, False)
        return handle

    def _give_up(self, handle: PullHandle) -> None:
        self._pulling.cancel(handle, CellReturnCode.ABORT_RUN, "cancelled")

    def read(self, bodies: tuple[Buffer, ...], origin: str, is_passed: bool) -> LargeObjectRef:
        """The reference in a message of `origin`. Raises `InvalidRequest` for one that it may not give.

        A peer must not make this cell pull from a third one: the owner is the origin, or with the mark of those who
        pass through a cell that the origin stands below, or that stands below the origin.
        """
        match payload.decode(bodies):
            case [str(owner), str(rid), int(size)] if size >= 0 and not FQCN.validate(owner):
                ref = LargeObjectRef(owner, rid, size)
            case _:
                raise DecodeError(f"the reference of {origin} is no list of owner, id and size")
        root = self._node.neighbours.root
        related = tree_is_below(origin, ref.owner, root) or tree_is_below(ref.owner, origin, root)
        if ref.owner != origin and not (is_passed and related):
            raise InvalidRequest(f"{origin} refers to a payload of {ref.owner}, which it may not")
        if ref.size > self._config.object_limit:
            text = f"{ref.size} bytes are more than the {self._config.object_limit} of `object_limit`"
            raise RequestFailed(f"{text} at {self._node.fqcn}", code=CellReturnCode.MSG_TOO_BIG)
        return ref


class Held:
    """A payload that is held for its receivers."""

    def __init__(
        self, references: References, transaction: Transaction, targets: frozenset[str], until_taken: bool
    ) -> None:
        self.targets = targets
        self.until_taken = until_taken
        self.ref = LargeObjectRef("", "", 0)
        self._references = references
        self._transaction = transaction
        self._taken: set[str] = set()

    def served(self, rid: str, receiver: str, status: str, name: str) -> None:
        """A receiver has it, or has given it up."""
        self._taken |= {name for name in self.targets if name == receiver or FQCN.is_ancestor(name, receiver)}
        if self.until_taken and self._taken >= self.targets:
            self.free()

    def lost(self, targets: Iterable[str]) -> None:
        """The message did not leave for these."""
        self._taken |= set(targets)
        if self.until_taken and self._taken >= self.targets:
            self.free()

    def free(self) -> None:
        """Nobody needs it any more. Again: does nothing."""
        self._transaction.end()
        self._references._forget(self._transaction.id)


class PayloadSink(BufferSink):
    """A buffer whose `commit` gives the payload. It raises `DecodeError` for what is none."""

    def commit(self) -> Any:
        """The value; its big arrays are views of the buffer."""
        view = memoryview(super().commit())
        if bytes(view[: len(MARK)]) != MARK:
            raise DecodeError("what was pulled is no payload")
        (frames,) = records_in(view)
        return payload.decode(frames, adopt=True, most=len(frames))


def encode_ref(ref: LargeObjectRef) -> tuple[Buffer, ...]:
    """The bodies of a message that refers to a payload."""
    return tuple(payload.encode([ref.owner, ref.rid, ref.size]))


def _make_sink(limit: int, theirs: str, size: int) -> PayloadSink:
    if size > limit:
        raise SinkError(f"{size} bytes were offered where {limit} were announced", file=theirs, remedy="send it again")
    return PayloadSink(size)


def _result_of(handle: PullHandle, ref: LargeObjectRef) -> tuple[Any, RequestFailed | ClosedError | None]:
    try:
        return handle.result(0), None
    except ClosedError as error:
        return None, error
    except ZmqflError as error:
        text = f"the payload of {ref.owner} could not be had: {error}"
    except BaseException as error:  # noqa: BLE001  cancelled: whoever cancels knows, and hears it all the same
        text = f"the payload of {ref.owner} was given up: {type(error).__name__}"
    return None, RequestFailed(text, code=CellReturnCode.COMM_ERROR)
