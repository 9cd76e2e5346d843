"""The table of `zmqfl.protocol.responder`, a test per row. The callee is b, instance 9; its caller site-1, 7."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.protocol import responder as module
from zmqfl.protocol.commands import Call, Command, FlowFate, Invoke, Outcome, Post, Revoke
from zmqfl.protocol.responder import MAX_ERROR, SHORT, SLOWEST, Responder
from zmqfl.wire.messages import MAX_PROBED, NO_DEADLINE, Cancel, Fate, Fire, Flag, Probe, Probed, Reply, Request

CONFIG = CellConfig(dead_after=5.0, heartbeat=1.0, reply_entries=4, reply_bytes=1000)
ME = ("b", 500, 9)
BORN, AT = 40.0, 100.0
GOOD = Outcome(CellReturnCode.OK, "", 1, {"h": 1}, (b"answer",))
UNKNOWN = "outcome unknown: a copy may have run before this start"


def fresh(config: CellConfig = CONFIG) -> Responder:
    return Responder(config, lambda: ME, lambda: BORN)


def request(
    responder: Responder,
    id: int = 1,
    flags: int = 0,
    *,
    to_instance: int = 0,
    done_below: int = 0,
    still_open: tuple[int, ...] = (),
    remaining: int = NO_DEADLINE,
    instance: int = 7,
    origin: str = "site-1",
    timeout: float = 10.0,
    now: float = AT,
) -> list[Command]:
    message = Request(
        origin, 1000, instance, id, to_instance, 1, done_below, [*still_open], round(timeout * 1000),
        "c", "t", 0, [1], {"k": 1}, "trace",
    )  # fmt: skip
    return responder.receive_request(message, flags, remaining, (b"x",), now)


def invoked(commands: list[Command]) -> Call:
    [invoke] = commands
    assert isinstance(invoke, Invoke)
    return invoke.call


def replied(outcome: Outcome, id: int = 1, instance: int = 7, origin: str = "site-1") -> Post:
    lengths = [len(body) for body in outcome.bodies]
    message = Reply(*ME, id, instance, outcome.code, outcome.error, outcome.codec, lengths, outcome.headers)
    return Post(message, (origin,), outcome.bodies)


def refused(code: CellReturnCode, error: str, id: int = 1) -> list[Command]:
    return [replied(Outcome(code, error), id)]


def probe(responder: Responder, *ids: int, now: float = AT, instance: int = 7) -> list[Command]:
    return responder.receive_probe(Probe("site-1", 1000, instance, 0, [*ids]), now)


def probed(*fates: tuple[int, Fate, int], uptime: float = AT - BORN) -> Post:
    return Post(Probed(*ME, 0, 7, round(uptime * 1000), [[*fate] for fate in fates]), ("site-1",))


def cancel(responder: Responder, id: int = 1, instance: int = 7) -> list[Command]:
    return responder.receive_cancel(Cancel("site-1", 1000, instance, id), AT)


def waiting() -> tuple[Responder, Call]:
    responder = fresh()
    return responder, invoked(request(responder))


def done() -> Responder:
    responder, call = waiting()
    call.started = AT
    assert responder.reply(call, GOOD, AT + 1) == [replied(GOOD)]
    return responder


def test_none__request__waiting() -> None:
    responder, call = waiting()
    assert (call.origin, call.instance, call.id, call.channel, call.topic) == ("site-1", 7, 1, "c", "t")
    assert (call.headers, call.bodies, call.timeout, call.expects_reply) == ({"k": 1}, (b"x",), 10.0, True)
    assert (responder.running, responder.is_waiting(call), responder.deadline) == (1, True, AT + 10)


def test_none__request_dup_to_this_instance__waiting() -> None:
    assert invoked(request(fresh(), flags=Flag.DUP, to_instance=9)).id == 1


@pytest.mark.parametrize("to_instance", [0, 8])
def test_none__request_dup_otherwise__outcome_unknown(to_instance: int) -> None:
    responder = fresh()
    assert request(responder, flags=Flag.DUP, to_instance=to_instance) == refused(CellReturnCode.COMM_ERROR, UNKNOWN)
    assert responder.running == 0
    assert request(responder) == refused(CellReturnCode.COMM_ERROR, UNKNOWN)  # a late copy does not run after all


def test_none__request_dup_that_was_forgotten__outcome_unknown() -> None:
    responder = done()
    responder.handle_timeout(AT + 15)
    dup = request(responder, flags=Flag.DUP, to_instance=9, now=AT + 16)
    assert dup == refused(CellReturnCode.COMM_ERROR, UNKNOWN)


def test_none__request_too_many_entries__refused() -> None:
    responder = fresh()
    calls = [invoked(request(responder, id)) for id in range(1, 5)]
    text = "4 requests or 0 bytes of replies of this caller wait for its confirmation"
    assert request(responder, 5) == refused(CellReturnCode.SERVICE_UNAVAILABLE, text, 5)
    assert request(responder, 5) == refused(CellReturnCode.SERVICE_UNAVAILABLE, text, 5)  # remembered
    assert invoked(request(responder, 1, origin="site-2")).origin == "site-2"  # each caller has its own
    responder.reply(calls[0], GOOD, AT)
    assert len(request(responder, 6, done_below=2, still_open=())) == 1
    assert responder.running == 5


def test_none__request_too_many_bytes__refused() -> None:
    responder, call = waiting()
    responder.reply(call, Outcome(CellReturnCode.OK, bodies=(bytes(600), bytes(400))), AT)
    text = "1 requests or 1000 bytes of replies of this caller wait for its confirmation"
    assert request(responder, 2) == refused(CellReturnCode.SERVICE_UNAVAILABLE, text, 2)
    assert invoked(request(responder, 3, done_below=2)).id == 3


def test_none__request_that_the_caller_has_ended__dropped() -> None:
    responder = fresh()
    invoked(request(responder, 9, done_below=9, still_open=(4,)))
    assert request(responder, 3) == []
    assert invoked(request(responder, 4)).id == 4
    assert responder.counters["ended_requests"] == 1


def test_none__request_whose_deadline_has_passed__refused() -> None:
    text = "the deadline had passed when the request arrived"
    assert request(fresh(), remaining=0) == refused(CellReturnCode.TIMEOUT, text)


def test_none__request_while_it_stops__refused() -> None:
    responder = fresh()
    responder.closed = True
    assert request(responder) == refused(CellReturnCode.SERVICE_UNAVAILABLE, "b is stopping")
    assert responder.receive_fire(Fire("site-1", 1000, 7, 2, "c", "t", 0, []), (), AT) == []


def test_waiting__request_again__waiting() -> None:
    responder, _ = waiting()
    for flags in (0, Flag.DUP):
        assert request(responder, flags=flags, to_instance=9) == []
    assert responder.counters == {"requests": 1, "duplicates": 2}


def test_waiting__handler_has_ended__done() -> None:
    responder, call = waiting()
    assert responder.reply(call, GOOD, AT + 1) == [replied(GOOD)]
    assert (responder.running, responder.is_waiting(call), call.bodies) == (0, False, ())
    assert responder.reply(call, GOOD, AT + 2) == []
    assert responder.counters["late_results"] == 1


def test_waiting__time_out_from_the_handlers_start__done() -> None:
    responder, call = waiting()
    assert responder.handle_timeout(AT + 10) == []  # it has not begun
    call.started = AT + 12
    assert responder.handle_timeout(AT + 21.9) == []
    late = Outcome(CellReturnCode.TIMEOUT, "the handler took longer than 10 s")
    assert responder.handle_timeout(AT + 22) == [Revoke(call), replied(late)]
    assert call.revoked
    assert responder.reply(call, GOOD, AT + 23) == []
    responder.handle_timeout(AT + 26.9)  # dead_after begins when the handler's time is over
    assert probe(responder, 1, now=AT + 26.9)[0] == replied(late)
    responder.handle_timeout(AT + 27)
    assert probe(responder, 1, now=AT + 27) == [probed((1, Fate.FORGOTTEN, 0), uptime=AT + 27 - BORN)]


def test_waiting__cancel__done() -> None:
    responder, call = waiting()
    assert cancel(responder) == [Revoke(call)]
    assert call.revoked
    assert responder.reply(call, GOOD, AT + 1) == []
    assert request(responder) == []  # a late copy does not run
    assert probe(responder, 1) == [probed((1, Fate.DONE, 0))]


def test_cancel_of_what_is_not_waiting__nothing() -> None:
    responder = done()
    assert cancel(responder) == []
    assert cancel(responder, id=2) == []
    assert cancel(responder, instance=8) == []


def test_done__request_again__reply_again() -> None:
    assert request(done()) == [replied(GOOD)]


def test_done__probe__reply_again() -> None:
    assert probe(done(), 1) == [replied(GOOD), probed((1, Fate.DONE, 0))]


LONG = Outcome(CellReturnCode.OK, "", 1, {}, (bytes(SHORT + 1),))
PATIENCE = 2 * CONFIG.heartbeat + (SHORT + 1) / SLOWEST


def answered() -> Responder:
    """It has given a reply that is not short."""
    responder = fresh(replace(CONFIG, reply_bytes=2 * SHORT))
    assert responder.reply(invoked(request(responder)), LONG, AT) == [replied(LONG)]
    return responder


def test_done__probe_while_a_long_reply_may_be_on_its_way__done() -> None:
    responder = answered()
    said = probed((1, Fate.DONE, 0), uptime=AT + PATIENCE - 0.1 - BORN)
    assert probe(responder, 1, now=AT + PATIENCE - 0.1) == [said]
    later = AT + PATIENCE
    assert probe(responder, 1, now=later) == [replied(LONG), probed((1, Fate.DONE, 0), uptime=later - BORN)]
    assert len(probe(responder, 1, now=later + PATIENCE)) == 1  # it doubles
    assert len(probe(responder, 1, now=later + 2 * PATIENCE)) == 2


def test_done__probe_after_a_link_broke__reply_again() -> None:
    responder = answered()
    assert responder.receive_probe(Probe("site-1", 1000, 7, 0, [1]), AT, Flag.DUP)[0] == replied(LONG)
    responder.link_up(lambda name: name == "site-2")
    assert len(probe(responder, 1)) == 1
    responder.link_up(lambda name: name == "site-1")
    assert probe(responder, 1)[0] == replied(LONG)


def test_none__probe_while_the_reply_flows__on_its_way() -> None:
    flowing = {(1, 7, "site-1")}
    responder = Responder(CONFIG, lambda: ME, lambda: BORN, lambda *key: key in flowing)
    responder.reply(invoked(request(responder, flags=Flag.REPEATABLE)), GOOD, AT)
    assert probe(responder, 1) == [probed((1, Fate.DONE, 0))]
    request(responder, 2, done_below=2)  # though it might be forgotten by now
    assert probe(responder, 1) == [probed((1, Fate.DONE, 0))]
    flowing.clear()
    assert probe(responder, 1) == [probed((1, Fate.FORGOTTEN, 0))]


def test_done__done_below_has_passed_it__none() -> None:
    responder = done()
    invoked(request(responder, 2, done_below=2))
    assert probe(responder, 1) == [probed((1, Fate.FORGOTTEN, 0))]


def test_done__still_open__done() -> None:
    responder = done()
    invoked(request(responder, 300, done_below=300, still_open=(1,)))
    assert probe(responder, 1) == [replied(GOOD), probed((1, Fate.DONE, 0))]


def test_waiting__done_below_has_passed_it__waiting() -> None:
    responder, call = waiting()
    invoked(request(responder, 2, done_below=2))
    assert responder.is_waiting(call)


def test_an_older_done_below_changes_nothing() -> None:
    responder = done()
    invoked(request(responder, 300, done_below=300))
    invoked(request(responder, 301, done_below=1))  # it was overtaken
    assert request(responder, 2) == []


def test_done__time_out_and_dead_after_are_over__none_but_remembered() -> None:
    responder = done()
    responder.handle_timeout(AT + 14.9)
    assert probe(responder, 1)[1:] == [probed((1, Fate.DONE, 0))]
    responder.handle_timeout(AT + 15)
    assert responder.deadline is None
    assert probe(responder, 1, 2) == [probed((1, Fate.FORGOTTEN, 0), (2, Fate.NEVER, 0))]


def test_entries_are_looked_after_twice_in_dead_after() -> None:
    responder = done()
    responder.handle_timeout(AT + 10)
    assert responder.deadline == AT + 12.5


def test_any__request_of_a_newer_start_of_the_caller__none() -> None:
    responder, call = waiting()
    second = invoked(request(responder, 2))
    responder.reply(second, GOOD, AT)
    revoke, invoke = request(responder, 1, instance=8)
    assert revoke == Revoke(call)
    assert call.revoked
    assert isinstance(invoke, Invoke)
    assert responder.running == 1
    assert responder.reply(call, GOOD, AT) == []
    assert probe(responder, 1, 2) == [probed((1, Fate.NEVER, 0), (2, Fate.NEVER, 0))]


def test_fates_of_what_runs_and_waits() -> None:
    responder, call = waiting()
    assert probe(responder, 1, 2) == [probed((1, Fate.QUEUED, 0), (2, Fate.NEVER, 0))]
    call.started = AT
    assert probe(responder, 1, now=AT + 1.5) == [probed((1, Fate.RUNNING, 1500), uptime=AT + 1.5 - BORN)]
    assert probe(responder, 1, instance=8) == [
        Post(Probed(*ME, 0, 8, 60_000, [[1, Fate.NEVER, 0]]), ("site-1",)),
    ]


def test_a_callee_that_may_not_be_the_only_one_of_its_name_cannot_vouch_for_the_past() -> None:
    responder = Responder(CONFIG, lambda: ME, lambda: None)
    assert probe(responder, 1) == [probed((1, Fate.NEVER, 0), uptime=0)]


def test_a_probe_is_answered_for_each_id_once_and_for_no_more_than_fit() -> None:
    responder = done()
    [reply, answer] = probe(responder, *[1] * 1000)
    assert reply == replied(GOOD)
    assert answer == probed((1, Fate.DONE, 0))
    [answer] = probe(responder, *range(2, 1000))
    assert isinstance(answer, Post)
    assert isinstance(answer.message, Probed)
    assert len(answer.message.fates) == MAX_PROBED


def test_a_fire_runs_and_is_not_remembered() -> None:
    responder = fresh()
    fire = Fire("site-1", 1000, 7, 2, "c", "t", 0, [1], {"k": 1}, "trace")
    call = invoked(responder.receive_fire(fire, (b"x",), AT))
    assert not call.expects_reply
    assert (call.timeout, call.size, responder.running) == (CONFIG.request_timeout, 1, 0)
    assert responder.reply(call, GOOD, AT + 1) == []
    assert responder.counters == {"fires": 1}


def test_a_long_error_is_cut() -> None:
    responder, call = waiting()
    [post] = responder.reply(call, Outcome(CellReturnCode.PROCESS_EXCEPTION, "x" * 100_000), AT)
    assert isinstance(post, Post)
    assert isinstance(post.message, Reply)
    assert len(post.message.error) == MAX_ERROR


def test_refusals_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REFUSED", 2)
    responder = fresh()
    answers = [request(responder, id, remaining=0) for id in (1, 2, 3)]
    assert [len(answer) for answer in answers] == [1, 1, 0]
    assert probe(responder, 3) == [probed((3, Fate.NEVER, 0))]  # so it is sent again


def test_refusals_do_not_count_as_entries() -> None:
    responder = fresh()
    for id in range(1, 10):
        request(responder, id, remaining=0)
    assert invoked(request(responder, 10)).id == 10
    responder.handle_timeout(AT + 15)
    assert invoked(request(responder, 11, now=AT + 15)).id == 11


def test_callers_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CALLERS", 3)
    responder = fresh()
    calls = {name: invoked(request(responder, origin=name)) for name in ("site-1", "site-2", "site-3")}
    responder.reply(calls["site-2"], GOOD, AT)
    invoked(request(responder, origin="site-4"))  # in the place of site-2, of which nothing runs
    assert [responder.is_waiting(call) for call in calls.values()] == [True, False, True]
    forgotten = responder.receive_probe(Probe("site-2", 1000, 7, 0, [1]), AT)
    assert forgotten == [replace(probed((1, Fate.FORGOTTEN, 0)), targets=("site-2",))]
    dup = request(responder, 1, Flag.DUP, to_instance=9, origin="site-2")
    assert isinstance(dup[0], Invoke)  # id 1 is the oldest that a caller can have
    invoked(request(responder, origin="site-5"))  # all are busy: it is remembered beyond the number
    assert len(responder._callers) == 5


def test_a_dup_of_a_caller_that_may_have_been_dropped_is_not_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CALLERS", 1)
    responder = done()
    invoked(request(responder, origin="site-2"))
    assert invoked(request(responder, 5)).id == 5  # a first copy
    dup = request(responder, 4, Flag.DUP, to_instance=9)
    assert dup == refused(CellReturnCode.COMM_ERROR, UNKNOWN, 4)


def test_deadlines() -> None:
    responder = fresh()
    assert not responder.deadline
    call = invoked(request(responder))
    assert responder.deadline == AT + 10
    invoked(request(responder, 2, timeout=3.0))
    assert responder.deadline == AT + 3
    call.started = AT
    responder.handle_timeout(AT + 3)
    assert responder.deadline == AT + 5.5


# -------------------------------------------------------------------------------------------------------------- flows


def flow_ended(responder: Responder, fate: FlowFate, id: int = 1, target: str = "site-1") -> list[Command]:
    return responder.flow_ended(Reply(*ME, id, 7, "ok", "", 1, [6]), target, fate, "too big: why")


def full() -> Responder:
    """Its caller's bytes are used up."""
    responder, call = waiting()
    responder.reply(call, Outcome(CellReturnCode.OK, bodies=(bytes(1000),)), AT)
    return responder


