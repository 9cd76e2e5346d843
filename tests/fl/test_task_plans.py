"""The plans of `zmqfl.fl.task_plans`, a test per row of their table."""

from __future__ import annotations

import pytest

from zmqfl.fl.task import SendOrder, TaskCompletionStatus
from zmqfl.fl.task_plans import Assignment, Broadcast, BroadcastForever, Plan, Send, State, Verdict

TAKE, SKIP, BLOCK = Verdict.TAKE, Verdict.SKIP, Verdict.BLOCK
OK, TIMEOUT, DEAD = TaskCompletionStatus.OK, TaskCompletionStatus.TIMEOUT, TaskCompletionStatus.CLIENT_DEAD
SEQUENTIAL, ANY = SendOrder.SEQUENTIAL, SendOrder.ANY


def take(plan: Plan, client: str, now: float = 0.0) -> Assignment:
    assert plan.verdict(client, now) is TAKE
    assignment = Assignment(f"{client}@{now}", "t", client, now)
    plan.take(assignment, now)
    return assignment


def answer(plan: Plan, assignment: Assignment, now: float = 0.0) -> None:
    assignment.state = State.DONE
    plan.advance(now)


def verdicts(plan: Plan, names: str, now: float = 0.0) -> list[Verdict]:
    plan.advance(now)
    return [plan.verdict(name, now) for name in names]


# -- broadcast ---------------------------------------------------------------------------------------------------------


def test_broadcast_is_given_to_each_target_once() -> None:
    plan = Broadcast(["a", "b"], 0, 0)
    assert verdicts(plan, "abc") == [TAKE, TAKE, SKIP]
    a = take(plan, "a")
    assert verdicts(plan, "ab") == [SKIP, TAKE]
    answer(plan, a)
    assert verdicts(plan, "ab") == [SKIP, TAKE]
    assert plan.status(0, ()) is None
    answer(plan, take(plan, "b"))
    assert plan.status(0, ()) is OK


def test_broadcast_for_anyone_ends_by_min_responses() -> None:
    plan = Broadcast(None, 2, 0)
    answer(plan, take(plan, "a"))
    assert plan.status(0, ()) is None
    answer(plan, take(plan, "late"))
    assert plan.status(0, ()) is OK


def test_run_F05_broadcast_waits_for_more_than_enough() -> None:
    plan = Broadcast(["a", "b", "c"], 1, 5)
    answer(plan, take(plan, "a", 1), 2)
    assert (plan.status(2, ()), plan.deadline) == (None, 7)
    answer(plan, take(plan, "b", 3), 4)
    assert (plan.status(6.9, ()), plan.deadline) == (None, 7)
    assert plan.status(7, ()) is OK


def test_broadcast_waits_for_a_result_that_has_come() -> None:
    plan = Broadcast(["a", "b", "c"], 1, 0)
    a, b = take(plan, "a"), take(plan, "b")
    b.state = State.ANSWERED
    answer(plan, a)
    assert plan.status(0, ()) is None
    answer(plan, b)
    assert plan.status(0, ()) is OK


def test_run_F07_broadcast_ends_when_all_that_are_missing_are_dead() -> None:
    plan = Broadcast(["a", "b", "c"], 0, 0)
    answer(plan, take(plan, "a"))
    take(plan, "b")
    assert plan.status(0, {"b"}) is None
    assert plan.status(0, {"b", "c"}) is DEAD
    plan = Broadcast(["a", "b"], 1, 60)
    answer(plan, take(plan, "a"))
    assert plan.status(0, {"b"}) is OK


def test_broadcast_forever_is_given_whenever_a_target_asks() -> None:
    plan, other = BroadcastForever(["a"]), BroadcastForever(None)
    assert (plan.is_endless, verdicts(plan, "ab"), verdicts(other, "ab")) == (True, [TAKE, SKIP], [TAKE, TAKE])
    for _ in range(50):
        answer(plan, take(plan, "a"))
    assert len(plan.given) == 1
    assert (plan.rank("a"), other.rank("a"), Broadcast(None, 1, 0).rank("a")) == (50, 0, -1)
    assert plan.status(1e9, {"a"}) is None


# -- send --------------------------------------------------------------------------------------------------------------


def test_send_to_the_first_only() -> None:
    plan = Send(["a", "b"], SEQUENTIAL, 0, 10)
    assert verdicts(plan, "abc", 1e6) == [TAKE, BLOCK, SKIP]
    assert plan.deadline is None
    a = take(plan, "a")
    assert verdicts(plan, "abc") == [SKIP, SKIP, SKIP]
    assert plan.status(0, ()) is None
    answer(plan, a)
    assert plan.status(0, ()) is OK


def test_send_opens_for_the_next_ones() -> None:
    plan = Send(["a", "b", "c"], SEQUENTIAL, 2, 10)
    assert (verdicts(plan, "abc", 11.9), plan.deadline) == ([TAKE, BLOCK, BLOCK], 12)
    assert (verdicts(plan, "abc", 12), plan.deadline) == ([TAKE, TAKE, BLOCK], 14)
    assert (verdicts(plan, "abc", 100), plan.deadline) == ([TAKE, TAKE, TAKE], None)


@pytest.mark.parametrize("targets", [["a", "b"], None])
def test_send_to_any(targets: list[str] | None) -> None:
    plan = Send(targets, ANY, 0, 0)
    take(plan, "b")
    assert verdicts(plan, "a") == [SKIP]


def test_run_F07_send_ends_with_its_client() -> None:
    assert Send(["a", "b"], SEQUENTIAL, 0, 0).status(0, {"a"}) is DEAD
    assert Send(["a", "b"], SEQUENTIAL, 5, 0).status(0, {"a"}) is None
    assert Send(["a", "b"], SEQUENTIAL, 5, 0).status(0, {"a", "b"}) is DEAD
    assert Send(["a", "b"], ANY, 0, 0).status(0, {"a"}) is None
    assert Send(None, ANY, 0, 0).status(0, {"a"}) is None
    plan = Send(["a", "b"], ANY, 0, 0)
    a = take(plan, "a")
    assert plan.status(0, {"b"}) is None
    assert plan.status(0, {"a"}) is DEAD
    a.state = State.ANSWERED
    assert plan.status(0, {"a"}) is None
