"""A federation whose cells have cards: on real sockets (`CardedFederation`), or `Sealing`s and a wire between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import zmq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from zmq.utils import z85

from tests.system.federation import Federation
from zmqfl import Keys
from zmqfl.cell.seal_trust import Trust
from zmqfl.cell.sealing import Found, Sealing
from zmqfl.cell.streams import Chunk
from zmqfl.errors import CellReturnCode, RequestFailed
from zmqfl.protocol.commands import Ask, Call, Command, Outcome
from zmqfl.transport.cards import SealingKeys
from zmqfl.wire.card import Card, Revocations, sign_card
from zmqfl.wire.noise import public_of

AUTHORITY = bytes([7]) * 32
FEDERATION = Ed25519PrivateKey.from_private_bytes(AUTHORITY).public_key().public_bytes_raw()
LATER = 4_000_000_000
"""Unix time until which cards are valid."""


def sealing_keys(fqcn: str, curve: bytes, serial: int = 1, not_after: int = LATER, **changes: Any) -> SealingKeys:
    """Of a cell with this CURVE key (32 bytes). The sealing key follows from the name."""
    secret = fqcn.encode().ljust(32, b"\0")[:32]
    card = Card(changes.pop("card_name", fqcn), curve, public_of(secret), serial, not_after)
    signed = sign_card(card, changes.pop("authority", AUTHORITY))
    return replace(SealingKeys(card, signed, secret, FEDERATION, Revocations(1)), **changes)


class CardedFederation(Federation):
    """Each cell has a card besides its CURVE key."""

    def __init__(self, **options: Any) -> None:
        super().__init__(keys=True, **options)
        self.serials: dict[str, int] = {}

    def keys_of(self, fqcn: str, parent: str = "server") -> Keys:
        """The CURVE keys of all that were asked for, and the card of `fqcn`."""
        keys = super().keys_of(fqcn, parent)
        serial = self.serials.setdefault(fqcn, len(self.serials) + 1)
        return replace(keys, sealing=sealing_keys(fqcn, z85.decode(keys.public), serial))


@dataclass
class Clock:
    """Time, of both kinds."""

    now: float = 100.0
    wall: float = 2_000_000_000.0


class FakeNode:
    """As much of a node as `Sealing` sees."""

    def __init__(self, wire: Wire, fqcn: str, instance: int) -> None:
        self.fqcn, self.instance = fqcn, instance
        self._wire = wire
        self._ids = 0

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def transfer(self, act: Callable[[Any], list[Command]], now: float) -> list[Command]:
        return act(None)

    def fire(self, id: int, targets: list[str], channel: str, topic: str, codec: int, headers: Any, *_: Any) -> Any:
        for target in targets:
            self._wire.deliver(self, target, channel, topic, headers, None)
        return [], {}


OK = CellReturnCode.OK


class Wire:
    """Cells by name. `touch(target, topic, headers)` sees each request and gives what arrives, or an outcome."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cells: dict[str, Sealing] = {}
        self.nodes: dict[str, FakeNode] = {}
        self.curve: dict[str, bytes] = {}
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.touch: Callable[[str, str, dict[str, Any]], dict[str, Any] | Outcome] = lambda target, topic, headers: (
            headers
        )
        self.held: list[Callable[[], None]] | None = None
        """Set: answers are put here, and not delivered."""

    def start(self, fqcn: str, instance: int, keys: SealingKeys | None = None) -> Sealing:
        """A start of a cell."""
        if fqcn not in self.curve:
            self.curve[fqcn] = zmq.curve_keypair()[0]
        node = self.nodes[fqcn] = FakeNode(self, fqcn, instance)
        keys = keys or sealing_keys(fqcn, z85.decode(self.curve[fqcn]))
        trust = Trust(fqcn, keys, self.curve.get, lambda: self.clock.wall)

        def submit(act: Callable[[float], list[Command]]) -> None:
            for command in act(self.clock.now):
                self._ask(node, sealing, cast(Ask, command))

        sealing = Sealing(cast(Any, node), trust, submit, lambda job: job(), lambda: self.clock.now)
        self.cells[fqcn] = sealing
        return sealing

    def _ask(self, node: FakeNode, sealing: Sealing, ask: Ask) -> None:
        (target,) = ask.targets

        def answer(outcome: Outcome) -> None:
            sealing.answered(ask.tag, target, outcome, self.clock.now)

        def hold(outcome: Outcome) -> None:
            assert self.held is not None
            self.held.append(lambda: answer(outcome))

        self.deliver(node, target, ask.channel, ask.topic, ask.headers, answer if self.held is None else hold)

    def deliver(self, node: FakeNode, target: str, channel: str, topic: str, headers: Any, answer: Any) -> None:
        self.sent.append((target, topic, headers))
        arrives = self.touch(target, topic, headers)
        if isinstance(arrives, Outcome):
            answer(arrives)
            return
        if target not in self.cells:
            answer(Outcome(CellReturnCode.TARGET_UNREACHABLE, f"no way to {target}"))
            return
        call = Call(node.fqcn, node.instance, 1, channel, topic, 0, arrives, (), 5.0, answer is not None)
        self.cells[target].serve(call, lambda _, outcome: answer(outcome))

    def topics(self) -> list[str]:
        """What was sent so far, and forget it."""
        topics = [topic for _, topic, _ in self.sent]
        self.sent.clear()
        return topics