def test_done__its_flow_has_delivered_the_reply__the_payload_is_dropped() -> None:
    responder = full()
    assert flow_ended(responder, FlowFate.DELIVERED) == []
    assert invoked(request(responder, 2)).id == 2
    assert flow_ended(responder, FlowFate.DELIVERED) == []
    assert request(responder)[0] == replied(Outcome(CellReturnCode.OK))  # the caller has ended it


def test_done__the_caller_takes_no_such_reply__msg_too_big_instead() -> None:
    responder = full()
    told = replied(Outcome(CellReturnCode.MSG_TOO_BIG, "too big: why"))
    assert flow_ended(responder, FlowFate.TOO_BIG) == [told]
    assert request(responder) == [told]
    assert invoked(request(responder, 2)).id == 2


@pytest.mark.parametrize("fate", [FlowFate.LOST, FlowFate.REFUSED])
def test_done__its_flow_was_lost_or_refused__kept(fate: FlowFate) -> None:
    responder = full()
    assert flow_ended(responder, fate) == []
    assert probe(responder, 1)[0] == replied(Outcome(CellReturnCode.OK, bodies=(bytes(1000),)))


def test_a_flow_of_what_is_not_known_ends() -> None:
    responder, _ = waiting()
    for fate in FlowFate:
        assert flow_ended(responder, fate) == []  # it runs still: another start's reply
        assert flow_ended(responder, fate, id=2) == []
        assert flow_ended(responder, fate, target="site-2") == []
