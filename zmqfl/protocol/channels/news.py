"""What one cell tells another of the present state of its readers and writers: the latest of each, reliably.

    state    event                     next      effect
    told     something has changed     telling   one message with all that has changed
    telling  something has changed     telling   kept for the next
    telling  acknowledged              told      its owner is told; telling again where more has changed
    telling  not taken now             telling   the same again, after a pause
    telling  it cannot be taken        lost      the owner hears why

One message is under way at a time, with a number: the other end takes none that is older than what it has heard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.protocol.channels.carrier import PAUSE, TIMEOUT
from zmqfl.protocol.commands import Ask, Command, Outcome

NEWS = "news"
Row = list[Any]
"""[place, ...]: what is so now; [place] alone: there is no such reader or writer."""


class News:
    """See the module. `row` gives the present state of a place; `acked` is told what of it has arrived."""

    def __init__(
        self,
        owner: Any,
        peer: str,
        channel: str,
        session: int,
        row: Callable[[int], Row],
        acked: Callable[[Row], None],
    ) -> None:
        self._owner = owner
        self._peer = peer
        self._channel = channel
        self._session = session
        self._row = row
        self._acked = acked
        self._changed: dict[int, None] = {}
        self._telling: list[Row] = []
        self._number = self._heard = 0
        self._again: float | None = None

    def tell(self, place: int) -> None:
        """The state of a place has changed."""
        self._changed[place] = None

    def pump(self, now: float) -> list[Command]:
        """Whatever may go now."""
        if self._telling:
            if self._again is None or now < self._again:
                return []
        elif self._changed:
            self._telling = [self._row(place) for place in self._changed]
            self._changed = {}
            self._number += 1
        else:
            return []
        self._again = None
        headers = {"s": self._session, "v": self._number, "x": self._telling}
        tag = (NEWS, self._number)
        return [Ask(self._owner, tag, (self._peer,), self._channel, NEWS, headers, 0, (), TIMEOUT, repeatable=True)]

    def answered(self, outcome: Outcome, now: float) -> str:
        """A message has ended; returns "", or why nothing more can go."""
        match outcome.code:
            case CellReturnCode.OK:
                told, self._telling = self._telling, []
                for row in told:
                    self._acked(row)
                return ""
            case CellReturnCode.SERVICE_UNAVAILABLE | CellReturnCode.TIMEOUT:
                self._again = now + PAUSE
                return ""
        return f"{outcome.code}: {outcome.error}"

    def receive(self, headers: dict[str, Any]) -> list[Row]:
        """What the other end tells; nothing where it is old. Raises `DecodeError`."""
        number, rows = headers.get("v"), headers.get("x")
        if type(number) is not int or not isinstance(rows, list):
            raise DecodeError("news without a number or rows")
        for row in rows:
            if not isinstance(row, list) or not row or type(row[0]) is not int:
                raise DecodeError("a row of news without a place")
        if number <= self._heard:
            return []
        self._heard = number
        return rows

    @property
    def deadline(self) -> float | None:
        """When it is to be told again."""
        return self._again

    @property
    def is_idle(self) -> bool:
        """Whether the other end knows all."""
        return not self._telling and not self._changed

    def __repr__(self) -> str:
        return f"<News to {self._peer}: {len(self._changed)} to tell, {len(self._telling)} under way>"