class Heard:
    """What `Sealing.sessions` has told."""

    def __init__(self) -> None:
        self.told: list[tuple[Found, dict[str, RequestFailed]]] = []

    def __call__(self, found: Found, failed: dict[str, RequestFailed]) -> None:
        self.told.append((found, failed))

    @property
    def found(self) -> Found:
        """Sessions; nothing has failed."""
        ((found, failed),) = self.told
        assert not failed, failed
        return found

    @property
    def failed(self) -> dict[str, RequestFailed]:
        """Errors; there is no session."""
        ((found, failed),) = self.told
        assert not found
        return failed


class Numbers:
    """Makes `count` chunks; `verdicts`: what `settle` gives for each round."""

    looks_ahead, judges, is_quick = False, True, False

    def __init__(self, count: int, verdicts: Mapping[int, Any] | None = None, last: bool = False) -> None:
        self.count, self.verdicts, self.last = count, verdicts or {}, last
        self.made = 0
        self.settled: list[dict[str, Outcome]] = []
        self.closed = 0

    def produce(self) -> Chunk | None:
        if self.made == self.count:
            return None
        self.made += 1
        headers = {"n": self.made, **({"last": 1} if self.last and self.made == self.count else {})}
        return Chunk(headers, 2, (b"chunk %d" % self.made,), 7.0)

    def settle(self, replies: Mapping[str, Outcome]) -> Any:
        self.settled.append(dict(replies))
        return self.verdicts.get(len(self.settled))

    def close(self) -> None:
        self.closed += 1


class Taker:
    """Takes `most` chunks, or all, and says what it took. `fails`: at which one."""

    is_quick = False

    def __init__(self, most: int = 1000, fails: int = 0, error: BaseException | None = None) -> None:
        self.most, self.fails, self.error = most, fails, error
        self.taken: list[Chunk] = []
        self.ends: list[tuple[CellReturnCode, str, str]] = []
        self.ending: BaseException | None = None

    def consume(self, chunk: Chunk) -> tuple[bool, Outcome]:
        self.taken.append(chunk)
        if len(self.taken) == self.fails:
            if self.error is not None:
                raise self.error
            return False, Outcome(CellReturnCode.INVALID_REQUEST, "not this one")
        more = len(self.taken) < self.most and not chunk.headers.get("last")
        return more, Outcome(OK, "", 1, {"took": len(self.taken)}, (b"took %d" % len(self.taken),))

    def close(self, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        self.ends.append((code, reason, culprit))
        if self.ending is not None:
            raise self.ending
        return Outcome(OK, "", 1, {}, (b"bye",))
