"""The standing tasks of a run, and the clients that ask for one: a machine without I/O.

    client        event                                      next       command
    away          ask, nothing to do                         waiting    none; TryAgain when `poll` is over
    waiting       a plan says TAKE                           offered    Assign
    offered       ask again                                  offered    none: what is under way goes to the last ask
    offered       sent                                       sent
    sent          ask again: it has started anew             offered    Assign, resend, with the same id
    any           ask, the run has ended                     away       EndRun
    offered,sent  submit                                     answered   TAKEN: the result is to be processed
    answered      submit again                               answered   REPEATED
    answered      processed                                  done       Complete, if that was the last one needed
    no such       submit                                                UNKNOWN, or LATE: its task has ended

    task          event                                      next       command
    standing      the plan has a status                      ended      Complete
    standing      its time-out                               ended      Complete TIMEOUT
    standing      cancel, or the end of the run              ended      Complete with that status
    standing      a client is lost, `grace` seconds ago      by plan    Complete CLIENT_DEAD

A client works on one task at a time, but the results of `MOST_UNPROCESSED` may wait for callbacks of the controller;
beyond that it is given nothing more, so that a slow callback cannot fill the memory. Which task a client is given the
plans say, in the order in which the tasks were scheduled, endless ones last. Source: reference "flare" 6.4, 6.5.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from zmqfl.fl.task import TaskCompletionStatus
from zmqfl.fl.task_plans import UNANSWERED, Assignment, Plan, State, Verdict

MOST_UNPROCESSED: Final = 4
"""Results of one client that wait for callbacks; each may hold a model."""
MOST_ENDED: Final = 10_000
"""Ended assignments that are remembered, to know a late or repeated result from one that never was."""


@dataclass(frozen=True, slots=True)
class Assign:
    """Give a task to a client: run what comes before sending, send, and say `sent` or `failed`."""

    task_id: str
    assignment: str
    client: str
    resend: bool


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Tell a client that there is nothing to do now."""

    client: str


@dataclass(frozen=True, slots=True)
class EndRun:
    """Tell a client that the run has ended."""

    client: str


@dataclass(frozen=True, slots=True)
class Complete:
    """A task has ended."""

    task_id: str
    status: TaskCompletionStatus


BoardCommand = Assign | TryAgain | EndRun | Complete


class Submission(Enum):
    """What a result is to the board."""

    TAKEN = auto()
    REPEATED = auto()
    LATE = auto()
    UNKNOWN = auto()


@dataclass(slots=True)
class _Standing:
    """A task. `due`: when its time-out is over."""

    id: str
    plan: Plan
    due: float | None


