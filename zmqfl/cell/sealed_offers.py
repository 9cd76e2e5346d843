"""Sealed pulls, the owner's side: a file gets a twin, which travels as any offer does, and whose chunks are sealed.

    receiver                        owner, all of it in sealed requests
    OPEN {r}                   ->   whether this one may have file `r`: its name is proved
                               <-   {t, k, n, c, f, name}: the twin's id, its content key, and what is plain: size,
                                    chunk, fingerprint, name
    pulls `t` (an ordinary pull, so relays may keep what passes)
    PROVE {t, i, d}            ->   compares: `d` are the SHA-256 of plain chunks `i` and following, joined
                               <-   {bad}: those that are not what the owner has
    DONE success (of the pull) ->   counts for the file, if all was proved before

There is one twin for all receivers of a file, made for the first of them; it ends with its transaction. Relays learn
its id, and so may others: of it they get what they cannot read. Who has its key could forge chunks for another one,
which PROVE finds. Source: design, decisions 12, 20 and 22.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from zmqfl.blobs.chunk_seal import PROOF, ChunkSeal
from zmqfl.blobs.sealed_source import SealedSource
from zmqfl.cell.message import Message, make_reply
from zmqfl.cell.offered_files import OfferedFile
from zmqfl.cell.offering import Offering
from zmqfl.cell.pushing import Submit
from zmqfl.cell.reference_ids import new_rid
from zmqfl.cell.workers import Workers
from zmqfl.config import MIB
from zmqfl.errors import (
    AuthenticationError,
    BlobError,
    CellReturnCode,
    InvalidRequest,
    RequestFailed,
    SourceChangedError,
)
from zmqfl.protocol.commands import Command
from zmqfl.protocol.node import Node
from zmqfl.protocol.pull_grid import MAX_CHUNK
from zmqfl.protocol.pull_source import UNKNOWN, changed
from zmqfl.wire.noise import KEY, TAG

if TYPE_CHECKING:
    from zmqfl.cell.cell import Cell

CHANNEL: Final = "_sealed_pulls"
OPEN: Final = "open"
PROVE: Final = "prove"
WHY: Final = "why"
"""Header of a refusal: what kind it is, where the return code does not say so."""
CHANGED: Final = "source_changed"
PROVED_BYTES: Final = 256 * MIB
"""Plain bytes whose digests one PROVE may hold: the owner may have to read them, within a time-out."""


def most_proved(chunk: int) -> int:
    """Chunks of which one PROVE tells."""
    return max(1, PROVED_BYTES // chunk)


class SealedTwin(OfferedFile):
    """The sealed form of `plain`, offered as `rid`."""

    def __init__(self, plain: OfferedFile, source: SealedSource, seal: ChunkSeal, key: bytes) -> None:
        super().__init__(seal.twin, source, None, codec="none")
        self.plain = plain
        self.sealed = source
        self.seal = seal
        self.key = key
        self.proved: dict[str, int] = {}
        """Receivers that have asked for it, and how many of their pulls are proved and have not ended."""

    @property
    def is_twin(self) -> bool:
        """It is."""
        return True

    @property
    def told_as(self) -> str:
        """The id of the plain one."""
        return self.plain.rid

    def opened(self, receiver: str) -> None:
        """A receiver begins, unless it is one of which nothing is proved."""
        if receiver in self.proved:
            self.plain.opened(receiver)

    def served(self, calls: Workers, receiver: str, status: str) -> None:
        """A receiver has ended: that it has everything must have been proved."""
        if (left := self.proved.get(receiver)) is None:
            return
        if status == "success" and left:
            self.proved[receiver] -= 1
        self.plain.served(calls, receiver, status if left else "failed")


class SealedOffers:
    """See the module: two handlers of sealed requests, which reply by futures that end on the reactor."""

    def __init__(self, node: Node, offering: Offering, submit: Submit) -> None:
        self._node = node
        self._offering = offering
        self._submit = submit

    # -- workers -------------------------------------------------------------------------------------------------------

    def open(self, message: Message) -> Future[Message]:
        """A receiver wants to pull a file. Raises `RequestFailed`."""
        match _payload_of(message):
            case {"r": str() as rid}:
                pass
            case _:
                raise InvalidRequest("is no OPEN of a sealed pull")
        refusal = self._offering.refusal(rid, message.origin, message.req_id, is_proved=True)
        if refusal is not None:
            raise RequestFailed(refusal.error, code=refusal.code)
        return self._on_reactor(lambda now: self._opened(rid, message.origin, now))

    def prove(self, message: Message) -> Future[Message]:
        """A receiver tells what it has got. Raises `RequestFailed`."""
        match _payload_of(message):
            case {"t": str() as rid, "i": int() as first, "d": bytes() as digests} if not len(digests) % PROOF:
                pass
            case _:
                raise InvalidRequest("is no PROVE of a sealed pull")
        twin = self._offering._by_rid.get(rid)
        if not isinstance(twin, SealedTwin) or message.origin not in twin.proved:
            raise InvalidRequest(UNKNOWN)
        end = first + len(digests) // PROOF
        if not 0 <= first <= end <= min(twin.seal.count, first + most_proved(twin.seal.chunk)):
            raise InvalidRequest(f"{twin.plain.source.name} has no chunks {first} to {end}")
        try:
            bad = [
                first + number
                for number in range(end - first)
                if twin.sealed.proof(first + number) != digests[PROOF * number : PROOF * (number + 1)]
            ]
        except SourceChangedError:
            return self._on_reactor(lambda now: _changed(twin.plain))
        except BlobError as error:
            text = f"{twin.plain.source.name} cannot be read: {error.problem}"
            raise RequestFailed(text, code=CellReturnCode.PROCESS_EXCEPTION) from error
        is_whole = end == twin.seal.count and not bad
        return self._on_reactor(lambda now: self._proved(twin, message.origin, bad, is_whole, now))

    # -- the reactor ---------------------------------------------------------------------------------------------------

    def _opened(self, rid: str, receiver: str, now: float) -> Message:
        source, file = self._node.transfers.source, self._offering._by_rid.get(rid)
        reference = source.entry_for(rid, receiver, now)
        if file is None or file.is_twin or reference is None:
            raise InvalidRequest(UNKNOWN)
        if reference.changed:
            return _changed(file)
        if reference.chunk > MAX_CHUNK - TAG:
            text = f"chunks of {reference.chunk} bytes are too long to be sealed, at most {MAX_CHUNK - TAG}"
            raise RequestFailed(f"{text}; offer it in shorter ones", code=CellReturnCode.MSG_TOO_BIG)
        twin = file.twin
        if not isinstance(twin, SealedTwin):
            twin = _twin_of(file, reference.chunk)
            file.twin = self._offering._by_rid[twin.rid] = twin
            source.add(
                reference.transaction, twin.rid, twin.seal.sealed_size, twin.seal.sealed_chunk, twin.source.fingerprint,
                twin.source.name, reference.receivers, now,
            )  # fmt: skip
        twin.proved.setdefault(receiver, 0)
        twin.is_shared = len(twin.proved) > 1
        facts = {
            "t": twin.rid, "k": twin.key, "n": twin.seal.size, "c": twin.seal.chunk, "f": file.source.fingerprint,
            "name": file.source.name,
        }  # fmt: skip
        return Message(payload=facts)

    def _proved(self, twin: SealedTwin, receiver: str, bad: list[int], is_whole: bool, now: float) -> Message:
        if self._node.transfers.source.entry_for(twin.rid, receiver, now) is None:
            raise InvalidRequest(UNKNOWN)
        if is_whole:
            twin.proved[receiver] += 1
        return Message(payload={"bad": bad})

    def _on_reactor(self, answer: Callable[[float], Message]) -> Future[Message]:
        future: Future[Message] = Future()

        def act(now: float) -> list[Command]:
            try:
                future.set_result(answer(now))
            except RequestFailed as error:
                future.set_exception(error)
            return []

        self._submit(act)
        return future


def serve_sealed_pulls(cell: Cell) -> None:
    """Register the answers at a cell that has a card."""
    offers = SealedOffers(cell._node, cell._transfers.offering, cell._submit)
    cell.register_request_cb(CHANNEL, OPEN, offers.open)
    cell.register_request_cb(CHANNEL, PROVE, offers.prove)


def _payload_of(message: Message) -> Any:
    if not message.sealed:
        raise AuthenticationError("a sealed pull begins and ends with sealed requests, and this one came in clear")
    return message.payload


def _twin_of(file: OfferedFile, chunk: int) -> SealedTwin:
    rid, key = new_rid(), os.urandom(KEY)
    seal = ChunkSeal(key, rid, file.source.size, chunk)
    return SealedTwin(file, SealedSource(file.source, seal), seal, key)


def _changed(file: OfferedFile) -> Message:
    outcome = changed(file.source.name)
    reply = make_reply(outcome.code, outcome.error)
    reply.set_header(WHY, CHANGED)
    return reply
