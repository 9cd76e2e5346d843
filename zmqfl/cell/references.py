"""Large payloads by reference: arrays and bytes stay with their sender, and each receiver pulls them once.

    sender    leave         the big pieces of a value are offered, bound to the targets; its tree travels (REFERENCE)
              freed         when all targets have them, when a request has ended at all of them, or by time-out
    receiver  fetch         pulled into buffers of the receiver's own, checked, decoded without another copy
              pass through  who asks for it gets a `LargeObjectRef` for each piece, and may send those on, in a payload
                            of its own: nobody in between pulls

    message   bodies of `zmqfl.wire.references`, and the header PASS_THROUGH when some of it is another cell's
    object    mark (8 bytes), one record of `zmqfl.cell.records`: the pieces

A value is serialised once however many targets it has; its arrays are not copied, but the digests of their chunks are
taken before the verb returns, so a receiver gets what they were then, or `source_changed`. Whoever passes a payload
through never confirms, so what it refers to lasts as long as the request does, of a fire or reply `IDLE` seconds after
it was pulled last. Source: design, decisions 8 and 15; reference "flare" 7.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from zmqfl.cell.callbacks import Callback
from zmqfl.cell.fetching import MARK, Fetch
from zmqfl.cell.offered_objects import ObjectSource, aligned
from zmqfl.cell.offering import Offering, Transaction
from zmqfl.cell.pulling import Pulling
from zmqfl.cell.records import Piece, record_of
from zmqfl.config import MIB, CellConfig
from zmqfl.errors import CellReturnCode, DecodeError, EncodeError, InvalidRequest, RequestFailed
from zmqfl.fqcn import FQCN, tree_is_below
from zmqfl.protocol.node import Node
from zmqfl.protocol.pull_source import BELOW, FOREVER
from zmqfl.wire import payload
from zmqfl.wire.codecs import PAYLOAD_CODEC, REFERENCE
from zmqfl.wire.messages import Buffer
from zmqfl.wire.references import Apart, Place, Table, decode_table, encode_apart, table_of

log = logging.getLogger("zmqfl.cell")

CHUNK: Final = 1 * MIB
IDLE: Final = 300.0
"""Seconds without activity after which a reference in a fire or reply ends that nobody has freed."""


@dataclass(slots=True)
class Encoded:
    """A value as it leaves."""

    codec: int
    bodies: tuple[Buffer, ...]
    held: Held | None = None
    """Its pieces, where they stay here."""
    passes: bool = False
    """It refers to pieces that another cell holds."""

    def free(self) -> None:
        """Nobody needs it any more."""
        if self.held is not None:
            self.held.free()


class References:
    """See the module. `is_on_reactor`: whether this thread is the reactor."""

    def __init__(
        self, node: Node, config: CellConfig, offering: Offering, pulling: Pulling, is_on_reactor: Callable[[], bool]
    ) -> None:
        self.on_free: Callable[[], None] | None = None
        """Called, by any thread, when a reference is freed."""
        self._node = node
        self._config = config
        self._offering = offering
        self._pulling = pulling
        self._is_on_reactor = is_on_reactor
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}

    # -- sender, any thread --------------------------------------------------------------------------------------------

    def encode(self, value: Any, what: str, targets: Sequence[str], *, copy: bool = False, asks: bool) -> Encoded:
        """What leaves for `targets` in place of a value; free it when it does not leave.

        `copy`: what stays here is a snapshot. `asks`: it is a request, and will be freed when that has ended.
        Raises `EncodeError` for what cannot travel, `RequestFailed` for what is too big, `ClosedError`.
        """
        try:
            pieces, items = payload.encode_pieces(value)
        except EncodeError:
            if (apart := encode_apart(value)) is None:
                raise
            return self._encode_apart(apart, targets, copy, asks)
        size = sum(map(len, pieces))
        big = size - len(pieces[0])
        if targets and 0 < self._config.reference_threshold <= big:
            self._check_size(len(pieces[0]), what)
            held = self._leave(pieces[1:], items[1:], targets, copy, asks)
            table = table_of((held.place, index) for index in range(len(pieces) - 1))
            return Encoded(REFERENCE, (table.encode(), pieces[0]), held)
        self._check_size(size, what)
        return Encoded(PAYLOAD_CODEC, tuple(payload.message_frames(pieces)))

    def _encode_apart(self, apart: Apart, targets: Sequence[str], copy: bool, asks: bool) -> Encoded:
        """Some of it is held by others: then the rest stays here as well, whatever its size."""
        held = self._leave(apart.pieces, apart.items, targets, copy, asks) if apart.pieces and targets else None
        if apart.pieces and held is None:
            return Encoded(REFERENCE, ())  # it goes nowhere
        table = apart.table(None if held is None else held.place)
        return Encoded(REFERENCE, (table.encode(), apart.tree), held, passes=True)

    def _check_size(self, size: int, what: str) -> None:
        if size > self._config.payload_limit:
            text = (
                f"the {what} of {size} bytes is above `payload_limit` of {self._node.fqcn}, "
                f"{self._config.payload_limit} bytes; send it in parts, or raise the limit at both ends"
            )
            raise RequestFailed(text, code=CellReturnCode.MSG_TOO_BIG)

    def _leave(
        self, pieces: list[bytes | memoryview], items: list[int], targets: Iterable[str], copy: bool, asks: bool
    ) -> Held:
        """Offer pieces to `targets`, and to the cells below them: who passes through is not who pulls."""
        made_of = [*aligned([Piece(MARK, 1)]), *aligned(record_of(pieces, items))]
        size = sum(len(piece.data) for piece in made_of)
        if size > self._config.object_limit:
            text = f"{size} bytes are more than the {self._config.object_limit} of `object_limit` at {self._node.fqcn}"
            raise RequestFailed(f"{text}; send it in parts, or raise it", code=CellReturnCode.MSG_TOO_BIG)
        source = ObjectSource("payload", made_of, CHUNK, copy)
        transaction = self._offering.new_transaction(FOREVER if asks else IDLE, Callback(self._expired))
        held = Held(self, transaction, targets, size, asks)
        with self._lock:
            self._held[transaction.id] = held
        receivers = [name + end for name in held.targets for end in ("", BELOW)]
        try:
            rid = transaction.add(source, CHUNK, receivers, Callback(held.served), item=source.item)
        except BaseException:
            self._forget(held)
            raise
        held.place = Place(self._node.fqcn, rid, size)
        return held

    def _expired(self, id: str, names: list[str]) -> None:
        log.warning("%s: a payload that was left here is freed: nobody has asked for it in %g s", self._node.fqcn, IDLE)
        if (held := self._held.get(id)) is not None:
            self._forget(held)

    def _forget(self, held: Held) -> None:
        with self._lock:
            known = self._held.pop(held.id, None)
        if known is not None and self.on_free is not None:
            self.on_free()

    # -- what is held --------------------------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """Payloads of which pieces are held here."""
        return len(self._held)

    @property
    def bytes(self) -> int:
        """Bytes of these pieces."""
        with self._lock:
            return sum(held.size for held in self._held.values())

    @property
    def awaited(self) -> int:
        """Those among them that a close waits for: of replies and fires. A request fails anyway."""
        with self._lock:
            return sum(not held.asks for held in self._held.values())

    # -- receiver ------------------------------------------------------------------------------------------------------

    def read(self, bodies: tuple[Buffer, ...], origin: str, passes: bool) -> Table:
        """Where the pieces are that a message of `origin` refers to. `passes`: it says that they are others'.

        A peer must not make this cell pull from a third one: the owner is the origin, or with the mark of those who
        pass through a cell that the origin or this cell stands below. Raises `DecodeError`, `InvalidRequest`, and
        `RequestFailed` for what is too big.
        """
        if len(bodies) != 2:
            raise DecodeError(f"a payload by reference of {origin} in {len(bodies)} bodies, not 2")
        table = decode_table(bodies[0])
        for place in table.places:
            if FQCN.validate(place.owner) or not (place.owner == origin or (passes and self._is_above(place, origin))):
                raise InvalidRequest(f"{origin} refers to a payload of {place.owner[:240]!r}, which it may not")
        size = sum(place.size for place in table.places)
        if size > self._config.object_limit:
            text = f"{size} bytes are more than the {self._config.object_limit} of `object_limit` at {self._node.fqcn}"
            raise RequestFailed(f"{text}; send it in parts, or raise it", code=CellReturnCode.MSG_TOO_BIG)
        return table

    def _is_above(self, place: Place, origin: str) -> bool:
        root = self._node.neighbours.root
        return tree_is_below(origin, place.owner, root) or tree_is_below(self._node.fqcn, place.owner, root)

    def fetch(
        self,
        bodies: tuple[Buffer, ...],
        table: Table,
        done: Callable[[list[Buffer], Exception | None], None],
        within: float | None = None,
    ) -> Fetch:
        """Pull what a message refers to; `done(frames, error)` is called once, see `Fetch`. Raises `ClosedError`."""
        fetch = Fetch(self._pulling, self._is_on_reactor, bodies[1], table, done, within)
        fetch.start()
        return fetch


class Held:
    """Pieces that are held for their receivers."""

    def __init__(
        self, references: References, transaction: Transaction, targets: Iterable[str], size: int, asks: bool
    ) -> None:
        self.id = transaction.id
        self.targets = frozenset(targets)
        self.size = size
        self.asks = asks
        self.place = Place("", "", 0)
        self._references = references
        self._transaction = transaction
        self._missing = set(self.targets)
        self._lock = threading.Lock()

    def served(self, rid: str, receiver: str, status: str, name: str) -> None:
        """A receiver has them, or has given up. Not all of those below a target need be the last."""
        self.lost((receiver,))

    def lost(self, targets: Iterable[str]) -> None:
        """These do not need them any more; without any that does they are freed."""
        with self._lock:
            self._missing.difference_update(targets)
            is_over = not self._missing
        if is_over:
            self.free()

    def free(self) -> None:
        """Nobody needs them any more. Again: does nothing."""
        self._transaction.end()
        self._references._forget(self)