class TaskBoard:
    """See the module. `ids` makes names of assignments that nobody can guess. `poll`, `grace`: seconds."""

    def __init__(self, ids: Callable[[], str], poll: float, grace: float) -> None:
        self._ids = ids
        self._poll = poll
        self._grace = grace
        self._tasks: dict[str, _Standing] = {}
        self._assignments: dict[str, Assignment] = {}
        """Those of standing tasks by their ids."""
        self._ended: OrderedDict[str, bool] = OrderedDict()
        """Assignments of ended tasks -> whether they were answered."""
        self._asking: dict[str, float] = {}
        """Clients that wait -> when they are told to try again."""
        self._unprocessed: Counter[str] = Counter()
        self._lost: dict[str, float] = {}
        """Clients that are lost -> since when."""
        self._gone: set[str] = set()
        """Clients that will not come back by themselves."""
        self.is_ended = False

    # -- tasks -------------------------------------------------------------------------------------------------------

    def schedule(self, task_id: str, plan: Plan, timeout: float, now: float) -> list[BoardCommand]:
        """A task stands from now on. After the end of the run it is aborted at once."""
        if self.is_ended:
            return [Complete(task_id, TaskCompletionStatus.ABORTED)]
        self._tasks[task_id] = _Standing(task_id, plan, now + timeout if timeout else None)
        return self._review([task_id], now)

    def cancel(self, task_id: str, status: TaskCompletionStatus, now: float) -> list[BoardCommand]:
        """End a task, if it stands."""
        if task_id not in self._tasks:
            return []
        return [self._complete(task_id, status), *self._serve_all(now)]

    def cancel_all(self, status: TaskCompletionStatus, now: float) -> list[BoardCommand]:
        """End all tasks that stand."""
        return [self._complete(task_id, status) for task_id in list(self._tasks)] + self._serve_all(now)

    def end(self, status: TaskCompletionStatus, now: float) -> list[BoardCommand]:
        """The run has ended: so do its tasks, and each client that asks is told so."""
        ended: list[BoardCommand] = [self._complete(task_id, status) for task_id in list(self._tasks)]
        self.is_ended = True
        return ended + self._serve_all(now)

    @property
    def standing(self) -> int:
        """How many tasks stand."""
        return len(self._tasks)

    # -- clients -----------------------------------------------------------------------------------------------------

    def ask(self, client: str, now: float) -> list[BoardCommand]:
        """A client wants a task; its former question, if it waits, is void."""
        self.find(client)
        self._asking[client] = now + self._poll
        return self._serve(client, now)

    def sent(self, assignment: str, now: float) -> None:
        """It is on its way to the client."""
        if (found := self._assignments.get(assignment)) is not None and found.state is State.OFFERED:
            found.state, found.since = State.SENT, now
            self._asking.pop(found.client, None)

    def failed(self, assignment: str, status: TaskCompletionStatus, now: float) -> list[BoardCommand]:
        """It could not be sent, which ends its task. The client was told to try again."""
        found = self._assignments.get(assignment)
        if found is None:
            return []
        self._asking.pop(found.client, None)
        found.state = State.GIVEN_UP
        return self.cancel(found.task_id, status, now)

    def is_wanted(self, client: str, assignment: str) -> bool:
        """Whether a result would be taken."""
        found = self._assignments.get(assignment)
        return found is not None and found.client == client and found.state in UNANSWERED

    def submit(self, client: str, assignment: str, now: float) -> Submission:
        """A client's result has come."""
        found = self._assignments.get(assignment)
        if found is None:
            was_answered = self._ended.get(assignment)
            if was_answered is None:
                return Submission.UNKNOWN
            return Submission.REPEATED if was_answered else Submission.LATE
        if found.client != client:
            return Submission.UNKNOWN
        if found.state is State.GIVEN_UP:
            return Submission.LATE
        if found.state not in UNANSWERED:
            return Submission.REPEATED
        found.state = State.ANSWERED
        self._unprocessed[client] += 1
        return Submission.TAKEN

    def processed(self, client: str, assignment: str, now: float) -> list[BoardCommand]:
        """The result of a client, which was TAKEN, has been processed."""
        self._unprocessed[client] -= 1
        found = self._assignments.get(assignment)
        if found is None:
            return self._serve(client, now)
        found.state = State.DONE
        if self._tasks[found.task_id].plan.is_endless:
            self._forget(found)
        return self._review([found.task_id], now) + self._serve_all(now)

    def lose(self, client: str, now: float) -> list[BoardCommand]:
        """The network lost a client; it has `grace` seconds to come back. Nobody waits for its question any more."""
        self._asking.pop(client, None)
        self._lost.setdefault(client, now)
        return self._review(list(self._tasks), now)

    def leave(self, client: str, now: float) -> list[BoardCommand]:
        """A client will not come back by itself."""
        self._gone.add(client)
        return self.lose(client, now)

    def find(self, client: str) -> None:
        """A client is there, or is back."""
        self._lost.pop(client, None)
        self._gone.discard(client)

    def lost_since(self, client: str) -> float | None:
        """When the network lost a client; None while it is there."""
        return self._lost.get(client)

    # -- time --------------------------------------------------------------------------------------------------------

    def handle_timeout(self, now: float) -> list[BoardCommand]:
        """Do what is due."""
        tired = [client for client, due in self._asking.items() if now >= due]
        commands: list[BoardCommand] = self._review(list(self._tasks), now) + self._serve_all(now)
        for client in tired:
            if self._asking.get(client, now + 1) <= now:
                del self._asking[client]
                commands.append(TryAgain(client))
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do; None: never."""
        times = [*self._asking.values()]
        for task in self._tasks.values():
            times += [time for time in (task.due, task.plan.deadline) if time is not None]
        if self._tasks:
            times += [since + self._grace for client, since in self._lost.items() if client not in self._judged]
        return min(times, default=None)

    # -- within ------------------------------------------------------------------------------------------------------

    _judged: frozenset[str] = frozenset()
    """Clients whose death the plans know."""

    def _dead(self, now: float) -> frozenset[str]:
        dead = {client for client, since in self._lost.items() if client in self._gone or now >= since + self._grace}
        self._judged = frozenset(dead)
        return self._judged

    def _review(self, task_ids: Iterable[str], now: float) -> list[BoardCommand]:
        """End those tasks whose time has come."""
        ended: list[BoardCommand] = []
        dead = self._dead(now)
        for task_id in task_ids:
            task = self._tasks[task_id]
            task.plan.advance(now)
            status = task.plan.status(now, dead)
            if status is None and task.due is not None and now >= task.due:
                status = TaskCompletionStatus.TIMEOUT
            if status is not None:
                ended.append(self._complete(task_id, status))
        return ended + self._serve_all(now)

    def _complete(self, task_id: str, status: TaskCompletionStatus) -> Complete:
        task = self._tasks.pop(task_id)
        for assignment in [each for each in self._assignments.values() if each.task_id == task_id]:
            self._forget(assignment)
        return Complete(task.id, status)

    def _forget(self, assignment: Assignment) -> None:
        """All but whether it was answered."""
        del self._assignments[assignment.id]
        self._ended[assignment.id] = assignment.state in (State.ANSWERED, State.DONE)
        while len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def _serve_all(self, now: float) -> list[BoardCommand]:
        return [command for client in list(self._asking) for command in self._serve(client, now)]

    def _serve(self, client: str, now: float) -> list[BoardCommand]:
        """What a client that waits is told now; nothing while it has to wait."""
        if client not in self._asking:
            return []
        if self.is_ended:
            del self._asking[client]
            return [EndRun(client)]
        for assignment in self._assignments.values():
            if assignment.client == client and assignment.state is State.OFFERED:
                return []
            if assignment.client == client and assignment.state is State.SENT:
                return [self._assign(assignment, resend=True)]
        if self._unprocessed[client] >= MOST_UNPROCESSED:
            return []
        for task in sorted(self._tasks.values(), key=lambda each: each.plan.rank(client)):
            task.plan.advance(now)
            verdict = task.plan.verdict(client, now)
            if verdict is Verdict.BLOCK:
                return []
            if verdict is Verdict.TAKE:
                assignment = Assignment(self._ids(), task.id, client, now)
                self._assignments[assignment.id] = assignment
                task.plan.take(assignment, now)
                return [self._assign(assignment, resend=False)]
        return []

    def _assign(self, assignment: Assignment, resend: bool) -> Assign:
        assignment.state = State.OFFERED
        self._asking.pop(assignment.client, None)
        return Assign(assignment.task_id, assignment.id, assignment.client, resend)

    def __repr__(self) -> str:
        return (
            f"<TaskBoard {len(self._tasks)} tasks, {len(self._asking)} clients wait, {len(self._lost)} are lost"
            f"{', ended' if self.is_ended else ''}>"
        )
