"""The relay of `zmqfl.fl.relay_plan`, a test per row of its tables."""

from __future__ import annotations

from tests.fl.test_task_plans import ANY, BLOCK, DEAD, OK, SEQUENTIAL, SKIP, TAKE, TIMEOUT, answer, take, verdicts
from zmqfl.fl.relay_plan import Relay
from zmqfl.fl.task import SendOrder
from zmqfl.fl.task_plans import State


def relay(
    targets: str, order: SendOrder = SEQUENTIAL, assignment: float = 0, result: float = 0, dynamic: bool = False
) -> Relay:
    return Relay(list(targets), order, assignment, result, dynamic, 10)


def test_relay_goes_along_its_route() -> None:
    plan = relay("aba")
    for client, others in (("a", "b"), ("b", "a"), ("a", "c")):
        blocked = [SKIP if each == "c" else BLOCK for each in others]
        assert verdicts(plan, others) == blocked
        assignment = take(plan, client)
        assert plan.status(0, ()) is None
        answer(plan, assignment)
    assert plan.status(0, ()) is OK


def test_relay_blocks_only_those_that_are_still_to_come() -> None:
    plan = relay("abc")
    answer(plan, take(plan, "a"))
    take(plan, "b")
    assert verdicts(plan, "abcd") == [SKIP, SKIP, BLOCK, SKIP]


def test_relay_passes_over_who_does_not_ask() -> None:
    plan = relay("abc", assignment=3)
    assert (verdicts(plan, "abc", 12.9), plan.deadline) == ([TAKE, BLOCK, BLOCK], 13)
    assert verdicts(plan, "abc", 13) == [TAKE, TAKE, BLOCK]
    answer(plan, take(plan, "b", 14), 15)
    assert verdicts(plan, "abc", 15) == [SKIP, SKIP, TAKE]
    assert plan.deadline == 18
    plan.advance(18)
    assert plan.status(18, ()) is TIMEOUT


def test_relay_goes_on_without_a_result() -> None:
    plan = relay("ab", result=5)
    a = take(plan, "a", 11)
    assert plan.deadline == 16
    plan.advance(16)
    assert (a.state, plan.status(16, ()), verdicts(plan, "ab", 16)) == (State.GIVEN_UP, None, [SKIP, TAKE])
    take(plan, "b", 17)
    plan.advance(22)
    assert plan.status(22, ()) is TIMEOUT


def test_relay_lets_newcomers_join() -> None:
    plan = relay("a", dynamic=True)
    a = take(plan, "a")
    assert verdicts(plan, "b") == [BLOCK]
    answer(plan, a)
    assert plan.status(0, ()) is None
    answer(plan, take(plan, "b"))
    assert plan.status(0, ()) is OK


def test_relay_in_any_order() -> None:
    plan = relay("abc", ANY)
    for client in "cab":
        answer(plan, take(plan, client))
    assert plan.status(0, ()) is OK


def test_run_F07_relay_ends_when_nobody_can_go_on() -> None:
    assert relay("ab").status(0, {"a"}) is DEAD
    assert relay("ab").status(0, {"b"}) is None
    assert relay("ab", assignment=5).status(0, {"a"}) is None
    assert relay("ab", ANY).status(0, {"a"}) is None
    assert relay("ab", ANY).status(0, {"a", "b"}) is DEAD
    plan = relay("ab")
    take(plan, "a")
    assert plan.status(0, {"a"}) is DEAD
    plan = relay("ab", result=5)
    take(plan, "a")
    assert plan.status(0, {"a"}) is None
