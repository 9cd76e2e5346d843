"""The table of `zmqfl.protocol.requester`, a test per row. The caller is site-1, instance 7; its callee is "b"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Command, Finish, FlowFate, Outcome, Post
from zmqfl.protocol.requester import GRACE, MANY_ENDED, MOST_OPEN, SLOWEST, Requester
from zmqfl.wire.messages import (
    MAX_PROBED,
    NO_DEADLINE,
    Cancel,
    Fate,
    Flag,
    Probe,
    Probed,
    Reply,
    Request,
    Return,
    ReturnReason,
)

CONFIG = CellConfig(heartbeat=1.0, dead_after=5.0, send_budget=1000)
ME = ("site-1", 1000, 7)
AT = 100.0
OLD = 3600.0
"""Seconds of uptime of a callee that is older than any request here."""
FIRST, PATIENT = Flag.MUST_UNDERSTAND, Flag.MUST_UNDERSTAND | Flag.PATIENT
DUP = PATIENT | Flag.DUP
BROKE = Flag.PATIENT | Flag.DUP
"""Of a PROBE: since the last one the route has broken."""
OK, TIMEOUT, COMM_ERROR = CellReturnCode.OK, CellReturnCode.TIMEOUT, CellReturnCode.COMM_ERROR
UNREACHABLE, UNAVAILABLE = CellReturnCode.TARGET_UNREACHABLE, CellReturnCode.SERVICE_UNAVAILABLE


def ask(
    requester: Requester,
    id: int = 1,
    targets: tuple[str, ...] = ("b",),
    timeout: float = 60.0,
    now: float = AT,
    **more: Any,
) -> list[Command]:
    return requester.request(
        id, targets, "c", "t", 0, {}, more.get("bodies", (b"x",)), timeout, more.get("deadline"), "", now
    )


def copy(
    id: int = 1,
    attempt: int = 1,
    flags: Flag = FIRST,
    to_instance: int = 0,
    targets: tuple[str, ...] = ("b",),
    done_below: int = 1,
    still_open: tuple[int, ...] = (),
    timeout: int = 60_000,
    remaining: int = NO_DEADLINE,
    body: bytes = b"x",
) -> Post:
    message = Request(
        *ME, id, to_instance, attempt, done_below, [*still_open], timeout, "c", "t", 0, [len(body)], {}, ""
    )  # fmt: skip
    return Post(message, targets, (body,), flags, remaining)


def probe(number: int, *ids: int, target: str = "b", flags: Flag = Flag.PATIENT) -> Post:
    return Post(Probe(*ME, number, [*ids]), (target,), flags=flags)


def cancelled(id: int = 1, target: str = "b") -> Post:
    return Post(Cancel(*ME, id), (target,))


def finish(code: CellReturnCode, error: str = "", id: int = 1, target: str = "b", body: bytes | None = None) -> Finish:
    return Finish(id, target, Outcome(code, error, bodies=() if body is None else (body,)))


def reply(requester: Requester, id: int = 1, origin: str = "b", code: str = "ok", now: float = AT) -> list[Command]:
    return requester.receive_reply(Reply(origin, 5, 9, id, 7, code, "", 0, [1]), (b"y",), now)


def probed(
    requester: Requester,
    fate: int,
    now: float,
    *,
    id: int = 1,
    uptime: float = OLD,
    since: float = 0.0,
    number: int = 0,
) -> list[Command]:
    fates = [[id, fate, round(since * 1000)]]
    return requester.receive_probed(Probed("b", 5, 9, number, 7, round(uptime * 1000), fates), now)


def back(
    requester: Requester,
    reason: ReturnReason = ReturnReason.UNREACHABLE,
    *,
    kind: int = Request.KIND,
    attempt: int = 1,
    id: int = 1,
    origin: str = "server",
    targets: tuple[str, ...] = ("b",),
) -> list[Command]:
    text = "server has no route to b"
    return requester.receive_return(Return(origin, 5, 3, id, 7, kind, attempt, reason, text, [*targets]), AT)


def out(**more: Any) -> Requester:
    """A request to b whose copy 1 may have arrived."""
    requester = Requester(CONFIG, lambda: ME)
    ask(requester, **more)
    return requester


def clean() -> Requester:
    """A request to b of which no copy is out."""
    requester = out()
    assert back(requester, ReturnReason.SUSPECTED) == []
    return requester


def nothing_is_kept(requester: Requester) -> bool:
    requester.handle_timeout(AT + 1000)
    return (requester.open, requester.retained, requester.deadline, requester._waiting) == (0, 0, None, {})


def test_request__out() -> None:
    requester = Requester(CONFIG, lambda: ME)
    assert ask(requester) == [copy()]
    assert (requester.open, requester.retained, requester.deadline) == (1, 1, AT + 1)


def test_request_to_several__out_at_each() -> None:
    requester = Requester(CONFIG, lambda: ME)
    assert ask(requester, targets=("b", "c", "b")) == [copy(targets=("b", "c"))]
    assert reply(requester, origin="c") == [finish(OK, target="c", body=b"y")]
    assert (requester.open, requester.retained) == (1, 1)
    assert reply(requester) == [finish(OK, body=b"y")]
    assert nothing_is_kept(requester)


def test_request_to_nobody__nothing() -> None:
    requester = Requester(CONFIG, lambda: ME)
    assert ask(requester, targets=()) == []
    assert nothing_is_kept(requester)


def test_request__beyond_the_send_budget__refused() -> None:
    requester = out(bodies=(bytes(900),))
    text = "the send budget of this cell is full; wait for replies"
    assert ask(requester, 2, ("b", "c"), bodies=(bytes(101),)) == [
        finish(UNAVAILABLE, text, 2),
        finish(UNAVAILABLE, text, 2, "c"),
    ]
    assert ask(requester, 3, bodies=(bytes(100),))[0] == copy(3, body=bytes(100))


def test_out__return_of_the_last_copy_may_heal__clean() -> None:
    requester = clean()
    assert requester.handle_timeout(AT + 0.4) == []
    assert requester.handle_timeout(AT + 1) == [copy(attempt=2, flags=PATIENT)]  # no copy was out: not a DUP


@pytest.mark.parametrize("reason", [ReturnReason.SUSPECTED, ReturnReason.BUSY])
def test_out__return_of_a_copy_and_another_is_out__out(reason: ReturnReason) -> None:
    requester = out()
    requester.link_up(lambda name: True, AT)
    probed(requester, Fate.NEVER, AT)  # copy 2
    assert back(requester, reason, attempt=1) == []
    assert requester.handle_timeout(AT + 1) == [probe(2, 1, flags=BROKE)]


def test_out__return_unreachable_no_other_copy__ended() -> None:
    requester = out()
    assert back(requester) == [finish(COMM_ERROR, "server cannot forward: server has no route to b")]
    assert nothing_is_kept(requester)


def test_out__return_unreachable_here_no_other_copy__ended_target_unreachable() -> None:
    requester = out()
    assert back(requester, origin="site-1") == [finish(UNREACHABLE, "server has no route to b")]
    assert nothing_is_kept(requester)


def test_out__a_beat_has_passed__probe() -> None:
    requester = out()
    assert requester.handle_timeout(AT + 0.4) == []
    assert requester.handle_timeout(AT + 1) == [probe(1, 1)]
    assert requester.deadline == AT + 2
    assert requester.handle_timeout(AT + 2) == [probe(2, 1)]


def test_out__near_the_time_out__probe_sooner() -> None:
    requester = out(timeout=0.8)
    assert requester.deadline == pytest.approx(AT + 0.8)  # the callee's clock may have begun later
    assert requester.handle_timeout(AT + 0.8) == [probe(1, 1)]


def test_probes_of_a_beat_share_a_message() -> None:
    requester = Requester(CONFIG, lambda: ME)
    for i in range(MAX_PROBED + 10):
        ask(requester, i + 1, now=AT + i * 0.001)
    assert requester.handle_timeout(AT + 1) == [probe(1, *range(1, 257)), probe(2, *range(257, 267))]
    assert requester.deadline == AT + 2
    assert requester.counters["probes"] == 2


def test_clean__a_beat_has_passed__out() -> None:
    requester = clean()
    assert requester.handle_timeout(AT + 1) == [copy(attempt=2, flags=PATIENT)]
    assert requester.handle_timeout(AT + 2) == [probe(1, 1)]
    assert requester.counters["resent"] == 1


def test_clean__the_link_is_up__out() -> None:
    requester = clean()
    assert requester.link_up(lambda name: name == "c", AT + 0.1) == []
    assert requester.link_up(lambda name: name == "b", AT + 0.1) == [copy(attempt=2, flags=PATIENT)]


def test_out__the_link_is_up__probe() -> None:
    requester = out()
    assert requester.link_up(lambda name: name == "b", AT + 0.1) == [probe(1, 1, flags=BROKE)]
    assert requester.handle_timeout(AT + 1.1) == [probe(2, 1)]  # a reply that was lost by then is asked for once


def test_out__probed_queued__the_callees_clock_counts() -> None:
    requester = out(timeout=10.0)
    assert probed(requester, Fate.QUEUED, AT + 8) == []
    assert finish(TIMEOUT, "no reply within 10 s") not in requester.handle_timeout(AT + 18)
    assert requester.handle_timeout(AT + 18.5)[1:] == [finish(TIMEOUT, "no reply within 10 s")]


def test_out__probed_running__the_callees_clock_counts() -> None:
    requester = out(timeout=10.0)
    assert probed(requester, Fate.RUNNING, AT + 8, since=3.0) == []
    assert len(requester.handle_timeout(AT + 15.4)) == 1
    assert requester.handle_timeout(AT + 15.5)[1:] == [finish(TIMEOUT, "no reply within 10 s")]


def test_out__probed_done__the_reply_is_on_its_way() -> None:
    requester = out()
    assert probed(requester, Fate.DONE, AT + 1) == []
    assert reply(requester, now=AT + 1.1) == [finish(OK, body=b"y")]


def test_out__probed_never_callee_older_than_this__out() -> None:
    requester = out()
    assert probed(requester, Fate.NEVER, AT + 1) == []  # it may be under way: its patience is two beats
    again = copy(attempt=2, flags=DUP, to_instance=9)
    assert probed(requester, Fate.NEVER, AT + 2.1) == [again]
    assert probed(requester, Fate.NEVER, AT + 3) == []  # and now it is four
    assert probed(requester, Fate.NEVER, AT + 6.3) == [copy(attempt=3, flags=DUP, to_instance=9)]


def test_out__probed_never_after_the_route_broke__out_at_once() -> None:
    requester = out()
    requester.link_up(lambda name: True, AT + 0.1)
    assert probed(requester, Fate.NEVER, AT + 0.2) == [copy(attempt=2, flags=DUP, to_instance=9)]
    assert probed(requester, Fate.NEVER, AT + 0.3) == []  # once per break


def test_a_big_payload_that_may_be_under_way_is_not_sent_again_soon() -> None:
    config = replace(CONFIG, send_budget=10 * SLOWEST)
    requester = Requester(config, lambda: ME)
    ask(requester, bodies=(bytes(4 * SLOWEST),))
    assert probed(requester, Fate.NEVER, AT + 5.9) == []  # two beats, and four seconds for four times 32 KiB
    assert len(probed(requester, Fate.NEVER, AT + 6.1)) == 1


def test_out__probed_never_otherwise__ended() -> None:
    text = "outcome unknown: the callee has restarted or has forgotten the request"
    requester = out()
    requester.handle_timeout(AT + 3)
    assert probed(requester, Fate.NEVER, AT + 3.1, uptime=3.0, number=1) == [finish(COMM_ERROR, text)]
    assert nothing_is_kept(requester)


def test_out__probed_never_callee_perhaps_older__asked_again() -> None:
    requester = out()
    requester.handle_timeout(AT + 1)
    assert probed(requester, Fate.NEVER, AT + 3, uptime=2.9, number=1) == []  # of AT - 0.9 to AT + 0.1
    requester.handle_timeout(AT + 3)
    assert probed(requester, Fate.NEVER, AT + 3.2, uptime=2.9, number=1) == []  # late
    assert probed(requester, Fate.NEVER, AT + 3.2, uptime=3.3, number=2) == [
        copy(attempt=2, flags=DUP, to_instance=9),
    ]


def test_out__probed_never_callee_once_known_to_be_older__out() -> None:
    requester = out()
    assert probed(requester, Fate.NEVER, AT + 1, uptime=1.1) == []
    assert probed(requester, Fate.NEVER, AT + 6, uptime=5.9) == [copy(attempt=2, flags=DUP, to_instance=9)]


def test_out__probed_never_callee_perhaps_older_for_too_long__ended() -> None:
    requester = out()
    requester.handle_timeout(AT + 4)
    [ended] = probed(requester, Fate.NEVER, AT + 5, uptime=4.9, number=1)
    assert isinstance(ended, Finish)


def test_out__probed_forgotten__ended() -> None:
    text = "outcome unknown: the callee has restarted or has forgotten the request"
    assert probed(out(), Fate.FORGOTTEN, AT + 3) == [finish(COMM_ERROR, text)]


def test_out__probed_a_fate_of_the_future__out() -> None:
    requester = out()
    assert probed(requester, 99, AT + 3) == []
    assert requester.open == 1


def test_out__probed_by_somebody_else_or_malformed__out() -> None:
    requester = out()
    stranger = Probed("c", 5, 9, 0, 7, 10_000_000, [[1, Fate.FORGOTTEN, 0], [2, Fate.FORGOTTEN, 0]])
    assert requester.receive_probed(stranger, AT + 3) == []
    assert requester.receive_probed(replace(stranger, origin="b", fates=[[1], [], [1, 5, 0, 0]]), AT + 3) == []
    assert requester.open == 1


def test_a_request_that_was_clean_for_long_is_as_old_as_its_copies() -> None:
    requester = clean()
    requester.handle_timeout(AT + 10)  # copy 2
    assert probed(requester, Fate.NEVER, AT + 12.1, uptime=5.0) == [copy(attempt=3, flags=DUP, to_instance=9)]


def test_out__return_unreachable_for_a_copy_while_another_is_out__ended() -> None:
    requester = out()
    probed(requester, Fate.NEVER, AT + 2.1)  # copy 2
    text = "outcome unknown: server cannot reach it: server has no route to b"
    assert back(requester, attempt=2) == [finish(COMM_ERROR, text)]


def test_out__return_unreachable_for_a_probe__ended() -> None:
    requester = out()
    ask(requester, 2, ("b", "c"))
    requester.handle_timeout(AT + 1)
    text = "outcome unknown: server cannot reach it: server has no route to b"
    assert back(requester, kind=Probe.KIND, id=1) == [finish(COMM_ERROR, text), finish(COMM_ERROR, text, 2)]
    assert requester.open == 1


def test_any__return_of_an_earlier_probe__the_later_one_will_tell() -> None:
    requester = out()
    requester.handle_timeout(AT + 1)
    ask(requester, 2, now=AT + 1)  # by a route that has come back
    requester.handle_timeout(AT + 2)
    assert back(requester, kind=Probe.KIND, id=1) == []
    assert requester.open == 2


def test_any__return_of_an_earlier_copy__the_later_one_will_tell() -> None:
    requester = out()
    probed(requester, Fate.NEVER, AT + 2.1)  # copy 2
    assert back(requester, attempt=1) == []
    assert requester.open == 1


def test_out__return_suspected_for_a_probe__out() -> None:
    requester = out()
    assert requester.handle_timeout(AT + 1) == [probe(1, 1)]
    assert back(requester, ReturnReason.SUSPECTED, kind=Probe.KIND, id=1) == []
    assert probed(requester, Fate.NEVER, AT + 1.1) == [copy(attempt=2, flags=DUP, to_instance=9)]


@pytest.mark.parametrize("state", [out, clean])
def test_any__reply__ended(state: Any) -> None:
    requester = state()
    assert reply(requester) == [finish(OK, body=b"y")]
    assert reply(requester) == []
    assert requester.counters["late_replies"] == 1
    assert nothing_is_kept(requester)


def test_any__reply_of_a_cell_that_was_not_asked__nothing() -> None:
    requester = out()
    assert reply(requester, origin="c") == []
    assert reply(requester, id=2) == []
    assert requester.open == 1


def test_any__reply_with_a_code_of_the_future__comm_error() -> None:
    assert reply(out(), code="teapot") == [finish(COMM_ERROR, body=b"y")]


def test_out__target_gone__ended_outcome_unknown() -> None:
    requester = out(targets=("b", "c"))
    gone = requester.peer_gone(lambda name: name == "b", "b is gone: no connection for 5 s", AT)
    assert gone == [finish(COMM_ERROR, "outcome unknown: b is gone: no connection for 5 s")]
    assert requester.open == 1


def test_clean__target_gone__ended_unreachable() -> None:
    requester = clean()
    gone = requester.peer_gone(lambda name: name == "b", "b is gone: no connection for 5 s", AT)
    assert gone == [finish(UNREACHABLE, "b is gone: no connection for 5 s")]
    assert nothing_is_kept(requester)


def test_any__time_out__ended_and_cancelled() -> None:
    requester = out(timeout=2.0)
    assert requester.handle_timeout(AT + 2 + GRACE) == [cancelled(), finish(TIMEOUT, "no reply within 2 s")]
    assert nothing_is_kept(requester)


def test_any__deadline__ended_and_cancelled() -> None:
    requester = Requester(CONFIG, lambda: ME)
    assert ask(requester, deadline=2.0) == [copy(remaining=2000)]
    assert requester.handle_timeout(AT + 1.5) == [probe(1, 1)]
    assert probed(requester, Fate.QUEUED, AT + 1.9) == []
    assert requester.handle_timeout(AT + 2) == [cancelled(), finish(TIMEOUT, "the deadline has passed")]


def test_a_later_copy_has_what_is_left_of_the_deadline() -> None:
    requester = out(deadline=5.0)
    assert probed(requester, Fate.NEVER, AT + 2.5) == [copy(attempt=2, flags=DUP, to_instance=9, remaining=2500)]


def test_any__cancel__ended_without_a_finish() -> None:
    requester = out(targets=("b", "c"))
    assert requester.cancel(1) == [cancelled(), cancelled(target="c")]
    assert requester.cancel(1) == []
    assert reply(requester) == []
    assert nothing_is_kept(requester)


def test_returns_for_what_has_ended_or_was_never_asked_mean_nothing() -> None:
    requester = out()
    assert back(requester, id=2) == []
    assert back(requester, targets=("c", "d")) == []
    assert back(requester, kind=Cancel.KIND) == []
    assert back(requester, kind=Probe.KIND, targets=("c",)) == []
    assert requester.open == 1


# ------------------------------------------------------------------------------------------ what the callee may forget


def done(commands: list[Command]) -> tuple[int, list[int]]:
    [post] = commands
    assert isinstance(post, Post)
    assert isinstance(post.message, Request)
    return post.message.done_below, post.message.still_open


def test_done_below_is_the_oldest_that_is_open() -> None:
    requester = Requester(CONFIG, lambda: ME)
    assert [done(ask(requester, id)) for id in (1, 2, 3)] == [(1, []), (1, []), (1, [])]
    reply(requester, 1)
    assert done(ask(requester, 4)) == (2, [])
    reply(requester, 2)
    reply(requester, 3)
    reply(requester, 4)
    assert done(ask(requester, 5)) == (5, [])
    assert done(ask(requester, 6, ("c",))) == (6, [])


def test_a_long_request_does_not_hold_up_what_may_be_forgotten() -> None:
    requester = Requester(CONFIG, lambda: ME)
    ask(requester, 1)
    ask(requester, 200)
    assert done(ask(requester, MANY_ENDED)) == (1, [])
    assert done(ask(requester, MANY_ENDED + 1)) == (MANY_ENDED + 1, [1, 200, MANY_ENDED])


def test_a_long_request_to_one_of_several_targets_does_not_either() -> None:
    requester = Requester(CONFIG, lambda: ME)
    ask(requester, 1, ("c",))
    ask(requester, 300)
    assert done(ask(requester, 400, ("b", "c", "d"))) == (400, [1, 300])


def test_with_more_open_than_fit_only_the_oldest_counts() -> None:
    requester = Requester(CONFIG, lambda: ME)
    for id in range(1, MOST_OPEN + 1):
        ask(requester, id, bodies=())
    assert done(ask(requester, 1000, bodies=())) == (1, [])
    reply(requester, 1)
    assert done(ask(requester, 1001, bodies=())) == (2, [])
    assert done(ask(requester, 1002, ("d",), bodies=())) == (1002, [])


def test_with_many_open_at_several_targets_only_the_oldest_counts() -> None:
    requester = Requester(CONFIG, lambda: ME)
    for id in range(1, 2 * MOST_OPEN):
        ask(requester, id, ("bc"[id % 2],), bodies=())
    assert done(ask(requester, 2000, ("b", "c"), bodies=())) == (1, [])


def test_times_that_no_field_can_hold_are_cut() -> None:
    requester = Requester(CONFIG, lambda: ME)
    for id, timeout, expected in ((1, 0.0001, 1), (2, 1e30, NO_DEADLINE - 1), (3, float("inf"), NO_DEADLINE - 1)):
        [post] = ask(requester, id, timeout=timeout)
        assert isinstance(post, Post)
        assert isinstance(post.message, Request)
        assert post.message.timeout == expected


# -------------------------------------------------------------------------------------------------------------- flows

LONG = bytes(CONFIG.segment + 1)


def flowing(*ids: int) -> tuple[Requester, set[tuple[int, str]]]:
    """Requests to b whose payload travels as a flow, and those that are still on their way."""
    under_way = {(id, "b") for id in ids}
    requester = Requester(CONFIG, lambda: ME, lambda id, name: (id, name) in under_way)
    for id in ids:
        ask(requester, id, bodies=(LONG,), timeout=10.0)
    return requester, under_way


def test_a_flow_is_the_callers_memory_and_not_the_queues() -> None:
    requester, _ = flowing(1, 2)
    assert (requester.open, requester.retained) == (2, 0)
    ask(requester, 3)
    assert requester.retained == 1


def test_out__its_flow_is_on_its_way__not_probed_nor_sent_again() -> None:
    requester, _ = flowing(1)
    for beat in range(1, 10):
        assert requester.handle_timeout(AT + beat) == []
    assert requester.link_up(lambda name: True, AT + 9.5) == []
    assert probed(requester, Fate.NEVER, AT + 9.6) == []
    assert probed(requester, Fate.FORGOTTEN, AT + 9.6) == []


def test_out__its_flow_or_that_of_the_reply_moves__the_time_out_begins_anew() -> None:
    requester, _ = flowing(1)
    requester.flow_moved(1, "b", AT + 10)
    requester.flow_moved(1, "x", AT + 10)
    requester.flow_moved(2, "b", AT + 10)
    assert requester.handle_timeout(AT + 20) == []
    assert requester.handle_timeout(AT + 20 + GRACE) == [cancelled(), finish(TIMEOUT, "no reply within 10 s")]


def test_out__its_flow_moves__but_not_beyond_the_deadline() -> None:
    requester = Requester(CONFIG, lambda: ME, lambda id, name: True)
    ask(requester, bodies=(LONG,), timeout=10.0, deadline=12.0)
    requester.flow_moved(1, "b", AT + 11)
    assert requester.handle_timeout(AT + 12) == [cancelled(), finish(TIMEOUT, "the deadline has passed")]


def test_out__its_flow_has_arrived__a_beat_then_probe() -> None:
    requester, under_way = flowing(1)
    under_way.clear()
    assert requester.flow_ended(1, "b", FlowFate.DELIVERED, "", AT + 5) == []
    assert requester.handle_timeout(AT + 5.4) == []
    assert requester.handle_timeout(AT + 6) == [probe(1, 1)]


@pytest.mark.parametrize(
    ("fate", "code"), [(FlowFate.REFUSED, UNAVAILABLE), (FlowFate.TOO_BIG, CellReturnCode.MSG_TOO_BIG)]
)
def test_out__its_flow_was_refused__ended(fate: FlowFate, code: CellReturnCode) -> None:
    requester, _ = flowing(1)
    assert requester.flow_ended(1, "b", fate, "why", AT) == [finish(code, "why")]
    assert requester.flow_ended(1, "b", fate, "why", AT) == []


@pytest.mark.parametrize("fate", [FlowFate.REFUSED, FlowFate.TOO_BIG])
def test_out__its_flow_was_refused_but_another_copy_is_out__probe(fate: FlowFate) -> None:
    requester, under_way = flowing(1)
    under_way.clear()
    assert requester.flow_ended(1, "b", FlowFate.LOST, "why", AT) == []
    [post] = probed(requester, Fate.NEVER, AT + 1)
    assert isinstance(post, Post)
    assert isinstance(post.message, Request)
    assert (post.message.attempt, post.message.to_instance) == (2, 9)
    assert requester.flow_ended(1, "b", fate, "why", AT + 2) == []
    assert [command.message.KIND for command in requester.handle_timeout(AT + 3) if isinstance(command, Post)] == [
        Probe.KIND
    ]


def test_out__its_flow_was_lost__a_beat_then_probe_and_again_at_once_if_it_never_came() -> None:
    requester, under_way = flowing(1)
    under_way.clear()
    assert requester.flow_ended(1, "b", FlowFate.LOST, "why", AT) == []
    assert requester.handle_timeout(AT + 1) == [probe(1, 1, flags=BROKE)]
    [post] = probed(requester, Fate.NEVER, AT + 1.1, number=1)
    assert isinstance(post, Post)
    assert post.flags == DUP
