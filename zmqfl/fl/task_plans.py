"""How a standing task is given to clients, and when it has ended: one plan for each way of scheduling.

    plan               is given to                                    ends ok when
    Broadcast          each target once                               all have answered, or `min_responses` have and
                                                                      `wait` seconds have passed since
    BroadcastForever   each target whenever it asks                   never
    Send ANY           the first target that asks                     it has answered
    Send SEQUENTIAL    the first target; after i assignment           it has answered
                       time-outs the i-th may take it, too
    Relay              one target after another: `relay_plan`         the last one has answered

A plan is asked for a verdict when a client asks for a task: TAKE it; SKIP to the next task; BLOCK: wait, and be given
no other task meanwhile. It ends CLIENT_DEAD when nobody is left alive who could bring it forward, unless a time-out of
its own will. Source: reference "flare" 6.5.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from zmqfl.fl.task import SendOrder, TaskCompletionStatus


class Verdict(Enum):
    """See the module."""

    TAKE = auto()
    SKIP = auto()
    BLOCK = auto()


class State(Enum):
    """How far a task is at one client."""

    OFFERED = auto()
    """What comes before sending runs."""
    SENT = auto()
    ANSWERED = auto()
    """Its result is being processed."""
    DONE = auto()
    GIVEN_UP = auto()


UNANSWERED = (State.OFFERED, State.SENT)


@dataclass(slots=True)
class Assignment:
    """A task given to a client. `since`: when it was offered, or sent last."""

    id: str
    task_id: str
    client: str
    since: float
    state: State = State.OFFERED


class Plan(ABC):
    """See the module. `targets`: names of clients; None: anyone."""

    def __init__(self, targets: Sequence[str] | None) -> None:
        self.targets = None if targets is None else list(targets)
        self.given: list[Assignment] = []

    @property
    def is_endless(self) -> bool:
        """Whether a client that asks again is given it again: then other tasks go first."""
        return False

    def rank(self, client: str) -> int:
        """Tasks of a lower rank come first; those of the same in the order of their coming."""
        return -1

    @abstractmethod
    def verdict(self, client: str, now: float) -> Verdict:
        """What a client that asks does with it."""

    def take(self, assignment: Assignment, now: float) -> None:
        """It is given to a client, after the verdict TAKE."""
        self.given.append(assignment)

    def advance(self, now: float) -> None:  # noqa: B027  most plans have nothing to do then
        """Time has passed, or an assignment has changed."""

    @abstractmethod
    def status(self, now: float, dead: Collection[str]) -> TaskCompletionStatus | None:
        """How it ended; None while it stands."""

    @property
    def deadline(self) -> float | None:
        """When to look again though nothing has happened."""
        return None

    def _concerns(self, client: str) -> bool:
        return self.targets is None or client in self.targets


class Broadcast(Plan):
    """See the module. `min_responses` 0: those of all targets."""

    def __init__(self, targets: Sequence[str] | None, min_responses: int, wait: float) -> None:
        super().__init__(targets)
        self._min = min_responses
        self._wait = wait
        self._met: float | None = None
        """When `min_responses` were reached."""

    def verdict(self, client: str, now: float) -> Verdict:
        """Each target takes it once."""
        is_new = all(each.client != client for each in self.given)
        return Verdict.TAKE if is_new and self._concerns(client) else Verdict.SKIP

    def advance(self, now: float) -> None:
        """Note when there were enough responses."""
        if self._met is None and self._min and len(self._done()) >= self._min:
            self._met = now

    def status(self, now: float, dead: Collection[str]) -> TaskCompletionStatus | None:
        """See the module; a result that has come in time is waited for until it is processed."""
        done = self._done()
        missing = None if self.targets is None else [name for name in self.targets if name not in done]
        if missing == []:
            return TaskCompletionStatus.OK
        if any(each.state is State.ANSWERED for each in self.given):
            return None
        if self._met is not None and now >= self._met + self._wait:
            return TaskCompletionStatus.OK
        if missing and all(name in dead for name in missing):
            return TaskCompletionStatus.CLIENT_DEAD if self._met is None else TaskCompletionStatus.OK
        return None

    @property
    def deadline(self) -> float | None:
        """The end of the wait for more than enough."""
        return None if self._met is None else self._met + self._wait

    def _done(self) -> set[str]:
        return {each.client for each in self.given if each.state is State.DONE}


class BroadcastForever(Plan):
    """See the module."""

    def __init__(self, targets: Sequence[str] | None) -> None:
        super().__init__(targets)
        self._times: Counter[str] = Counter()

    @property
    def is_endless(self) -> bool:
        """Yes."""
        return True

    def rank(self, client: str) -> int:
        """Of several endless tasks the one comes first that the client was given less often."""
        return self._times[client]

    def verdict(self, client: str, now: float) -> Verdict:
        """A target takes it whenever it asks."""
        return Verdict.TAKE if self._concerns(client) else Verdict.SKIP

    def take(self, assignment: Assignment, now: float) -> None:
        """What has been answered is forgotten, or the list would grow for ever."""
        self._times[assignment.client] += 1
        self.given = [each for each in self.given if each.state in (*UNANSWERED, State.ANSWERED)]
        super().take(assignment, now)

    def status(self, now: float, dead: Collection[str]) -> TaskCompletionStatus | None:
        """It stands."""
        return None


class Send(Plan):
    """See the module. `assignment_timeout` in seconds; 0: the first target only."""

    def __init__(self, targets: Sequence[str] | None, order: SendOrder, assignment_timeout: float, now: float) -> None:
        super().__init__(targets)
        self._is_any = order is SendOrder.ANY or targets is None
        self._step = assignment_timeout
        self._begun = now
        self._open = 1
        """How many targets may take it by now."""

    def verdict(self, client: str, now: float) -> Verdict:
        """See the module."""
        if self.given or not self._concerns(client):
            return Verdict.SKIP
        if self._is_any or self.targets is None or client in self.targets[: self._open]:
            return Verdict.TAKE
        return Verdict.BLOCK

    def advance(self, now: float) -> None:
        """Open it for more targets."""
        if self._step and self.targets:
            self._open = min(1 + int((now - self._begun) / self._step), len(self.targets))

    def status(self, now: float, dead: Collection[str]) -> TaskCompletionStatus | None:
        """See the module."""
        if self.given:
            [taken] = self.given
            if taken.state is State.DONE:
                return TaskCompletionStatus.OK
            lost = taken.state in UNANSWERED and taken.client in dead
            return TaskCompletionStatus.CLIENT_DEAD if lost else None
        if self.targets is None:
            return None
        able = self.targets if self._is_any or self._step else self.targets[:1]
        return TaskCompletionStatus.CLIENT_DEAD if all(name in dead for name in able) else None

    @property
    def deadline(self) -> float | None:
        """When the next target may take it."""
        if self.given or self._is_any or not self._step or self.targets is None or self._open >= len(self.targets):
            return None
        return self._begun + self._open * self._step
