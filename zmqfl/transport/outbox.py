"""What waits until a connection can take it, within the bytes that the whole cell may hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from zmqfl.wire.codec import age, is_routed
from zmqfl.wire.messages import MAX_GREETING, Buffer

OVERHEAD: Final = 512
"""Bytes that a queued message costs beside its content, so that a million empty ones are not free."""
SHARES: Final = 4
"""No queue holds more than one in four of the bytes: three peers that stand still leave something to all others."""
RESERVE: Final = 64 * 1024
"""Bytes per connection for what keeps the link itself alive, whatever else is queued in the cell."""
_KIND_AT: Final = 3


class ByteBudget:
    """Bytes that many queues share. Only for one thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.peak = 0
        """The most that was ever used."""

    def take(self, size: int) -> bool:
        """Take `size` bytes; False, and nothing is taken, when there are not as many."""
        if self.used + size > self.limit:
            return False
        self.used += size
        self.peak = max(self.peak, self.used)
        return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self.used -= size

    def __repr__(self) -> str:
        return f"<ByteBudget {self.used} of {self.limit} bytes, peak {self.peak}>"


@dataclass(slots=True)
class _Entry:
    frames: list[Buffer]
    cost: int
    is_reserved: bool
    queued: float


class Outbox:
    """The queue of one connection, in order. Times are seconds of one monotonic clock."""

    def __init__(self, budget: ByteBudget) -> None:
        self.expired = 0
        """Messages that were worthless before they could go."""
        self._budget = budget
        self._entries: deque[_Entry] = deque()
        self._reserved = 0
        self._taken = 0
        """Bytes of the budget."""

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, frames: list[Buffer], size: int, now: float) -> bool:
        """Queue an encoded message of `size` bytes. False: the budget of the cell is used up, or the share of this
        queue; nothing was queued. One message may be larger than the share.

        Small messages between neighbours (HELLO, BEAT, BYE, ...) have a reserve of their own: a cell that is full
        must not look dead.
        """
        cost = size + OVERHEAD
        reserved = size <= MAX_GREETING and not is_routed(frames[0][_KIND_AT]) and self._reserved + cost <= RESERVE
        if reserved:
            self._reserved += cost
        elif (self._taken and self._taken + cost > self._budget.limit // SHARES) or not self._budget.take(cost):
            return False
        else:
            self._taken += cost
        self._entries.append(_Entry(frames, cost, reserved, now))
        return True

    def flush(self, send: Callable[[list[Buffer]], bool], now: float) -> int:
        """Hand over message after message until `send` returns False (it would block). Returns how many went.

        Each one's remaining time is less by what it waited here; what has none left is dropped. An error of `send`
        passes through, and the message stays.
        """
        sent = 0
        while self._entries:
            entry = self._entries[0]
            hop = age(bytes(entry.frames[0]), int((now - entry.queued) * 1000))
            if hop is None:
                self.expired += 1
            elif send([hop, *entry.frames[1:]]):
                sent += 1
            else:
                break
            self._release(self._entries.popleft())
        return sent

    def clear(self) -> None:
        """Forget everything that waits: the connection is gone."""
        while self._entries:
            self._release(self._entries.popleft())

    def _release(self, entry: _Entry) -> None:
        if entry.is_reserved:
            self._reserved -= entry.cost
        else:
            self._budget.give(entry.cost)
            self._taken -= entry.cost

    def __repr__(self) -> str:
        return f"<Outbox {len(self)} waiting, {self.expired} expired>"
