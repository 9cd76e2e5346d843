"""What a broker and one start of another cell have going: items and news each way, and that each is still there.

    state   event                                        next    effect
    -       the first verb of the other cell             held    ATTEND; it is answered when the bond ends
    held    items or news come, of this bond             held    acknowledged; they go on, in order
    held    items or news come, of another one           held    invalid_session
    held    ATTEND, items or news cannot be delivered    lost    its owner hears why, and ends all that hangs on it
    held    ATTEND is over for want of time              held    again
    lost    anything                                     lost    invalid_session

ATTEND is an open question to which nobody has an answer: whoever asks is told as soon as the other is gone, wherever it
is in the tree, by what a request promises. The client names the bond by a random number: a start of a broker that does
not know it says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.protocol.channels.carrier import ITEMS, TIMEOUT, Carrier
from zmqfl.protocol.channels.intake import Intake
from zmqfl.protocol.channels.items import Part, decode_batch
from zmqfl.protocol.channels.news import NEWS, News, Row
from zmqfl.protocol.commands import Answer, Ask, Call, Command, Outcome, Unask

TO_BROKER = "zmqfl.channels"
TO_CLIENT = "zmqfl.channels.client"
ATTEND = "attend"


class Bond:
    """See the module. `owner`: the machine whose requests these are; `channel`: where they go. `row` and `acked` are as
    of `News`."""

    def __init__(
        self,
        owner: Any,
        me: str,
        peer: str,
        channel: str,
        session: int,
        row: Callable[[Bond, int], Row],
        acked: Callable[[Bond, Row], None],
    ) -> None:
        self.peer = peer
        self.session = session
        self.lost = ""
        """Why it is over; "" while it is not."""
        self.instance = 0
        """Of the other cell, where that is what counts."""
        self.nonces: dict[bytes, None] = {}
        """What the other cell may prove the key of a private channel with, each once."""
        self.places: dict[int, Any] = {}
        """What hangs on it: the readers and writers of the client."""
        self.is_held = False
        self.carrier = Carrier(self, me, peer, channel, session)
        self.news = News(self, peer, channel, session, lambda place: row(self, place), lambda told: acked(self, told))
        self.owner = owner
        self._intake = Intake()
        self._channel = channel
        self._attended: Call | None = None

    def hold(self) -> list[Command]:
        """Begin to watch the other cell; again does nothing."""
        if self.is_held:
            return []
        self.is_held = True
        return [self._attend()]

    def receive(self, call: Call) -> tuple[list[Command], list[Part], list[Row]]:
        """Items, news or a question of the other end: what follows, what has come, what it tells."""
        parts: list[Part] = []
        rows: list[Row] = []
        try:
            match call.topic:
                case topic if topic == ATTEND:
                    former, self._attended = self._attended, call
                    done: list[Command] = [] if former is None else [Answer(former, Outcome(CellReturnCode.OK))]
                    return done, [], []
                case topic if topic == ITEMS:
                    number = call.headers.get("n")
                    if type(number) is not int:
                        raise DecodeError("a batch without a number")
                    parts = self._intake.receive(number, decode_batch(call.headers, call.bodies, self.peer))
                case topic if topic == NEWS:
                    rows = self.news.receive(call.headers)
                case topic:
                    raise DecodeError(f"no topic {topic!r}")
        except DecodeError as error:
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, str(error)))], [], []
        return [Answer(call, Outcome(CellReturnCode.OK))], parts, rows

    def answered(self, tag: tuple[str, int], outcome: Outcome, now: float) -> list[Command]:
        """A request has ended. Look at `lost` afterwards."""
        topic, number = tag
        if topic == ITEMS:
            self.lost = self.lost or self.carrier.answered(number, outcome, now)
        elif topic == NEWS:
            self.lost = self.lost or self.news.answered(outcome, now)
        elif outcome.code is CellReturnCode.TIMEOUT and not self.lost:
            return [self._attend()]
        elif outcome.code is CellReturnCode.OK:  # a copy has taken its place
            return []
        else:
            self.lost = self.lost or f"{outcome.code}: {outcome.error}"
        return []

    def pump(self, now: float) -> list[Command]:
        """Whatever may go now."""
        return [] if self.lost else [*self.news.pump(now), *self.carrier.pump(now)]

    def end(self, reason: str) -> list[Command]:
        """It is over: nothing is asked any more, and who asks is told so."""
        self.lost = self.lost or reason
        commands: list[Command] = [Unask(self)]
        if self._attended is not None:
            commands.append(Answer(self._attended, Outcome(CellReturnCode.INVALID_SESSION, reason)))
            self._attended = None
        return commands

    @property
    def deadline(self) -> float | None:
        """When `pump` has something to do by itself."""
        times = (self.carrier.deadline, self.news.deadline)
        return None if self.lost else min((at for at in times if at is not None), default=None)

    def _attend(self) -> Command:
        return Ask(self, (ATTEND, 0), (self.peer,), self._channel, ATTEND, {"s": self.session}, 0, (), TIMEOUT)

    def __repr__(self) -> str:
        return f"<Bond with {self.peer} {self.lost or 'held'}, {len(self.places)} places, {self.carrier!r}>"
