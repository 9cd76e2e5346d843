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
    fetching    all are written                      finishing   Commit
    finishing   committed                            closing     DONE success
    before that refused, no progress, error, cancel  failing     DONE failed; Abandon, when the sink is not at work
    closing     DONE answered, or not                ended       the handle ends
    failing     abandoned                            ended       the handle ends

The window follows what comes: as many chunks as arrive in half a second, so a fast path is kept busy and a slow one has
no queue that a time-out could run out in. Source: seed 000 (pull), design, decisions 20 and 21.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from math import ceil
from typing import Any

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Abandon, Ask, Command, Commit, Outcome, Prepare, PullEnded, Unask, Write
from zmqfl.protocol.pull_source import CHANNEL, DONE, GET, HAVE, OPEN

FIRST_WINDOW, MOST_WINDOW = 8, 16
"""Chunks asked for at once."""
WINDOW_TIME = 0.5
"""Seconds of arrivals that the window covers."""
MOST_BAD = 3
MOST_LOST, MOST_GONE = 5, 1
"""Times that GETs may fail without a chunk in between; the second where the owner cannot be reached."""
MAX_CHUNK = 64 * 1024 * 1024
"""Bytes of a chunk that an owner may propose."""
MOST_CHUNKS = 1 << 22
"""Chunks of a file: each costs the receiver some 40 bytes, and a liar could ask for all of its memory."""
FOREVER = 365 * 86400.0
"""A GET has no time-out of its own: a chunk may wait its turn as long as others of this pull come."""
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
        self.size = 0
        self.chunk = 1
        self.done = 0
        """Bytes that are verified and written, those of an earlier attempt included."""
        self.fetched = 0
        """Bytes that came over the network."""
        self._timeout = timeout
        self._pause = pause
        self._progress = now
        self._missing: deque[int] = deque()
        self._asked: dict[int, float] = {}
        self._writing: set[int] = set()
        self._bad: dict[int, int] = {}
        self._lost = 0
        self._again_at: float | None = None
        self._window = FIRST_WINDOW
        self._arrivals: deque[float] = deque(maxlen=16)
        self._confirming = 0
        self._confirmed = now
        self._preparing = False
        self._abandoned = False
        self._failure: Outcome | None = None
        self._value: Any = None

    def start(self, now: float) -> list[Command]:
        """Ask the owner for its size and grid."""
        return [Ask(self, "open", (self.owner,), CHANNEL, OPEN, {"r": self.rid}, 0, (), self._timeout, repeatable=True)]

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        """A request of this pull has ended."""
        if tag == "done":
            return self._end() if self.state is PullState.CLOSING else []
        if tag == "open":
            return self._open_answered(outcome, now)
        if tag == "have":
            self._confirming -= 1
            return []
        if self.state is not PullState.FETCHING or tag not in self._asked:
            return []
        if outcome.code is not CellReturnCode.OK:
            return self._get_failed(tag, outcome, now)
        self._measure(self._asked.pop(tag), now)
        self._lost = 0
        self._progress = now
        self._writing.add(tag)
        digest = outcome.headers.get("d")
        size = sum(map(len, outcome.bodies))
        self.fetched += size
        if size != min(self.chunk, self.size - tag * self.chunk) or not isinstance(digest, bytes):
            return self.written(tag, "bad", "", now)
        asks = self._fetch(now) or self._arrived(now)
        return [Write(self.id, tag, tag * self.chunk, outcome.bodies, digest), *asks]

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
        count = ceil(self.size / self.chunk)
        self.state = PullState.FETCHING
        self._missing.extend(index for index in range(count) if index not in have)
        self.done = sum(min(self.chunk, self.size - index * self.chunk) for index in have if index < count)
        self._progress = now
        return self._fetch(now)

    def written(self, index: int, verdict: str, error: str, now: float) -> list[Command]:
        """A chunk was written ("ok"), or had a bad digest ("bad"), or could not be written ("failed", and why)."""
        self._writing.discard(index)
        if self.state is not PullState.FETCHING:
            return self._abandon()
        if verdict == "failed":
            return self._fail(Outcome(CellReturnCode.PROCESS_EXCEPTION, error), now)
        if verdict == "bad":
            self._bad[index] = self._bad.get(index, 0) + 1
            if self._bad[index] > MOST_BAD:
                text = f"chunk {index} from {self.owner} was damaged {MOST_BAD + 1} times"
                return self._fail(Outcome(CellReturnCode.COMM_ERROR, text), now)
            self._missing.appendleft(index)
        else:
            self.done += min(self.chunk, self.size - index * self.chunk)
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
        return [self._say_done("success")]

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
        return min((at for at in (self._again_at, self._confirm_at, silent) if at is not None), default=None)

    @property
    def _confirm_at(self) -> float | None:
        """When to say again what we wait for, though nothing has come; before the time-out."""
        if self.state is not PullState.FETCHING or not self._asked or self._confirming:
            return None
        due = max(self._progress, self._confirmed) + self._pause
        return due if due < self._progress + self._timeout else None

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
        match outcome.headers:
            case {"n": int(size), "k": int(chunk), "f": str(fingerprint), "name": str(name)} if (
                0 <= size <= chunk * MOST_CHUNKS and 0 < chunk <= MAX_CHUNK
            ):
                self.size, self.chunk = size, chunk
                self.state = PullState.PREPARING
                self._preparing = True
                return [Prepare(self.id, size, chunk, fingerprint, name)]
        return self._fail(Outcome(CellReturnCode.COMM_ERROR, f"{self.owner} gave a size that cannot be"), now)

    def _fetch(self, now: float) -> list[Command]:
        if not self._missing and not self._asked and not self._writing:
            self.state = PullState.FINISHING
            return [Commit(self.id)]
        asks: list[Command] = []
        while self._missing and self._again_at is None and len(self._asked) + len(self._writing) < self._window:
            index = self._missing.popleft()
            self._asked[index] = now
            headers = {"r": self.rid, "p": self.id, "i": index, "w": list(self._asked)}
            asks.append(Ask(self, index, (self.owner,), CHANNEL, GET, headers, 0, (), FOREVER, repeatable=True))
        return asks

    def _arrived(self, now: float) -> list[Command]:
        """If no GET goes out that tells the owner that a chunk has come, say so."""
        if self._missing and len(self._asked) + len(self._writing) <= self._window:
            return []  # a GET follows as soon as this chunk is written; not so while the window shrinks
        return self._confirm(now)

    def _confirm(self, now: float) -> list[Command]:
        """Tell the owner what we wait for, if anything."""
        if not self._asked:
            return []
        self._confirming += 1
        self._confirmed = now
        headers = {"r": self.rid, "p": self.id, "w": list(self._asked)}
        return [Ask(self, "have", (self.owner,), CHANNEL, HAVE, headers, 0, (), self._timeout, repeatable=True)]

    def _get_failed(self, index: int, outcome: Outcome, now: float) -> list[Command]:
        del self._asked[index]
        self._lost += self._again_at is None  # what is lost together counts once
        most = MOST_GONE if outcome.code is CellReturnCode.COMM_ERROR else MOST_LOST
        if outcome.code not in LOST or self._lost > most:
            return self._fail(outcome, now)
        self._missing.appendleft(index)
        self._again_at = now + self._pause
        return []

    def _measure(self, asked: float, now: float) -> None:
        self._arrivals.append(now)
        if len(self._arrivals) < 4:
            return
        span = max(now - self._arrivals[0], 1e-6)
        rate = (len(self._arrivals) - 1) / span
        self._window = max(2, min(MOST_WINDOW, ceil(rate * WINDOW_TIME) + 1))

    def _fail(self, why: Outcome, now: float) -> list[Command]:
        if self.state in (PullState.FAILING, PullState.ENDED, PullState.CLOSING):
            return []
        known = self.state not in (PullState.OPENING,)
        self._failure = why
        self._again_at = None
        self.state = PullState.FAILING
        commands: list[Command] = [Unask(self)]
        if known:
            commands.append(self._say_done("failed"))
        return commands + self._abandon()

    def _abandon(self) -> list[Command]:
        """Close the sink after a failure, unless a worker is busy with it."""
        if self.state is not PullState.FAILING or self._preparing or self._writing or self._abandoned:
            return []
        self._abandoned = True
        return [Abandon(self.id)]

    def _say_done(self, status: str) -> Command:
        headers = {"r": self.rid, "p": self.id, "s": status}
        return Ask(self, "done", (self.owner,), CHANNEL, DONE, headers, 0, (), self._timeout)

    def _end(self) -> list[Command]:
        self.state = PullState.ENDED
        failure = self._failure or Outcome(CellReturnCode.OK)
        return [PullEnded(self.id, failure.code, failure.error, self._value, str(failure.headers.get("why", "")))]

    def __repr__(self) -> str:
        return f"<PullReceiver {self.id} of {self.owner} {self.state}, {self.done} of {self.size} bytes>"
