"""The owner's half of a push: round k is chunk k to all targets at once, and nobody renames before all have all.

    state       event                                   next        effect
    opening     start                                   opening     OPEN to all
    opening     a target is not ready                   opening     OPEN to it again, until the chunk time-out is over
    opening     all have answered                       sending     Produce
    sending     produced                                sending     ROUND, once fewer than `window` rounds are out
    sending     a round is answered by all              sending     Settle, in order, if the producer judges replies
    sending     settled: go on                          sending     Produce (earlier where the producer looks ahead)
    sending     all targets say that they have all      committing  END ok to all
    sending     nothing more is produced, all settled   preparing   LAST to all that do not know it; not to a single one
    sending     settled with a result                   preparing, or aborting where the result is false
    preparing   all have answered                       committing  END ok to all
    committing  all have answered                       ended       Settle for the last round, then the handle ends
    before that refusal, time-out, loss, error, cancel  aborting    END with the code and the culprit to all
    aborting    all have answered, or `GOODBYE` is over ended       the handle ends; ENDs are sent on until answered

A round is a request to all targets, so what request and flow guarantee holds for it: at most once, each link crossed
once, the loss of a target known, nothing hangs. Only the order and the barrier are made here. From the first END ok on
it is too late to give up. Until then any target may; one that has said that it has all waits for what is decided.
Source: seed 000 (push), design, decisions 17 and 18.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import (
    Ask,
    Chunk,
    Command,
    Outcome,
    Produce,
    PushEnded,
    Settle,
    Unask,
)

CHANNEL = "zmqfl.push"
OPEN, ROUND, LAST, END, STATE, ALIVE = "open", "round", "last", "end", "state", "alive"
"""Topics of the requests."""
FIRST_RETRY, LAST_RETRY = 0.05, 0.5
"""Seconds until a target that was not ready is asked again; doubles."""
GOODBYE = 0.5
"""Seconds that a failed push waits for its targets to have cleaned up."""
COMMIT_TIMEOUT = 300.0
"""Seconds at least for a target to rename, to sync its disk, and for its `stream_done_cb`."""
MOST_AHEAD = 64
"""Rounds that may be out at once, and that a target keeps because earlier ones are missing."""
MOST_BYTES = 16 * 1024 * 1024
"""Bytes of these, beyond a single one: on a slow path more would only wait, and run out of time."""
READ_AHEAD = 2
"""Chunks that are made while others are on their way."""


class PushState(StrEnum):
    """The states of the table."""

    OPENING = "opening"
    SENDING = "sending"
    PREPARING = "preparing"
    COMMITTING = "committing"
    ABORTING = "aborting"
    ENDED = "ended"


@dataclass(slots=True)
class _Round:
    """One chunk on its way."""

    size: int
    targets: tuple[str, ...]
    replies: dict[str, Outcome] = field(default_factory=dict)


class PushSender:
    """See the module. `context`: codec and bodies of the stream context; `chunk_timeout`: seconds without progress."""

    def __init__(
        self,
        id: int,
        targets: tuple[str, ...],
        channel: str,
        topic: str,
        context: tuple[int, tuple[Any, ...]],
        *,
        window: int,
        looks_ahead: bool,
        judges: bool,
        chunk_timeout: float,
    ) -> None:
        self.id = id
        self.state = PushState.OPENING
        self.targets = targets
        self.acknowledged = dict.fromkeys(targets, 0)
        """Bytes that each target has consumed."""
        self.codes: dict[str, Outcome] = {}
        """How it ended at each target that has ended for itself."""
        self._channel, self._topic, self._context = channel, topic, context
        self._window = max(1, min(window, MOST_AHEAD)) if looks_ahead else 1
        self._looks_ahead = looks_ahead
        self._judges = judges
        self._timeout = chunk_timeout
        self._opened: set[str] = set()
        self._not_ready: set[str] = set()
        self._retry_at: float | None = None
        self._retry = FIRST_RETRY
        self._patience_ends = 0.0
        self._ready: deque[Chunk] = deque()
        self._rounds: dict[int, _Round] = {}
        self._next = 0
        self._settled = 0
        self._busy = {"produce": False, "settle": False}
        self._exhausted = False
        self._has_all: set[str] = set()
        self._last: dict[str, Outcome] | None = None
        """Replies of the round that was the last for all; settled after END, which adds to them."""
        self._result: Any = None
        self._failure: Outcome | None = None
        self._culprit = ""
        self._waits_for: set[str] = set()
        self._goodbye_at: float | None = None

    # -- verbs -------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Command]:
        """Ask all targets whether they take it."""
        self._patience_ends = now + self._timeout
        return [self._open(self.targets)]

    def produced(self, chunk: Chunk | None, error: str, now: float) -> list[Command]:
        """The producer has made the next chunk, None when there is none, or failed."""
        self._busy["produce"] = False
        if self.state is not PushState.SENDING:
            return []
        if error:
            return self._abort(Outcome(CellReturnCode.PROCESS_EXCEPTION, error), "", now)
        if chunk is None:
            self._exhausted = True
        else:
            self._ready.append(chunk)
        return self._advance(now)

    def settled(self, result: Any, error: str, now: float) -> list[Command]:
        """The producer has looked at the replies of the oldest round."""
        self._busy["settle"] = False
        if self._last is not None and self.state is PushState.COMMITTING:
            self._result = result
            self._failure = Outcome(CellReturnCode.PROCESS_EXCEPTION, error) if error else None
            return self._end()
        if self.state is not PushState.SENDING:
            return []
        self._settled += 1
        if error:
            return self._abort(Outcome(CellReturnCode.PROCESS_EXCEPTION, error), "", now)
        if result is not None:
            self._result = result
            if not result:
                why = Outcome(CellReturnCode.PROCESS_EXCEPTION, "the producer was not content with the replies")
                return self._abort(why, "", now)
            self._exhausted = True
            self._ready.clear()
        return self._settle_next(now) + self._advance(now)

    def cancel(self, code: CellReturnCode, reason: str, now: float) -> list[Command]:
        """Give it up, unless it is too late: some may have been told to commit, and then all do."""
        if self.state is PushState.COMMITTING:
            return []
        return self._abort(Outcome(code, reason), "", now)

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        """A request of this push has ended at one target."""
        match tag:
            case "open":
                return self._open_answered(target, outcome, now)
            case "last":
                return self._last_answered(target, outcome, now)
            case "end":
                return self._end_answered(target, outcome)
            case int():
                return self._round_answered(tag, target, outcome, now)
        return []

    def handle_timeout(self, now: float) -> list[Command]:
        """Ask those again that were not ready; end what has waited long enough for its targets."""
        commands: list[Command] = []
        if self._retry_at is not None and self._retry_at <= now:
            self._retry_at = None
            names, self._not_ready = tuple(sorted(self._not_ready)), set()
            if self.state is PushState.OPENING:
                commands.append(self._open(names))
        if self._goodbye_at is not None and self._goodbye_at <= now:
            self._goodbye_at = None
            commands += self._end()
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        return min((at for at in (self._retry_at, self._goodbye_at) if at is not None), default=None)

    def is_needed_by(self, target: str) -> bool:
        """Whether this push has something to say to a target yet."""
        going_on = self.state in (PushState.OPENING, PushState.SENDING, PushState.PREPARING)
        return target in self.targets and (going_on or target in self._waits_for)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is needed any more: it has ended, and every END is answered."""
        return self.state is PushState.ENDED and not self._waits_for

    # -- opening -----------------------------------------------------------------------------------------------------

    def _open(self, names: tuple[str, ...]) -> Command:
        others = list(self.targets) if len(self.targets) > 1 else []
        headers = {
            "t": self.id, "c": self._channel, "o": self._topic, "idle": round(2000 * self._timeout), "all": others,
            "w": self._window,
        }  # fmt: skip
        codec, bodies = self._context
        return Ask(self, "open", names, CHANNEL, OPEN, headers, codec, bodies, self._timeout)

    def _open_answered(self, target: str, outcome: Outcome, now: float) -> list[Command]:
        if self.state is not PushState.OPENING:
            return []
        if outcome.code is not CellReturnCode.OK:
            if not outcome.headers.get("not_ready") or now >= self._patience_ends:
                self.codes[target] = outcome
                return self._abort(outcome, target, now)
            self._not_ready.add(target)
            if self._retry_at is None:
                self._retry_at = min(now + self._retry, self._patience_ends)
                self._retry = min(2 * self._retry, LAST_RETRY)
            return []
        self._opened.add(target)
        if len(self._opened) < len(self.targets):
            return []
        self.state = PushState.SENDING
        return self._advance(now)

    # -- sending -----------------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> list[Command]:
        """Whatever can be done next: a round, a chunk, the end."""
        if self.state is not PushState.SENDING:
            return []
        rounds: list[Command] = []
        while self._ready and self._has_room(self._ready[0]) and self._is_wanted():
            rounds.append(self._send(self._ready.popleft()))
        commands = rounds
        if self._may_produce():
            self._busy["produce"] = True
            commands = [Produce(self.id), *rounds]  # first: a round may fail at once, and end all
        if self._exhausted and not self._ready and self._settled == self._next and not self._busy["produce"]:
            commands += self._prepare()
        return commands

    def _has_room(self, chunk: Chunk) -> bool:
        out = sum(current.size for current in self._rounds.values())
        size = sum(map(len, chunk.bodies))
        return self._next - self._settled < self._window and (not out or out + size <= MOST_BYTES)

    def _is_wanted(self) -> bool:
        """Whether some target has not said yet that it has all."""
        return len(self._has_all) < len(self.targets)

    def _may_produce(self) -> bool:
        if self._exhausted or self._busy["produce"] or not self._is_wanted():
            return False
        if self._looks_ahead:
            return len(self._ready) < READ_AHEAD
        return self._settled == self._next and not self._ready

    def _send(self, chunk: Chunk) -> Command:
        index, self._next = self._next, self._next + 1
        targets = tuple(name for name in self.targets if name not in self._has_all)
        self._rounds[index] = _Round(chunk.stands_for or sum(map(len, chunk.bodies)), targets)
        headers = {"t": self.id, "i": index, **({"h": dict(chunk.headers)} if chunk.headers else {})}
        timeout = self._timeout if chunk.timeout is None else chunk.timeout
        return Ask(self, index, targets, CHANNEL, ROUND, headers, chunk.codec, chunk.bodies, timeout)

    def _round_answered(self, index: int, target: str, outcome: Outcome, now: float) -> list[Command]:
        if self.state is not PushState.SENDING:
            return []
        if outcome.code is not CellReturnCode.OK:
            self.codes[target] = outcome
            return self._abort(outcome, target, now)
        current = self._rounds[index]
        current.replies[target] = outcome
        self.acknowledged[target] += current.size
        if not outcome.headers.get("go"):
            self._has_all.add(target)
        return self._settle_next(now)

    def _settle_next(self, now: float) -> list[Command]:
        oldest = self._rounds.get(self._settled)
        if self._busy["settle"] or oldest is None or len(oldest.replies) < len(oldest.targets):
            return []
        replies = self._rounds.pop(self._settled).replies
        if not self._is_wanted() and not self._rounds:
            self._last = replies
            self._settled += 1
            return self._commit()
        if not self._judges:
            self._settled += 1
            return self._settle_next(now) or self._advance(now)
        self._busy["settle"] = True
        return [Settle(self.id, replies)]

    # -- the end -----------------------------------------------------------------------------------------------------

    def _prepare(self) -> list[Command]:
        """Each target must know that it has all before one is told to commit; alone it has nobody to be at one with."""
        unaware = tuple(name for name in self.targets if name not in self._has_all)
        if not unaware or len(self.targets) == 1:
            return self._commit()
        self.state = PushState.PREPARING
        self._waits_for = set(unaware)
        return [Ask(self, "last", unaware, CHANNEL, LAST, {"t": self.id, "n": self._next}, 0, (), self._timeout)]

    def _last_answered(self, target: str, outcome: Outcome, now: float) -> list[Command]:
        if self.state is not PushState.PREPARING:
            return []
        if outcome.code is not CellReturnCode.OK:
            self.codes[target] = outcome
            return self._abort(outcome, target, now)
        self._waits_for.discard(target)
        return [] if self._waits_for else self._commit()

    def _commit(self) -> list[Command]:
        self.state = PushState.COMMITTING
        return self._say_end(self.targets, {"t": self.id, "rc": str(CellReturnCode.OK), "n": self._next})

    def _abort(self, why: Outcome, culprit: str, now: float) -> list[Command]:
        if self.state in (PushState.ABORTING, PushState.ENDED):
            return []
        self._failure, self._culprit = why, culprit
        commands: list[Command] = [Unask(self)]
        self.state = PushState.ABORTING
        self._retry_at = None
        self._goodbye_at = now + GOODBYE
        headers = {"t": self.id, "rc": str(why.code), "why": why.error[:1000], "who": culprit}
        self._ready.clear()
        return commands + self._say_end(self.targets, headers)

    def _say_end(self, targets: tuple[str, ...], headers: Mapping[str, Any]) -> list[Command]:
        self._waits_for = set(targets)
        timeout = max(self._timeout, COMMIT_TIMEOUT)
        return [Ask(self, "end", targets, CHANNEL, END, dict(headers), 0, (), timeout)]

    def _end_answered(self, target: str, outcome: Outcome) -> list[Command]:
        self._waits_for.discard(target)
        if self.state is PushState.COMMITTING:
            self.codes[target] = outcome
            if outcome.code is not CellReturnCode.OK and self._failure is None:
                self._failure, self._culprit = outcome, target
            if self._waits_for:
                return []
            if self._last is None or self._failure is not None or not self._judges:
                return self._end()
            self._busy["settle"] = True
            merged = {name: _with_end(reply, self.codes[name]) for name, reply in self._last.items()}
            return [Settle(self.id, merged)]
        return self._end() if not self._waits_for else []

    def _end(self) -> list[Command]:
        if self.state is PushState.ENDED:
            return []
        self.state = PushState.ENDED
        self._goodbye_at = None
        self._rounds.clear()
        failure = self._failure or Outcome(CellReturnCode.OK)
        return [PushEnded(self.id, failure.code, failure.error, self._culprit, self._result, dict(self.codes))]

    def __repr__(self) -> str:
        return f"<PushSender {self.id} {self.state} to {len(self.targets)}, {self._settled} of {self._next} rounds>"


def _with_end(reply: Outcome, end: Outcome) -> Outcome:
    """The reply to the last round with what the target's end has given."""
    headers = {**reply.headers, "end": [end.codec, len(end.bodies)]}
    return Outcome(reply.code, reply.error, reply.codec, headers, (*reply.bodies, *end.bodies))
