"""The receiver's half of a pull: a window of chunks asked for, checked, written, and one end.

    state       event                                next        effect
    opening     start                                opening     OPEN to the owner
    opening     answered                             preparing   Prepare: open the sink, look what is there already
    preparing   prepared                             fetching    GET for the first chunks that are missing
    fetching    a chunk came                         fetching    Write; the next GET, or HAVE when there is none
    fetching    written                              fetching    the next GET
    fetching    written, bad digest                  fetching    GET for it again, at most `MOST_BAD` times in a row
    fetching    nothing comes for `pause` seconds    fetching    HAVE: the owner may count on what was lost
    fetching    a GET failed, may be lost            fetching    GET again after a pause, at most `MOST_LOST` times
    fetching    the cache does not give a chunk      fetching    GET to the owner, for it and all that follow
    fetching    the cache is silent for long         fetching    the same for all that it was asked for
    fetching    all are written                      finishing   Commit
    finishing   committed                            closing     DONE success
    before that refused, no progress, error, cancel  failing     DONE failed; Abandon, when the sink is not at work
    closing     DONE answered, or not                ended       the handle ends
    failing     abandoned                            ended       the handle ends

The cache is the parent, where it keeps chunks of what comes from the owner: it gets GET and HAVE, the owner only OPEN
and DONE. Its word ends nothing: whatever it refuses, or gives damaged, the owner is asked for. The window follows what
comes (`pull_window`). Source: seed 000 (pull), design, decisions 20, 21 and 23.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Abandon, Ask, Command, Commit, Outcome, Prepare, PullEnded, Unask, Write
from zmqfl.protocol.pull_asks import PullAsks
from zmqfl.protocol.pull_grid import Grid, read_grid
from zmqfl.protocol.pull_source import CHANNEL, OPEN
from zmqfl.protocol.pull_window import FIRST_WINDOW as FIRST_WINDOW
from zmqfl.protocol.pull_window import MOST_WINDOW as MOST_WINDOW
from zmqfl.protocol.pull_window import PullWindow

MOST_BAD = 3
MOST_LOST, MOST_GONE = 5, 1
"""Times that GETs may fail without a chunk in between; the second where the owner cannot be reached."""
PATIENCE = 0.5
"""Part of the time-out after which a cache from which nothing comes is left."""
LOST = (CellReturnCode.COMM_ERROR, CellReturnCode.SERVICE_UNAVAILABLE, CellReturnCode.TIMEOUT)
"""Codes after which asking again may help."""


class PullState(StrEnum):
    """The states of the table."""

    OPENING = "opening"
    PREPARING = "preparing"
    FETCHING = "fetching"
    FINISHING = "finishing"
    CLOSING = "closing"
    FAILING = "failing"
    ENDED = "ended"


class PullReceiver:
    """See the module. `timeout`: seconds without progress; `pause`: seconds until a lost GET goes out again."""

    def __init__(self, id: int, owner: str, rid: str, timeout: float, pause: float, now: float) -> None:
        self.id = id
        self.owner = owner
        self.rid = rid
        self.state = PullState.OPENING
        self.grid = Grid(0, 1, "", "")
        """What the owner says of it; of no bytes until it is known."""
        self.done = 0
        """Bytes that are verified and written, those of an earlier attempt included."""
        self.fetched = 0
        """Bytes that came over the network."""
        self._timeout = timeout
        self._pause = pause
        self._progress = now
        self._missing: deque[int] = deque()
        self._asks = PullAsks(self, id, owner, rid)
        self._asked = self._asks.asked
        self._writing: set[int] = set()
        self._bad: dict[int, int] = {}
        self._lost = 0
        self._again_at: float | None = None
        self._window = PullWindow()
        self._cache_for: Callable[[str], str] = lambda owner: ""
        self._from_cache: set[int] = set()
        """Chunks that came from it and are not written yet."""
        self._confirming = 0
        self._confirmed = now
        self._preparing = False
        self._abandoned = False
        self._failure: Outcome | None = None
        self._value: Any = None

    def use_cache(self, cache_for: Callable[[str], str]) -> None:
        """Before the start: `cache_for(owner)` names the parent that keeps chunks, or "", when the first is needed."""
        self._cache_for = cache_for

    @property
    def size(self) -> int:
        """Bytes in all; 0 until that is known."""
        return self.grid.size

    @property
    def chunk(self) -> int:
        """Bytes of all chunks but the last."""
        return self.grid.chunk

    def start(self, now: float) -> list[Command]:
        """Ask the owner for its size and grid."""
        return [Ask(self, "open", (self.owner,), CHANNEL, OPEN, {"r": self.rid}, 0, (), self._timeout, repeatable=True)]

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        """A request of this pull has ended."""
        if tag == "left":
            return []
        if tag == "done":
            return self._end() if self.state is PullState.CLOSING else []
        if tag == "open":
            return self._open_answered(outcome, now)
        if tag == "have":
            return self._have_answered(outcome, now)
        if self.state is not PullState.FETCHING or tag not in self._asked:
            return []
        is_cached = self._asks.forget(tag)
        if outcome.code is not CellReturnCode.OK:
            return self._leave_cache(tag, now) if is_cached else self._get_failed(tag, outcome, now)
        self._window.arrived(now)
        self._lost = 0
        self._progress = now
        self._writing.add(tag)
        if is_cached:
            self._from_cache.add(tag)
        digest = outcome.headers.get("d")
        size = sum(map(len, outcome.bodies))
        self.fetched += size
        if not self.grid.may_hold(tag, size) or not isinstance(digest, bytes):
            return self.written(tag, "bad", "", now)
        asks = self._fetch(now) or self._arrived(now)
        return [Write(self.id, tag, tag * self.grid.chunk, outcome.bodies, digest), *asks]

    def moved(self, now: float) -> None:
        """A part of a chunk has arrived."""
        self._progress = now

    def prepared(self, have: set[int], error: str, now: float) -> list[Command]:
        """The sink is open; the chunks in `have` are verified from an earlier attempt."""
        self._preparing = False
        if self.state is not PullState.PREPARING:
            return self._abandon()
        if error:
            return self._fail(Outcome(CellReturnCode.PROCESS_EXCEPTION, error), now)
        count = self.grid.count
        self.state = PullState.FETCHING
        self._missing.extend(index for index in range(count) if index not in have)
        self.done = sum(self.grid.length(index) for index in have if index < count)
        self._asks.cache = self._cache_for(self.owner)
        self._progress = now
        return self._fetch(now)

    def written(self, index: int, verdict: str, error: str, now: float) -> list[Command]:
        """A chunk was written ("ok"), or had a bad digest ("bad"), or could not be written ("failed", and why)."""
        self._writing.discard(index)
        is_cached = index in self._from_cache
        self._from_cache.discard(index)
        if self.state is not PullState.FETCHING:
            return self._abandon()
        if verdict == "failed":
            return self._fail(Outcome(CellReturnCode.PROCESS_EXCEPTION, error), now)
        if verdict == "bad":
            if text := self._blame(index, is_cached):
                return self._fail(Outcome(CellReturnCode.COMM_ERROR, text), now)
            self._missing.appendleft(index)
        else:
            self.done += self.grid.length(index)
            self._progress = now
        return self._fetch(now)

    def committed(self, value: Any, error: str, now: float) -> list[Command]:
        """The sink has its final name; or why not."""
        if self.state is not PullState.FINISHING:
            return []
        if error:
            return self._fail(Outcome(CellReturnCode.PROCESS_EXCEPTION, error), now)
        self._value = value
        self.state = PullState.CLOSING
        return self._asks.done("success", self._timeout)

    def abandoned(self) -> list[Command]:
        """The sink is closed after a failure."""
        return self._end() if self.state is PullState.FAILING else []

    def cancel(self, code: CellReturnCode, reason: str, now: float) -> list[Command]:
        """Give it up, unless it is about to get its final name."""
        return [] if self.state is PullState.FINISHING else self._fail(Outcome(code, reason), now)

    def owner_lost(self, reason: str, now: float) -> list[Command]:
        """The owner is gone."""
        return self.cancel(CellReturnCode.TARGET_UNREACHABLE, reason, now)

    def handle_timeout(self, now: float) -> list[Command]:
        """Ask again, or fail for want of progress."""
        if self._again_at is not None and self._again_at <= now:
            self._again_at = None
            return self._fetch(now)
        if self._confirm_at is not None and self._confirm_at <= now:
            return self._confirm(now)
        if self._leave_at is not None and self._leave_at <= now:
            return self._leave_silent_cache(now)
        waits = self.state in (PullState.OPENING, PullState.FETCHING) and not self._writing
        if waits and now >= self._progress + self._timeout:
            text = f"nothing came from {self.owner} for {self._timeout:g} s"
            return self._fail(Outcome(CellReturnCode.TIMEOUT, text), now)
        return []

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        silent = None
        if self.state in (PullState.OPENING, PullState.FETCHING) and not self._writing:
            silent = self._progress + self._timeout
        return min(
            (at for at in (self._again_at, self._confirm_at, self._leave_at, silent) if at is not None), default=None
        )

    @property
    def _confirm_at(self) -> float | None:
        """When to say again what we wait for, though nothing has come; before the time-out."""
        if self.state is not PullState.FETCHING or not self._asked or self._confirming:
            return None
        pause = min(self._pause, self._timeout * PATIENCE / 2) if self._asks.waits_for_cache else self._pause
        due = max(self._progress, self._confirmed) + pause
        return due if due < self._progress + self._timeout else None

    @property
    def _leave_at(self) -> float | None:
        """When a cache from which nothing comes is left."""
        if self.state is not PullState.FETCHING or not self._asks.waits_for_cache or self._writing:
            return None
        return self._progress + self._timeout * PATIENCE

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is needed any more."""
        return self.state is PullState.ENDED

    # -- within --------------------------------------------------------------------------------------------------------

    def _open_answered(self, outcome: Outcome, now: float) -> list[Command]:
        if self.state is not PullState.OPENING:
            return []
        if outcome.code is not CellReturnCode.OK:
            return self._fail(outcome, now)
        if (grid := read_grid(outcome.headers)) is None:
            return self._fail(Outcome(CellReturnCode.COMM_ERROR, f"{self.owner} gave a size that cannot be"), now)
        self.grid, self._asks.fingerprint = grid, grid.fingerprint
        self.state = PullState.PREPARING
        self._preparing = True
        return [Prepare(self.id, grid.size, grid.chunk, grid.fingerprint, grid.name)]

    def _have_answered(self, outcome: Outcome, now: float) -> list[Command]:
        """A cache says whether something of what it is asked for has come to it: to wait for that is no silence."""
        self._confirming -= 1
        if self._asks.waits_for_cache and outcome.code is CellReturnCode.OK and outcome.headers.get("m"):
            self._progress = now
        return []

    def _fetch(self, now: float) -> list[Command]:
        if not self._missing and not self._asked and not self._writing:
            self.state = PullState.FINISHING
            return [Commit(self.id)]
        asks: list[Command] = []
        while self._missing and self._again_at is None and len(self._asked) + len(self._writing) < self._window.size:
            asks.append(self._asks.get(self._missing.popleft()))
        return asks

    def _arrived(self, now: float) -> list[Command]:
        """If no GET goes out that tells the owner that a chunk has come, say so."""
        if self._missing and len(self._asked) + len(self._writing) <= self._window.size:
            return []  # a GET follows as soon as this chunk is written; not so while the window shrinks
        return self._confirm(now)

    def _confirm(self, now: float) -> list[Command]:
        """Tell whoever we wait for what that is."""
        asks = self._asks.have(self._timeout)
        self._confirming += len(asks)
        if asks:
            self._confirmed = now
        return asks

    def _get_failed(self, index: int, outcome: Outcome, now: float) -> list[Command]:
        self._lost += self._again_at is None  # what is lost together counts once
        most = MOST_GONE if outcome.code is CellReturnCode.COMM_ERROR else MOST_LOST
        if outcome.code not in LOST or self._lost > most:
            return self._fail(outcome, now)
        self._missing.appendleft(index)
        self._again_at = now + self._pause
        return []

    def _leave_cache(self, index: int, now: float) -> list[Command]:
        """It does not give this chunk. What it was asked for besides may come, and may not."""
        self._missing.appendleft(index)
        self._asks.cache = ""
        return self._fetch(now)

    def _leave_silent_cache(self, now: float) -> list[Command]:
        """Nothing comes from it, or from anybody: all is asked of the owner, while there is time."""
        self._missing.extendleft(reversed(self._asks.take_back()))
        self._asks.cache = ""
        self._confirming = 0
        return [Unask(self), *self._fetch(now)]

    def _blame(self, index: int, is_cached: bool) -> str:
        """A chunk was damaged. Returns why the pull has failed, or ""."""
        if is_cached:
            self._asks.damage(index)
            return ""
        self._bad[index] = self._bad.get(index, 0) + 1
        return (
            f"chunk {index} from {self.owner} was damaged {MOST_BAD + 1} times" if self._bad[index] > MOST_BAD else ""
        )

    def _fail(self, why: Outcome, now: float) -> list[Command]:
        if self.state in (PullState.FAILING, PullState.ENDED, PullState.CLOSING):
            return []
        known = self.state not in (PullState.OPENING,)
        self._failure = why
        self._again_at = None
        self.state = PullState.FAILING
        commands: list[Command] = [Unask(self)]
        if known:
            commands += self._asks.done("failed", self._timeout)
        return commands + self._abandon()

    def _abandon(self) -> list[Command]:
        """Close the sink after a failure, unless a worker is busy with it."""
        if self.state is not PullState.FAILING or self._preparing or self._writing or self._abandoned:
            return []
        self._abandoned = True
        return [Abandon(self.id)]

    def _end(self) -> list[Command]:
        self.state = PullState.ENDED
        failure = self._failure or Outcome(CellReturnCode.OK)
        value, self._value = self._value, None  # it may be big, and this machine and its asks refer to each other
        return [PullEnded(self.id, failure.code, failure.error, value, str(failure.headers.get("why", "")))]

    def __repr__(self) -> str:
        return f"<PullReceiver {self.id} of {self.owner} {self.state}, {self.done} of {self.size} bytes>"
