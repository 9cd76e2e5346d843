"""One reader of a channel at the broker: its buffer, and what of it may go to the reader's cell.

    mode     may go
    credit   as long as the bytes that were sent have not reached what the reader granted: a reader that wants all
    demand   one batch for each time that the reader asks: one that wants what is new finds it here, and not in a queue
             of its own

It is a `Source`. When the channel has ended it tells so behind the last item.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zmqfl.errors import DecodeError
from zmqfl.protocol.channels.bond import Bond
from zmqfl.protocol.channels.buffer import Buffer, BufferTerms
from zmqfl.protocol.channels.items import Item, Part
from zmqfl.protocol.channels.news import Row

if TYPE_CHECKING:
    from zmqfl.protocol.channels.channel import Channel

CREDIT = 0
DEMAND = 1


class Subscription:
    """See the module. `bond`, `place`: the cell that reads, and which of its readers; `told`: it knows of the end."""

    def __init__(
        self, bond: Bond, place: int, channel: Channel, terms: BufferTerms, told: Callable[[Subscription], None]
    ) -> None:
        self.bond = bond
        self.place = place
        self.channel = channel
        self.buffer: Buffer[Item] = Buffer(terms)
        self.end: str | None = None
        self._told = told
        self._is_telling = False
        self._mode = CREDIT
        self._granted = 0
        """Bytes from the beginning on, or times that the reader has asked."""
        self._used = 0

    def hear(self, row: Row) -> None:
        """[place, mode, granted] of the reader. Raises `DecodeError`."""
        if len(row) != 3 or not all(type(field) is int for field in row) or row[1] not in (CREDIT, DEMAND):
            raise DecodeError("a row of news of a reader is not [place, mode, granted]")
        if row[1] != self._mode:
            self._mode, self._used, self._granted = row[1], 0, row[2]
        self._granted = max(self._granted, row[2])

    @property
    def name(self) -> str:
        """The cell that reads."""
        return self.bond.peer

    @property
    def is_ready(self) -> bool:
        """Whether something may go."""
        if len(self.buffer):
            return self._used < self._granted
        return self.end is not None and not self._is_telling

    @property
    def next_size(self) -> int:
        """Bytes of the next item."""
        item = self.buffer.oldest
        return 0 if item is None else item.size

    @property
    def ready_size(self) -> int:
        """Bytes that may go."""
        left = self._granted - self._used
        return self.buffer.in_queue if self._mode == DEMAND and left > 0 else min(self.buffer.in_queue, max(0, left))

    def take(self, place: int, size: int, most: int) -> Part:
        """What goes now."""
        if self._mode == CREDIT:
            size = min(size, max(self._granted - self._used, 1))
        items = self.buffer.take(size, most) if self._used < self._granted else []
        if items:
            self._used = self._granted if self._mode == DEMAND else self._used + sum([item.size for item in items])
        end = self.end if not len(self.buffer) else None
        self._is_telling = end is not None
        return Part(place, items, (self.buffer.decimated, self.buffer.dropped), end)

    def settle(self, part: Part) -> None:
        """It has arrived."""
        self.buffer.settle(len(part.items), sum([item.size for item in part.items]))
        if part.end is not None:
            self._told(self)

    def __repr__(self) -> str:
        return f"<Subscription of {self.name} {self.buffer!r}>"
