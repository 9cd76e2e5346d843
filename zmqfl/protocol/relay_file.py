"""One file on its way through a cache: what is asked of its owner, once for all who take it here.

    chunk     event                                  next      effect
    -         somebody wants it                      wanted    GET, when the window and the cache have room
    wanted    room                                   asked     GET in the name of who wanted it first
    asked     somebody else wants it                 asked     waits for the same answer
    asked     came                                   -         the cache has it; the next GET, or HAVE
    asked     the parent's cache does not give it    wanted    the owner is asked for it, and for all that follow
    asked     the owner does not, may be lost        wanted    GET again after a pause, at most `MOST_LOST` times
    asked     the owner does not, otherwise          -         the file is given up: its receivers ask the owner

What is asked of the owner is asked of this cell's own parent, where that keeps chunks, too. To those above, this is a
pull like any other: it has a number (below 0, where the cell's own pulls are above), tells with each GET what it waits
for, and has its share of what may be on its way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.chunk_store import OVERHEAD
from zmqfl.protocol.commands import Ask, Call, Command, Outcome
from zmqfl.protocol.pull_grid import Grid
from zmqfl.protocol.pull_source import CHANNEL, FOREVER, GET, GRANT, HAVE
from zmqfl.protocol.pull_window import PullWindow
from zmqfl.protocol.relay_grants import FRESH, Grants

MOST_LOST = 3
"""Times that GETs to the owner may fail without a chunk in between."""
LOST = (CellReturnCode.COMM_ERROR, CellReturnCode.SERVICE_UNAVAILABLE, CellReturnCode.TIMEOUT)
"""Codes after which asking again may help."""

FileKey = tuple[str, str, str]
"""(owner, reference id, fingerprint): another content is another file."""


@dataclass(eq=False, slots=True)
class RelayFile:
    """See the module. `child`: who was the first to ask for it, at `began`; `pause`: seconds until a lost GET goes out
    again."""

    id: int
    key: FileKey
    child: str
    pause: float
    began: float
    grid: Grid | None = None
    """What the owner says of it; None until it has granted it to somebody."""
    grants: Grants = field(default_factory=Grants)
    asking: Counter[str] = field(default_factory=Counter)
    """GRANTs that are not answered, by the child for which they are."""
    progress: float = 0.0
    """When something of it came last."""
    fetched: int = 0
    """Bytes that came."""
    asked: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Chunk -> who was asked for it, and in whose name."""
    wanted: dict[int, None] = field(default_factory=dict)
    """Chunks that nobody was asked for yet, in their order."""
    waiting: dict[int, list[Call]] = field(default_factory=dict)
    """The requests that a chunk is for."""
    _window: PullWindow = field(default_factory=PullWindow)
    _is_direct: bool = False
    """The cache above has failed: only the owner is asked."""
    _lost: int = 0
    _again_at: float | None = None
    _confirming: int = 0
    _confirmed: float = 0.0

    # -- grants --------------------------------------------------------------------------------------------------------

    def ask_grant(self, names: list[str], child: str = "") -> Command:
        """Ask the owner whether these may have it, which also tells that they are active.

        `child`: by which the only one has asked for the first time.
        """
        self.asking[child] += 1
        owner, rid, _ = self.key
        headers = {"r": rid, "u": names}
        return Ask(self, (child, *names), (owner,), CHANNEL, GRANT, headers, 0, (), FRESH, repeatable=True)

    # -- chunks --------------------------------------------------------------------------------------------------------

    def want(self, index: int, call: Call) -> bool:
        """A receiver waits for a chunk; returns whether it is the first."""
        self.waiting.setdefault(index, []).append(call)
        if index in self.asked or index in self.wanted:
            return False
        self.wanted[index] = None
        return True

    def fetch(self, cache: str, reserve: Callable[[int], bool], most: int, now: float) -> list[Command]:
        """Ask for what is wanted, while there is room, for `most` bytes (one chunk at least).

        `cache`: the parent that keeps chunks of this owner, or "". `reserve(bytes)`: whether there is room.
        """
        target = self.key[0] if self._is_direct or not cache else cache
        asks: list[Command] = []
        assert self.grid is not None
        window = min(self._window.size, max(1, most // (self.grid.chunk + OVERHEAD)))
        while self.wanted and self._again_at is None and len(self.asked) < window:
            index = next(iter(self.wanted))
            if all(call.revoked for call in self.waiting[index]):
                self.take(index)
                continue
            if not reserve(self.grid.length(index)):
                break
            del self.wanted[index]
            if not self.asked:
                self._confirmed = now
            first = self.waiting[index][0]
            self.asked[index] = target, receiver_of(first)
            headers = self._headers(target, i=index, u=receiver_of(first), z=int(unpacks(first)))
            asks.append(Ask(self, index, (target,), CHANNEL, GET, headers, 0, (), FOREVER, repeatable=True))
        return asks

    def came(self, index: int, size: int, now: float) -> list[Command]:
        """A chunk is here. If no GET follows that tells so, say it."""
        del self.asked[index]
        self.fetched += size
        self.progress = now
        self._lost = 0
        self._window.arrived(now)
        if self.wanted and len(self.asked) < self._window.size:
            return []
        return self._confirm(now)

    def failed(self, index: int, outcome: Outcome, now: float) -> bool:
        """A chunk did not come. Returns whether the file may still come."""
        target, _ = self.asked.pop(index)
        if self.waiting.get(index):
            self.wanted = {index: None, **self.wanted}
        else:
            self.take(index)
        if target != self.key[0]:
            self._is_direct = True
            return True
        self._lost += self._again_at is None  # what is lost together counts once
        if outcome.code not in LOST or self._lost > MOST_LOST:
            return False
        self._again_at = now + self.pause
        return True

    def take(self, index: int) -> list[Call]:
        """Those who wait for a chunk: they wait no longer."""
        self.wanted.pop(index, None)
        return self.waiting.pop(index, [])

    def refuse(self, receivers: Container[str]) -> list[Call]:
        """These may not have it any more: what they wait for."""
        refused: list[Call] = []
        for index, calls in list(self.waiting.items()):
            refused += [call for call in calls if receiver_of(call) in receivers]
            left = [call for call in calls if receiver_of(call) not in receivers]
            if left or index in self.asked:
                self.waiting[index] = left
            else:
                self.take(index)
        return refused

    def moved(self, now: float) -> None:
        """A part of a chunk has arrived."""
        self.progress = now

    def told(self, outcome: Outcome, now: float) -> None:
        """A HAVE was answered."""
        self._confirming -= 1
        if outcome.code is CellReturnCode.OK and outcome.headers.get("m"):
            self.progress = now

    def is_due(self, now: float) -> tuple[bool, list[Command]]:
        """Whether to fetch again what was lost; and what to say to those who have been silent."""
        again = self._again_at is not None and self._again_at <= now
        if again:
            self._again_at = None
        confirm = self._confirm_at is not None and self._confirm_at <= now
        return again, self._confirm(now) if confirm else []

    @property
    def deadline(self) -> float | None:
        """When `is_due` or a grant has something to do."""
        times = (self._again_at, self._confirm_at, self.grants.deadline)
        return min((at for at in times if at is not None), default=None)

    @property
    def _confirm_at(self) -> float | None:
        if not self.asked or self._confirming:
            return None
        return max(self.progress, self._confirmed) + self.pause

    def _confirm(self, now: float) -> list[Command]:
        """Tell those above what we wait for, if anything."""
        self._confirmed = now
        commands: list[Command] = []
        for target, receiver in dict(self.asked.values()).items():
            self._confirming += 1
            headers = self._headers(target, u=receiver)
            commands.append(Ask(self, HAVE, (target,), CHANNEL, HAVE, headers, 0, (), FRESH, repeatable=True))
        return commands

    def _headers(self, target: str, **more: Any) -> dict[str, Any]:
        owner, rid, fingerprint = self.key
        waits_for = [index for index, (asked, _) in self.asked.items() if asked == target]
        to_cache = {} if target == owner else {"o": owner}
        return {"r": rid, "p": self.id, "f": fingerprint, "w": waits_for, **to_cache, **more}

    def __repr__(self) -> str:
        owner, _, _ = self.key
        return f"<RelayFile {self.id} of {owner}, {len(self.asked)} asked, {len(self.wanted)} wanted>"


def receiver_of(call: Call) -> str:
    """For whom a chunk is asked: whoever asks, or the cell below it that it names."""
    receiver = call.headers.get("u", call.origin)
    return receiver if isinstance(receiver, str) else ""


def unpacks(call: Call) -> bool:
    """Whether who asks can read a packed chunk."""
    return bool(call.headers.get("z"))
