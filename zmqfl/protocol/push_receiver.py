"""A target's half of a push: chunks in order, one at a time, and one end, whatever happens.

    state      event                               next       effect
    -          OPEN                                opening    OpenStream
    opening    opened                              open       answer
    opening    not ready, refused                  -          answer
    open       ROUND, the next one                 consuming  Consume
    open       ROUND, ahead but in the window      open       kept until the ones before it have come
    open       ROUND, seen before                  open       acknowledged, not consumed
    open       LAST, nothing is missing            prepared   answer
    consuming  consumed, go on                     open       answer; the next one that is kept
    consuming  consumed, that was all              prepared   answer, to those that are kept, too
    consuming  the consumer failed                 closing    answer with the error; CloseStream
    consuming  CANCEL, before the consumer saw it  open       END follows
    prepared   ROUND                               prepared   acknowledged, not consumed
    open, prepared  END ok, nothing is missing     closing    CloseStream OK
    any        END with another code               closing    CloseStream, after the consumer has returned
    any        silence for a third of `idle`       -          ALIVE to the owner
    prepared   the owner is gone, or forgot it     frozen     STATE to the other targets, if there are any
    otherwise  the owner is gone, or forgot it     closing    CloseStream, after the consumer has returned
    closing    closed                              ended      answer to END

**When the owner dies between two ENDs** some targets may have been told to commit. A prepared target is then *frozen*:
no END ok counts any more, and it asks the others.

    one other has committed                 it commits
    one has given up                        so does it
    one still hears the owner               asks again: that one will know
    one cannot be asked                     asks again, for `IN_DOUBT` times `dead_after`: it may have committed
    one has restarted and knows nothing     asks again for `dead_after`: it may have told a third one
    all are frozen                          it gives up: nobody has heard END ok, and nobody listens to it any more

So all targets that live have the file, or none.
Source: cooperative termination of two-phase commit (Bernstein, Hadzilacos, Goodman 1987, section 7.4);
seed 000 (push), design, decision 18.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from zmqfl.errors import CellReturnCode
from zmqfl.fqcn import FQCN
from zmqfl.protocol.commands import Answer, Ask, Call, CloseStream, Command, Consume, OpenStream, Outcome, StreamKey
from zmqfl.protocol.push_sender import ALIVE, CHANNEL, MOST_AHEAD, STATE

ASK_AGAIN = 1.0
"""Seconds between two questions to the other targets."""
IN_DOUBT = 3.0
"""Times `dead_after` that a frozen target waits for others that it cannot ask: enough for a relay or root that a
launcher starts again. If one of them comes back later, and has committed, the two differ: whoever never waits for ever
cannot be always right."""
OK = CellReturnCode.OK


class StreamState(StrEnum):
    """The states of the table."""

    OPENING = "opening"
    OPEN = "open"
    CONSUMING = "consuming"
    PREPARED = "prepared"
    CLOSING = "closing"
    ENDED = "ended"


class Verdict(StrEnum):
    """What a target says to STATE."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNDECIDED = "undecided"
    """It still hears the owner."""
    FROZEN = "frozen"
    """It has all, and does not hear the owner: it will do what the others have done."""
    UNKNOWN = "unknown"
    """It has restarted: whatever it had is lost."""


