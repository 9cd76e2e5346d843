"""The channels of a cell, both sides as one machine: broker to others, and client of brokers (itself too)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.channels.bond import TO_BROKER, TO_CLIENT, Bond
from zmqfl.protocol.channels.broker import MOVES, Broker
from zmqfl.protocol.channels.client import Client
from zmqfl.protocol.channels.questions import Questions
from zmqfl.protocol.commands import Answer, Call, Command, Outcome

CHANNELS = (TO_BROKER, TO_CLIENT)


class Channels:
    """See the module. `budget`: bytes that the buffers here may come to hold; `random`: unguessable numbers."""

    def __init__(self, fqcn: str, budget: int, random: Callable[[], int]) -> None:
        self.broker = Broker(fqcn, budget)
        self.client = Client(fqcn, random)
        self._questions = Questions(self.broker, random)
        self._fqcn = fqcn

    def has(self, owner: object) -> bool:
        """Whether a request is of this machine."""
        return isinstance(owner, Bond | Client | Questions)

    def receive(self, call: Call, now: float) -> list[Command]:
        """A request on one of `CHANNELS`."""
        if not call.expects_reply:
            return []
        if call.channel == TO_CLIENT:
            return self.client.receive(call, now)
        bond, commands = self.broker.bond_of(call)
        if bond is None:
            text = f"{self._fqcn} does not know this session: it has started anew, or has left"
            return [Answer(call, Outcome(CellReturnCode.INVALID_SESSION, text))]
        if call.topic in MOVES:
            return commands + self.broker.receive(bond, call)
        return commands + self._questions.receive(bond, call, now)

    def answered(self, owner: Any, tag: Any, outcome: Outcome, now: float) -> list[Command]:
        """A request has ended."""
        match owner:
            case Questions():
                return owner.answered(tag, outcome, now)
            case Client():
                return owner.question_answered(tag, outcome, now)
            case Bond():
                side: Broker | Client = owner.owner
                return side.answered(owner, tag, outcome, now)
        return []

    def handle_timeout(self, now: float) -> list[Command]:
        """Whatever is due, of both sides: what one sends may be for the other."""
        return self.broker.handle_timeout(now) + self.client.handle_timeout(now)

    @property
    def deadline(self) -> float | None:
        """When that is."""
        times = (self.broker.deadline, self.client.deadline)
        return min((at for at in times if at is not None), default=None)

    def __repr__(self) -> str:
        return f"<Channels {self.broker!r} {self.client!r}>"
