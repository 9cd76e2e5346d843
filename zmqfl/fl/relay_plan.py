"""A task that goes from one client to the next.

    order        is given to                                       ends ok when
    SEQUENTIAL   one target after another, in this order           the last one has answered
    ANY          one target after another, as they ask             the last one has answered

    event                                   next place of the route
    the result has been processed           the one behind
    its result time-out is over             the one behind; ends TIMEOUT after the last
    its assignment time-out is over         it may be taken by the one behind, too; ends TIMEOUT after the last
    a client asks that is no target         becomes the last target, if the relay is dynamic

Source: reference "flare" 6.5.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from zmqfl.fl.task import SendOrder, TaskCompletionStatus
from zmqfl.fl.task_plans import UNANSWERED, Assignment, Plan, State, Verdict


class Relay(Plan):
    """See the module.

    `assignment_timeout`: seconds after which the next target may take it, too, and, after the last, the relay ends
    TIMEOUT; 0: none. `result_timeout`: seconds after which it goes on without a result; 0: none. `dynamic`: clients
    that are no targets become the last ones when they ask.
    """

    def __init__(
        self,
        targets: Sequence[str],
        order: SendOrder,
        assignment_timeout: float,
        result_timeout: float,
        dynamic: bool,
        now: float,
    ) -> None:
        super().__init__(None)
        self._route = list(targets)
        self._is_any = order is SendOrder.ANY
        self._step = assignment_timeout
        self._patience = result_timeout
        self._dynamic = dynamic
        self._place = 0
        """Where on the route it is, or is offered."""
        self._since = now
        """When it was first offered at this place."""
        self._open = 1
        self._left = 0
        """How many assignments the route has gone on from."""
        self._last_failed = False

    def verdict(self, client: str, now: float) -> Verdict:
        """See the module."""
        if self._dynamic and client not in self._route:
            self._route.append(client)
        left = self._route[self._place + (self._current is not None) :]
        if client not in left:
            return Verdict.SKIP
        if self._current is not None:
            return Verdict.BLOCK
        return Verdict.TAKE if self._is_any or client in left[: self._open] else Verdict.BLOCK

    def take(self, assignment: Assignment, now: float) -> None:
        """The route goes on from this client; in the order ANY the others come later."""
        super().take(assignment, now)
        index = self._route.index(assignment.client, self._place)
        if self._is_any:
            self._route.insert(self._place, self._route.pop(index))
        else:
            self._place = index

    def advance(self, now: float) -> None:
        """Go on when the result has come, or does not come."""
        current = self._current
        if current is None and len(self.given) > self._left:
            self._go_on(now, failed=False)
        elif current is not None and self._result_due is not None and now >= self._result_due:
            current.state = State.GIVEN_UP
            self._go_on(now, failed=True)
        if self._step:
            self._open = 1 + int((now - self._since) / self._step)

    def status(self, now: float, dead: Collection[str]) -> TaskCompletionStatus | None:
        """See the module."""
        left = self._route[self._place :]
        if not left:
            return TaskCompletionStatus.TIMEOUT if self._last_failed else TaskCompletionStatus.OK
        if (current := self._current) is not None:
            lost = current.state in UNANSWERED and current.client in dead and not self._patience
            return TaskCompletionStatus.CLIENT_DEAD if lost else None
        if self._step and self._open > len(left):
            return TaskCompletionStatus.TIMEOUT
        able = left if self._is_any or self._step else left[:1]
        return TaskCompletionStatus.CLIENT_DEAD if all(name in dead for name in able) else None

    @property
    def deadline(self) -> float | None:
        """When a time-out of its own is over."""
        if self._current is not None:
            return self._result_due
        return self._since + self._open * self._step if self._step else None

    @property
    def _current(self) -> Assignment | None:
        """Who has it, and has not brought it to an end."""
        if self.given and self.given[-1].state in (*UNANSWERED, State.ANSWERED):
            return self.given[-1]
        return None

    @property
    def _result_due(self) -> float | None:
        current = self._current
        if current is None or current.state not in UNANSWERED or not self._patience:
            return None
        return current.since + self._patience

    def _go_on(self, now: float, failed: bool) -> None:
        self._left = len(self.given)
        self._place += 1
        self._since, self._open = now, 1
        self._last_failed = failed