class PushReceiver:
    """See the module. `call`: the OPEN; `dead_after`: seconds that the other targets get to answer."""

    def __init__(self, key: StreamKey, call: Call, me: str, dead_after: float, now: float) -> None:
        self.key = key
        self.state = StreamState.OPENING
        self.code: CellReturnCode | None = None
        """How it ended, from the moment that this is decided."""
        self.received = 0
        """Bytes that were consumed."""
        self.begun = now
        self.refused = False
        """Whether it never was: the owner may ask again with the same key."""
        headers = call.headers
        self.channel, self.topic = str(headers.get("c", "")), str(headers.get("o", ""))
        self._others = tuple(name for name in _names(headers.get("all")) if name != me)
        self._idle = max(1.0, _count(headers.get("idle")) / 1000)
        self._dead_after = dead_after
        self._opening: Call | None = call
        self._expected = 0
        self._kept: dict[int, Call] = {}
        self._consuming: Call | None = None
        self._ending: list[Call] = []
        self._pending: tuple[CellReturnCode, str, str] | None = None
        """An end that waits for the consumer: code, reason, culprit."""
        self._heard = now
        self._asking = False
        self._frozen = False
        self._verdicts: dict[str, Verdict | None] = {}
        """None: could not be asked."""
        self._ask_again_at: float | None = None
        self._doubt_ends = 0.0
        self._amnesia_ends: float | None = None

    # -- what comes from the owner -------------------------------------------------------------------------------------

    def start(self) -> list[Command]:
        """Have the consumer made."""
        assert self._opening is not None
        return [OpenStream(self.key, self._opening)]

    def opened(self, outcome: Outcome, now: float) -> list[Command]:
        """The consumer is there, or why not."""
        assert self._opening is not None
        call, self._opening = self._opening, None
        self._heard = now
        if outcome.code is not OK:
            self.state, self.code, self.refused = StreamState.ENDED, outcome.code, not self._ending
            return [Answer(call, outcome), *self._answer_end(Outcome(OK))]
        self.state = StreamState.OPEN
        return [Answer(call, outcome), *self._do_pending()]

    def round(self, call: Call, now: float) -> list[Command]:
        """A chunk has come."""
        self._heard = now
        index = call.headers.get("i")
        if type(index) is not int or index < 0:
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, f"there is no round {index!r:.60}"))]
        if self.code is not None or self._pending is not None or self._frozen:
            return [Answer(call, Outcome(CellReturnCode.ABORT_RUN, "this stream has ended"))]
        if index < self._expected or self.state is StreamState.PREPARED:
            return [Answer(call, Outcome(OK, headers={"go": int(self.state is not StreamState.PREPARED)}))]
        twice = index in self._kept or (index == self._expected and self._consuming is not None)
        if index >= self._expected + MOST_AHEAD or twice:
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, f"round {index} is out of order"))]
        self._kept[index] = call
        return self._next()

    def last(self, call: Call, now: float) -> list[Command]:
        """The owner has no more: do we have all, and promise to wait for what it decides?"""
        self._heard = now
        if self.code is not None or self._pending is not None or self._frozen:
            return [Answer(call, Outcome(CellReturnCode.ABORT_RUN, "this stream has ended"))]
        if self.state is StreamState.OPEN and not self._kept and _count(call.headers.get("n")) == self._expected:
            self.state = StreamState.PREPARED
        if self.state is not StreamState.PREPARED:
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, f"{self._expected} rounds are not all"))]
        return [Answer(call, Outcome(OK))]

    def consumed(self, outcome: Outcome, go: bool, now: float) -> list[Command]:
        """The consumer has taken the chunk, or has failed."""
        assert self._consuming is not None
        call, self._consuming = self._consuming, None
        self._heard = now
        self.state = StreamState.OPEN
        headers = {**outcome.headers, "go": int(go)}
        answer = Answer(call, Outcome(outcome.code, outcome.error, outcome.codec, headers, outcome.bodies))
        if outcome.code is not OK:
            self._pending = self._pending or (outcome.code, outcome.error, "")
            return [answer, *self._do_pending()]
        self._expected += 1
        if go:
            return [answer, *(self._do_pending() or self._next())]
        self.state = StreamState.PREPARED
        enough: list[Command] = [Answer(call, Outcome(OK, headers={"go": 0})) for call in self._kept.values()]
        self._kept.clear()
        return [answer, *enough, *self._do_pending()]

    def withdrawn(self, now: float) -> list[Command]:
        """The owner has taken the round back before the consumer saw it: its END, which says why, is on its way."""
        self._consuming = None
        self._heard = now
        self.state = StreamState.OPEN
        return self._do_pending()

    def end(self, call: Call, now: float) -> list[Command]:
        """The owner says that it is over, and how."""
        self._heard = now
        call.started = now  # its time-out runs from here: nobody waits for ever for a consumer that never ends
        self._ending.append(call)
        code = _code(call.headers.get("rc"))
        if self.code is not None or (self._frozen and code is OK):
            return []
        if code is OK and not self._has_all(_count(call.headers.get("n"))):
            code = CellReturnCode.INVALID_REQUEST
        self._frozen = False
        reason, culprit = str(call.headers.get("why", "")), str(call.headers.get("who", ""))
        self._pending = (code, reason, culprit)
        return self._do_pending()

    def closed(self, outcome: Outcome) -> list[Command]:
        """The consumer has ended, and the application knows. `outcome`: what goes back to the owner."""
        self.state = StreamState.ENDED
        return self._answer_end(outcome)

    # -- the owner is silent -------------------------------------------------------------------------------------------

    def owner_lost(self, reason: str, now: float) -> list[Command]:
        """The owner is gone, or does not know of this push any more."""
        if self.code is not None or self._frozen:
            return []
        if self.state is StreamState.PREPARED and self._others:
            self._frozen = True
            self._doubt_ends = now + IN_DOUBT * self._dead_after
            return self._ask_others()
        self._pending = self._pending or (CellReturnCode.COMM_ERROR, reason, self.key[0])
        return self._do_pending()

    def stop(self, code: CellReturnCode, reason: str, now: float) -> list[Command]:
        """This side gives it up; the owner learns it with its next round."""
        if self.code is not None:
            return []
        self._frozen = False
        self._pending = self._pending or (code, reason, "")
        return self._do_pending()

    def answered(self, tag: Any, target: str, outcome: Outcome, now: float) -> list[Command]:
        """A question of this stream has ended."""
        if tag == "alive":
            self._asking = False
            if outcome.code in (OK, CellReturnCode.SERVICE_UNAVAILABLE):  # one that is too busy to answer is there
                self._heard = now
                return []
            return self.owner_lost(f"{target} has gone away: {outcome.error or outcome.code}", now)
        said = outcome.headers.get("s") if outcome.code is OK else None
        self._verdicts[target] = Verdict(said) if isinstance(said, str) and said in set(Verdict) else None
        return self._judge(now)

    def verdict(self) -> Verdict:
        """What is said to another target that asks."""
        code = self._pending[0] if self._pending is not None else self.code
        if code is not None:
            return Verdict.COMMITTED if code is OK else Verdict.ABORTED
        return Verdict.FROZEN if self._frozen else Verdict.UNDECIDED

    def handle_timeout(self, now: float) -> list[Command]:
        """Ask the owner whether it still pushes; ask the other targets again."""
        if self._ask_again_at is not None and self._ask_again_at <= now:
            self._ask_again_at = None
            return self._ask_others()
        if self.deadline is not None and self.deadline <= now and not self._frozen:
            self._asking = True
            headers = {"t": self.key[2], "n": self.key[1]}
            return [Ask(self, "alive", (self.key[0],), CHANNEL, ALIVE, headers, 0, (), 2 * self._idle / 3)]
        return []

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        if self._frozen:
            return self._ask_again_at
        waits = self.code is None and self._pending is None and not self._asking
        return self._heard + self._idle / 3 if waits else None

    # -- within --------------------------------------------------------------------------------------------------------

    def _next(self) -> list[Command]:
        if self.state is not StreamState.OPEN or (call := self._kept.pop(self._expected, None)) is None:
            return []
        self.state, self._consuming = StreamState.CONSUMING, call
        self.received += call.size
        return [Consume(self.key, self._expected, call)]

    def _do_pending(self) -> list[Command]:
        """End, unless the consumer is at work: it must not lose its file under its feet."""
        busy = self.state in (StreamState.OPENING, StreamState.CONSUMING, StreamState.CLOSING, StreamState.ENDED)
        if self._pending is None or busy:
            return []
        code, reason, culprit = self._pending
        self._pending = None
        self.state, self.code = StreamState.CLOSING, code
        gone = Outcome(CellReturnCode.ABORT_RUN, "this stream has ended")
        kept: list[Command] = [Answer(call, gone) for call in self._kept.values()]
        self._kept.clear()
        return [*kept, CloseStream(self.key, code, reason, culprit)]

    def _has_all(self, count: int) -> bool:
        if self.state is StreamState.PREPARED:
            return True
        return self._consuming is None and not self._kept and count == self._expected

    def _answer_end(self, outcome: Outcome) -> list[Command]:
        """Whoever wants to commit must know when that has not come of it."""
        commands: list[Command] = []
        for call in self._ending:
            wrong = _code(call.headers.get("rc")) is OK and self.code is not OK
            failure = Outcome(self.code or CellReturnCode.ABORT_RUN, "this stream has ended otherwise")
            commands.append(Answer(call, failure if wrong else outcome))
        self._ending.clear()
        return commands

    def _ask_others(self) -> list[Command]:
        self._verdicts.clear()
        origin, instance, id = self.key
        headers = {"from": origin, "n": instance, "t": id}
        return [Ask(self, "state", self._others, CHANNEL, STATE, headers, 0, (), self._dead_after)]

    def _judge(self, now: float) -> list[Command]:
        if not self._frozen:
            return []
        said = set(self._verdicts.values())
        if Verdict.COMMITTED in said:
            self._pending = (OK, "", "")
        elif len(self._verdicts) < len(self._others):
            return []
        elif self._is_in_doubt(said, now):
            self._ask_again_at = now + ASK_AGAIN
            return []
        else:
            self._pending = (CellReturnCode.COMM_ERROR, f"{self.key[0]} has gone away before the end", self.key[0])
        self._frozen = False
        return self._do_pending()

    def _is_in_doubt(self, said: set[Verdict | None], now: float) -> bool:
        """Whether somebody may have committed though nobody says so."""
        if Verdict.ABORTED in said:
            return False
        if Verdict.UNDECIDED in said:
            return True
        if None in said:
            return now < self._doubt_ends
        if Verdict.UNKNOWN not in said:
            return False
        if self._amnesia_ends is None:
            self._amnesia_ends = now + self._dead_after
        return now < self._amnesia_ends

    def __repr__(self) -> str:
        return f"<PushReceiver of {self.key[0]} #{self.key[2]} {self.state}, {self._expected} rounds>"


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0


def _names(value: object) -> list[str]:
    return [name for name in value[:4096] if not FQCN.validate(name)] if isinstance(value, list) else []


def _code(value: object) -> CellReturnCode:
    try:
        return CellReturnCode(str(value))
    except ValueError:
        return CellReturnCode.COMM_ERROR
