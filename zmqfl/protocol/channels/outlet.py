"""What a writer has put and the broker has not yet: it goes while somebody reads, and as far as the broker has room.

    state     event                                  next      effect
    idle      put                                    idle      skipped: nobody reads, so nothing goes
    idle      the broker tells of a reader           active
    active    put                                    active    queued; it goes as far as the credit lasts
    active    the broker tells of more room          active    more goes
    active    the broker tells that nobody reads     idle      what is queued is skipped
    any       the broker tells that it is over       ended     what is queued is skipped

Credit is in bytes, and counts from the beginning: what was sent may reach what is granted, and the last item may pass
it. Items get their numbers when they go, so a gap in them is a loss. A ticket comes back when the broker has put its
item into the buffers of all readers, and tells which of them refused it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from zmqfl.errors import DecodeError
from zmqfl.protocol.channels.buffer import ITEM_COST
from zmqfl.protocol.channels.items import Item, Part, item_of
from zmqfl.protocol.channels.news import Row
from zmqfl.wire.messages import Buffer
from zmqfl.wire.record import record


@record
class Put:
    """What a writer puts: an item, and a ticket that is given back when it is in the readers' buffers (or None)."""

    codec: int
    frames: tuple[Buffer, ...]
    ticket: Any = None

    @property
    def size(self) -> int:
        """Bytes that it counts."""
        return sum(map(len, self.frames)) + ITEM_COST


@record
class Placed:
    """What became of a put with a ticket: its number, 0 where it was skipped, and the readers that refused it."""

    ticket: Any
    number: int
    refused: tuple[str, ...] = ()


@dataclass(slots=True)
class WriterState:
    """A writer as it is now. Counts are of items since it began."""

    active: bool = False
    """Somebody reads."""
    strict: bool = False
    """A reader wants its writers to hear of what it refuses."""
    sent: int = 0
    skipped: int = 0
    taken: int = 0
    """Items that are in the buffers of the readers."""
    refused: int = 0
    end: str | None = None


class Outlet:
    """See the module; it is a `Source`. `me`: the writer, CELL/PLACE."""

    def __init__(self, me: str) -> None:
        self.state = WriterState()
        self.placed: list[Placed] = []
        """Tickets to be given back."""
        self.queued = 0
        """Bytes of what has not gone."""
        self._me = me
        self._queue: deque[Put] = deque()
        self._granted = self._used = 0
        self._arrived = 0
        self._tickets: deque[tuple[int, Any]] = deque()
        """Of items that went, by number."""
        self._refused: dict[int, list[str]] = {}
        self._told = WriterState()

    def put(self, puts: Sequence[Put]) -> None:
        """Take what was put, in order."""
        if not self.state.active:
            self._skip(puts)
            return
        self._queue.extend(puts)
        self.queued += sum([put.size for put in puts])

    def hear(self, row: Row) -> None:
        """[place, granted bytes, taken items, flags, refusals, end] of the broker. Raises `DecodeError`."""
        if len(row) == 1:
            self.end("the broker does not know this writer")
            return
        try:
            _, granted, taken, flags, refusals, end = row
            refused = [(int(number), str(reader)) for number, reader in refusals]
            taken, flags, granted = int(taken), int(flags), int(granted)
        except (TypeError, ValueError) as error:
            raise DecodeError(f"a row of news for a writer: {error}") from error
        for number, reader in refused:
            self._refused.setdefault(number, []).append(reader)
        self.state.refused += len(refused)
        self._granted = max(self._granted, granted)
        self.state.taken = max(self.state.taken, taken)
        self._give_back()
        self.state.active, self.state.strict = bool(flags & 1), bool(flags & 2)
        if end is not None:
            self.end(str(end))
        elif not self.state.active:
            self._skip_queued()

    def end(self, reason: str) -> None:
        """Nothing goes any more."""
        if self.state.end is None:
            self.state.end = reason
        self.state.active = False
        self._skip_queued()
        while self._tickets:
            number, ticket = self._tickets.popleft()
            self.placed.append(Placed(ticket, 0, tuple(self._refused.pop(number, ()))))

    def news(self) -> tuple[WriterState, tuple[Placed, ...]] | None:
        """The state, and the tickets that come back, if anything has changed since this was asked last."""
        if self.state == self._told and not self.placed:
            return None
        self._told = replace(self.state)
        placed, self.placed = tuple(self.placed), []
        return self._told, placed

    # -- as a source ---------------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether something may go."""
        return bool(self._queue) and self._used < self._granted

    @property
    def next_size(self) -> int:
        """Bytes of the next item."""
        return self._queue[0].size if self._queue else 0

    @property
    def ready_size(self) -> int:
        """Bytes that may go."""
        return min(self.queued, max(0, self._granted - self._used))

    def take(self, place: int, size: int, most: int) -> Part:
        """What goes now."""
        items: list[Item] = []
        waits = False
        while self.is_ready and len(items) < most and (not items or self.next_size <= size):
            put = self._queue.popleft()
            self.state.sent += 1
            item = item_of(self._me, self.state.sent, put.codec, put.frames)
            items.append(item)
            size -= item.size
            self._used += item.size
            self.queued -= item.size
            if put.ticket is not None:
                self._tickets.append((item.number, put.ticket))
                waits = True
        return Part(place, items, waits=waits)

    def settle(self, part: Part) -> None:
        """It has arrived; when it is taken, the broker tells."""
        self._arrived += len(part.items)

    @property
    def is_empty(self) -> bool:
        """Whether all that was put has arrived at the broker."""
        return not self._queue and self._arrived == self.state.sent

    # -- within --------------------------------------------------------------------------------------------------------

    def _give_back(self) -> None:
        while self._tickets and self._tickets[0][0] <= self.state.taken:
            number, ticket = self._tickets.popleft()
            self.placed.append(Placed(ticket, number, tuple(self._refused.pop(number, ()))))
        if not self._tickets:
            self._refused.clear()

    def _skip_queued(self) -> None:
        puts, self.queued = list(self._queue), 0
        self._queue.clear()
        self._skip(puts)

    def _skip(self, puts: Sequence[Put]) -> None:
        self.state.skipped += len(puts)
        self.placed += [Placed(put.ticket, 0) for put in puts if put.ticket is not None]

    def __repr__(self) -> str:
        state = self.state
        how = "ended" if state.end is not None else "active" if state.active else "idle"
        return f"<Outlet {how}: {len(self._queue)} queued, {state.sent} sent, {state.skipped} skipped>"
