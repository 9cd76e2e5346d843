"""Items of many sources to one other cell: batches with numbers, the sources by turns.

    state    event                               next      effect
    idle     a source has something              sending   a batch
    sending  room for another batch              sending   a full one; one that is not full only while few are under way
    sending  a batch is acknowledged             sending   its sources are told; the next
    sending  it was not taken now                sending   the same again, after a pause
    sending  it cannot be taken                  lost      nothing more goes; the owner hears why
    sending  nothing left                        idle

Turns are deficit round robin in bytes: a source that floods, or has long items, has no more than its share. What a
source may send is its own affair (`Source.is_ready`): it holds the credit that the other end gives. The other end takes
each number once and in order (`intake`), so a batch may be sent again.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.channels.items import MOST_ITEMS, Part, encode_batch
from zmqfl.protocol.commands import Ask, Command, Outcome
from zmqfl.wire.messages import Buffer

BATCH = 240 * 1024
"""Bytes of a batch; an item that is longer goes alone."""
QUANTUM = 32 * 1024
"""Bytes that a source gains per turn."""
WINDOW = 1024 * 1024
"""Bytes of batches under way to one cell, or one batch that is longer: more of them would use up the send budget."""
LONG = 1024 * 1024
"""Bytes from which an item travels as a flow: it is not queued, so it does not count against the send budget."""
LONG_WINDOW = 4 * 1024 * 1024
"""Bytes under way to one cell while such an item is next."""
FEW = 2
"""While so many are under way, a batch waits until it is full: what is put meanwhile goes with it."""
PAUSE = 0.1
TIMEOUT = 3600.0
ITEMS = "items"


class Source(Protocol):
    """Where items come from."""

    @property
    def is_ready(self) -> bool:
        """Whether it may send something now, be it only that it has ended."""

    @property
    def next_size(self) -> int:
        """Bytes of the item that comes next; 0 when there is none."""

    @property
    def ready_size(self) -> int:
        """Bytes of what may go now."""

    def take(self, place: int, size: int, most: int) -> Part:
        """What goes now: items of at most `size` bytes, but one in any case where there is one that may go."""

    def settle(self, part: Part) -> None:
        """That has arrived."""


class Carrier:
    """See the module. `owner` is whose the requests are, `channel` where they go at `peer`."""

    def __init__(self, owner: Any, me: str, peer: str, channel: str, session: int) -> None:
        self._owner = owner
        self._me = me
        self._peer = peer
        self._channel = channel
        self._session = session
        self._sources: dict[int, Source] = {}
        self._turns: deque[int] = deque()
        self._deficits: dict[int, int] = {}
        """Of those whose turn it will be."""
        self._number = 0
        self._under_way: dict[int, tuple[list[Part], dict[str, Any], tuple[Buffer, ...], int]] = {}
        self._size = 0
        self._again: dict[int, float] = {}
        """Batches that were not taken, and when they go again."""

    def add(self, place: int, source: Source) -> None:
        """Have a source take part from now on."""
        self._sources[place] = source

    def remove(self, place: int) -> None:
        """Forget a source; what of it is under way arrives."""
        self._sources.pop(place, None)

    def wake(self, place: int) -> bool:
        """A source may have something to send. Returns whether `pump` has something to do."""
        if place not in self._deficits and place in self._sources and self._sources[place].is_ready:
            self._turns.append(place)
            self._deficits[place] = 0
        return bool(self._turns)

    def pump(self, now: float) -> list[Command]:
        """Whatever may go now."""
        commands: list[Command] = []
        for number, at in list(self._again.items()):
            if at <= now:
                del self._again[number]
                commands.append(self._ask(number))
        while self._turns and self._has_room():
            if len(self._under_way) >= FEW and not self._fills_batch():
                break
            if not (parts := self._next_parts()):
                break
            self._number += 1
            headers, bodies = encode_batch(parts, self._me)
            size = sum(map(len, bodies))
            self._under_way[self._number] = parts, headers, bodies, size
            self._size += size
            commands.append(self._ask(self._number))
        return commands

    def answered(self, number: int, outcome: Outcome, now: float) -> str:
        """A batch has ended; returns "", or why nothing more can go."""
        if number not in self._under_way:
            return ""
        match outcome.code:
            case CellReturnCode.OK:
                parts, _, _, size = self._under_way.pop(number)
                self._size -= size
                for part in parts:
                    if (source := self._sources.get(part.place)) is not None:
                        source.settle(part)
                        self.wake(part.place)
                return ""
            case CellReturnCode.SERVICE_UNAVAILABLE | CellReturnCode.TIMEOUT:
                self._again[number] = now + PAUSE
                return ""
        return f"{outcome.code}: {outcome.error}"

    @property
    def deadline(self) -> float | None:
        """When a batch is to go again."""
        return min(self._again.values(), default=None)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, and nothing is under way."""
        return not self._turns and not self._under_way

    @property
    def under_way(self) -> int:
        """Bytes under way."""
        return self._size

    # -- within --------------------------------------------------------------------------------------------------------

    def _ask(self, number: int) -> Command:
        _, headers, bodies, _ = self._under_way[number]
        headers = {**headers, "n": number, "s": self._session}
        tag = (ITEMS, number)
        return Ask(
            self._owner, tag, (self._peer,), self._channel, ITEMS, headers, 0, bodies, TIMEOUT, repeatable=True
        )  # fmt: skip

    def _has_room(self) -> bool:
        if not self._under_way or self._size < WINDOW - BATCH:
            return True
        source = self._sources.get(self._turns[0])
        return source is not None and source.next_size > LONG and self._size < LONG_WINDOW

    def _fills_batch(self) -> bool:
        sources = (self._sources.get(place) for place in self._turns)
        return sum(source.ready_size for source in sources if source is not None) >= BATCH

    def _next_parts(self) -> list[Part]:
        """The next batch: a turn for each source until it is full, or nothing is left."""
        parts: list[Part] = []
        size = count = 0
        while self._turns and size < BATCH and count < MOST_ITEMS:
            place = self._turns[0]
            source = self._sources.get(place)
            if source is None or not source.is_ready:
                del self._deficits[self._turns.popleft()]
                continue
            wanted = source.next_size
            if size and size + wanted > BATCH:  # it is the first of the next batch
                break
            if len(self._turns) == 1:  # it takes nobody's turn
                self._deficits[place] = max(BATCH, wanted)
            if self._deficits[place] < wanted:
                self._deficits[place] += QUANTUM
                self._turns.rotate(-1)
                continue
            part = source.take(place, min(self._deficits[place], max(BATCH - size, wanted)), MOST_ITEMS - count)
            taken = sum([item.size for item in part.items])
            self._deficits[place] -= taken
            size, count = size + taken, count + len(part.items)
            parts.append(part)
        return parts

    def __repr__(self) -> str:
        return f"<Carrier to {self._peer}: {len(self._under_way)} batches, {self._size} bytes under way>"
