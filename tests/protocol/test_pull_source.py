"""The table of `zmqfl.protocol.pull_source`, a test per row. The owner offers R1, ten chunks of 10 bytes, in T1."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from zmqfl.errors import CellReturnCode
from zmqfl.protocol import pull_source as module
from zmqfl.protocol.commands import Answer, Call, Command, Expired, Outcome, Read, Served
from zmqfl.protocol.pull_source import (
    CHANNEL,
    IDLE,
    MOST_GRANTED,
    MOST_QUEUED,
    ON_ITS_WAY,
    SILENCE,
    UNKNOWN,
    PullSource,
    changed,
)

OK, INVALID, BUSY = CellReturnCode.OK, CellReturnCode.INVALID_REQUEST, CellReturnCode.SERVICE_UNAVAILABLE
AT = 100.0
FINE = Outcome(OK)
NOBODY = Outcome(INVALID, UNKNOWN)
AGAIN = Outcome(BUSY, "this pull does not seem to wait for it; ask again")
numbers = count(1)


@pytest.fixture(autouse=True)
def _two_chunks_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SERVED_BYTES", 20)


def fresh(size: int = 100, receivers: list[str] | None = None, timeout: float = 60.0) -> PullSource:
    source = PullSource()
    source.new_transaction("T1", timeout, AT)
    assert source.add("T1", "R1", size, 10, "F", "model.pt", receivers, AT)
    return source


def call(topic: str, origin: str = "a", instance: int = 1, **headers: Any) -> Call:
    return Call(origin, instance, next(numbers), CHANNEL, topic, 0, {"r": "R1", "p": 3, **headers}, (), 10.0, True)


def get(index: int, *waits_for: int, origin: str = "a") -> Call:
    return call("get", origin, i=index, w=[*waits_for, index])


def reads(source: PullSource, now: float = AT, free: tuple[str, ...] = ("a", "b", "c")) -> list[Command]:
    """All that is read now."""
    out: list[Command] = []
    while commands := source.next_reads(lambda name: name in free, now):
        out += commands
    return out


def read(request: Call, size: int = 10) -> Read:
    index = request.headers["i"]
    return Read(request, "R1", index, index * 10, size)


def chunk(digest: bytes = b"d") -> Outcome:
    return Outcome(OK, headers={"d": digest}, codec=2, bodies=(b"0123456789",))


# -- open ------------------------------------------------------------------------------------------------------------


def test_open__a_check__then_size_and_grid() -> None:
    source, request = fresh(), call("open")
    assert source.receive(request, AT) == [Read(request, "R1", None, 0, 0)]
    grid = Outcome(OK, headers={"n": 100, "k": 10, "f": "F", "name": "model.pt"})
    assert source.read(request, "R1", None, FINE, AT) == [Answer(request, grid)]


def test_open__the_source_is_not_what_it_was() -> None:
    source, request = fresh(), call("open")
    source.receive(request, AT)
    assert source.read(request, "R1", None, changed("model.pt"), AT) == [Answer(request, changed("model.pt"))]


@pytest.mark.parametrize("topic", ["open", "get", "have", "done"])
def test_a_guess_learns_nothing(topic: str) -> None:
    source = fresh(receivers=["b"])
    for request in (call(topic), call(topic, origin="b", r="R2"), call(topic, origin="b", r=None)):
        assert source.receive(request, AT) == [Answer(request, NOBODY)]
    assert source.counters["pulls_refused"] == 3


def test_the_command_line_of_a_receiver_may_have_it_too() -> None:
    source = fresh(receivers=["b"])
    request = call("open", "b.admin-1")
    assert source.receive(request, AT) == [Read(request, "R1", None, 0, 0)]
    assert source.receive(other := call("open", "b.site"), AT) == [Answer(other, NOBODY)]


# -- get -------------------------------------------------------------------------------------------------------------


def test_get__waits_for_room_in_the_lane__then_read() -> None:
    source, request = fresh(), get(4)
    assert source.receive(request, AT) == []
    assert reads(source, free=("b",)) == []
    assert source.waiting
    assert reads(source) == [read(request)]
    assert source.read(request, "R1", 4, chunk(), AT) == [Answer(request, chunk())]


def test_the_last_chunk_is_shorter__an_empty_file_has_one_empty_chunk() -> None:
    source, request = fresh(95), get(9)
    source.receive(request, AT)
    assert reads(source) == [read(request, 5)]
    source, request = fresh(0), get(0)
    source.receive(request, AT)
    assert reads(source) == [read(request, 0)]


@pytest.mark.parametrize("index", [10, -1, None, "0", True, 1.0])
def test_there_is_no_such_chunk(index: Any) -> None:
    source, request = fresh(), call("get", i=index, w=[])
    [answer] = source.receive(request, AT)
    assert isinstance(answer, Answer)
    assert (answer.outcome.code, answer.outcome.error) == (INVALID, f"model.pt has no chunk {index!r}")


def test_each_receiver_has_its_share__and_they_take_turns() -> None:
    source = fresh()
    asked = {name: [get(index, *range(index), origin=name) for index in range(4)] for name in "abc"}
    for name in "abc":
        for request in asked[name]:
            source.receive(request, AT)
    assert reads(source) == [read(asked[name][0]) for name in "abc"], "20 bytes for three: the least is one chunk"
    source.receive(call("have", "b", w=[1, 2, 3]), AT)
    assert reads(source) == [read(asked["b"][1])]


def test_one_turn_gives_each_of_them_one_chunk() -> None:
    source = fresh()
    asked = {name: [get(0, origin=name), get(1, 0, origin=name)] for name in "ab"}
    module.SERVED_BYTES = 1000
    for name in "ab":
        for request in asked[name]:
            source.receive(request, AT)
    one = [read(asked["a"][0]), read(asked["b"][0])]
    assert source.next_reads(lambda name: True, AT) == one
    assert source.next_reads(lambda name: True, AT) == [read(asked["a"][1]), read(asked["b"][1])]
    assert source.next_reads(lambda name: True, AT) == []


def test_each_get_and_have_says_what_has_come() -> None:
    source = fresh()
    first, second, third = get(0), get(1, 0), get(2, 0, 1)
    for request in (first, second, third):
        source.receive(request, AT)
    assert reads(source) == [read(first), read(second)]
    fourth = get(3, 1, 2)
    source.receive(fourth, AT)
    assert reads(source) == [read(third)]
    have = call("have", w=[3])
    assert source.receive(have, AT) == [Answer(have, FINE)]
    assert reads(source) == [read(fourth)]


def test_what_an_earlier_request_says_is_out_of_date() -> None:
    source = fresh()
    first, old, new = get(0), call("have", w=[0]), get(1, 0)
    for request in (first, new):
        source.receive(request, AT)
    reads(source)
    assert source.receive(old, AT) == [Answer(old, FINE)]
    third = get(2, 0, 1)
    source.receive(third, AT)
    assert reads(source) == [], "0 and 1 are still on their way"


def test_who_waits_for_a_chunk_no_longer_has_no_turn() -> None:
    source = fresh()
    first, second = get(0), get(1, 0)
    source.receive(first, AT)
    source.receive(second, AT)
    have = call("have", w=[1])
    assert source.receive(have, AT) == [Answer(have, FINE), Answer(first, AGAIN)]
    assert reads(source) == [read(second)]


def test_a_get_that_was_given_up_is_not_read() -> None:
    source = fresh()
    first, second = get(0), get(1, 0)
    source.receive(first, AT)
    source.receive(second, AT)
    first.revoked = True
    assert reads(source) == [read(second)]


def test_a_get_again_while_its_chunk_is_on_its_way__waits() -> None:
    source = fresh()
    first, second = get(0), get(1, 0)
    source.receive(first, AT)
    source.receive(second, AT)
    reads(source)
    source.receive(first, AT + 1)  # sent again by a requester that has heard nothing: the same number
    assert reads(source, AT + 1) == []
    assert source.deadline == AT + ON_ITS_WAY
    assert source.handle_timeout(AT + ON_ITS_WAY) == []
    assert reads(source, AT + ON_ITS_WAY) == [read(first)]


def test_a_get_again__its_chunk_comes_meanwhile() -> None:
    source = fresh()
    first, second = get(0), get(1, 0)
    for request in (first, second):
        source.receive(request, AT)
    reads(source)
    source.receive(first, AT + 1)
    have = call("have", w=[1])
    assert source.receive(have, AT + 2) == [Answer(have, FINE), Answer(first, AGAIN)]
    assert not source.waiting


def test_a_get_again__a_later_chunk_comes_first__lost() -> None:
    source = fresh()
    first, second = get(0), get(1, 0)
    source.receive(first, AT)
    reads(source)
    source.receive(second, AT + 1)
    reads(source, AT + 1)
    source.receive(first, AT + 2)
    source.receive(call("have", w=[0]), AT + 3)
    assert reads(source, AT + 3) == [read(first)]


def test_what_must_be_lost_is_read_again__though_others_wait_before_it_for_room() -> None:
    source = fresh()
    first, second, third = get(0), get(1, 0), get(2, 0, 1)
    for request in (first, second, third):
        source.receive(request, AT)
    assert reads(source) == [read(first), read(second)]  # its share; both are lost
    for request in (second, first):  # behind the third
        source.receive(request, AT + 1)
    assert reads(source, AT + 1) == []
    assert source.deadline == AT + ON_ITS_WAY
    assert source.handle_timeout(AT + ON_ITS_WAY) == []
    assert reads(source, AT + ON_ITS_WAY) == [read(second), read(first)]
    assert source.waiting  # the third


def test_asked_for_anew__it_was_damaged_or_could_not_be_read() -> None:
    source = fresh()
    source.receive(get(0), AT)
    reads(source)
    again = get(0)
    source.receive(again, AT)
    assert reads(source) == [read(again)]


def test_too_many_gets_at_once() -> None:
    source = fresh(10 * (MOST_QUEUED + 1))
    for index in range(MOST_QUEUED):
        assert source.receive(get(index, *range(index)), AT) == []
    [answer] = source.receive(get(MOST_QUEUED, *range(MOST_QUEUED)), AT)
    assert isinstance(answer, Answer)
    assert answer.outcome.code is BUSY


def test_what_a_receiver_waits_for_is_a_list_of_numbers() -> None:
    source = fresh()
    anything: tuple[Any, ...] = (None, "0", [None, "0", {}, 1.0], 7)
    for waits_for in anything:
        have = call("have", w=waits_for)
        assert source.receive(have, AT) == [Answer(have, FINE)]


def test_offered_anew_by_the_same_id__another_content() -> None:
    source, old, same = fresh(), call("get", i=0, w=[0], f="F0"), call("get", i=0, w=[0], f="F")
    assert source.receive(old, AT) == [Answer(old, changed("model.pt"))]
    source.receive(same, AT)
    assert reads(source) == [read(same)]


# -- read ------------------------------------------------------------------------------------------------------------


def test_a_digest_that_differs_from_before__changed_for_all() -> None:
    source = fresh()
    first, other = get(0), get(0, origin="b")
    source.receive(first, AT)
    source.receive(other, AT)
    reads(source)
    source.read(first, "R1", 0, chunk(b"d"), AT)
    assert source.read(other, "R1", 0, chunk(b"e"), AT) == [Answer(other, changed("model.pt"))]
    later = get(5, origin="c")
    assert source.receive(later, AT) == [Answer(later, changed("model.pt"))]


def test_it_cannot_be_read() -> None:
    source, request = fresh(), get(0)
    source.receive(request, AT)
    reads(source)
    full = Outcome(BUSY, "no free worker")
    assert source.read(request, "R1", 0, full, AT) == [Answer(request, full)]


# -- done ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "status"), [("success", "success"), ("failed", "failed"), ("?", "failed")])
def test_done__served__and_nothing_waits_for_it(said: str, status: str) -> None:
    source, request = fresh(), get(0)
    source.receive(request, AT)
    done = call("done", s=said)
    assert source.receive(done, AT) == [Answer(done, FINE), Served("R1", "a", status), Answer(request, AGAIN)]
    assert not source.waiting


def test_a_topic_that_nobody_knows() -> None:
    source, request = fresh(), call("steal")
    assert source.receive(request, AT) == [Answer(request, Outcome(INVALID, "no topic 'steal'"))]


# -- the end of a transaction ----------------------------------------------------------------------------------------


def test_nothing_for_timeout_seconds__expired_once() -> None:
    source = fresh(timeout=60.0)
    assert source.deadline == AT + 60
    assert source.handle_timeout(AT + 59) == []
    assert source.handle_timeout(AT + 60) == [Expired("T1")]
    assert not source.deadline
    assert source.handle_timeout(AT + 61) == []
    assert not source.end("T1")
    assert not source.add("T1", "R2", 1, 1, "F", "n", None, AT)


def test_whatever_a_receiver_does_is_activity() -> None:
    source, request, now = fresh(timeout=60.0), get(0), AT
    acts: tuple[Callable[[float], object], ...] = (
        lambda now: source.receive(call("open"), now),
        lambda now: source.receive(request, now),
        lambda now: source.read(request, "R1", 0, chunk(), now),
        lambda now: source.receive(call("have", w=[]), now),
        lambda now: source.moved("a", 1, now),
        lambda now: source.receive(call("done", s="success"), now),
    )
    for act in acts:
        now += 50
        act(now)
        source.handle_timeout(now + 50)
    assert source.handle_timeout(now + 60) == [Expired("T1")]


def test_what_moves_elsewhere_is_no_activity() -> None:
    source = fresh(timeout=60.0)
    source.receive(get(0), AT)
    source.moved("a", 2, AT + 50)
    source.moved("b", 1, AT + 50)
    assert Expired("T1") in source.handle_timeout(AT + 60)


def test_ended__what_comes_from_now_on_is_not_known() -> None:
    source = fresh()
    first, second = get(0), get(1, 0)
    source.receive(first, AT)
    reads(source)
    source.receive(second, AT)
    assert source.end("T1")
    assert reads(source) == [Answer(second, NOBODY)]
    assert source.read(first, "R1", 0, chunk(), AT) == [Answer(first, NOBODY)]
    late = get(2)
    assert source.receive(late, AT) == [Answer(late, NOBODY)]
    source.moved("a", 1, AT)


# -- receivers that have died ----------------------------------------------------------------------------------------


def test_one_that_asks_for_nothing_does_not_count_for_the_shares() -> None:
    source = fresh()
    source.receive(get(0, origin="b"), AT)
    later = AT + IDLE
    requests = [get(0), get(1, 0), get(2, 0, 1)]
    for request in requests:
        source.receive(request, later)
    assert reads(source, later, free=("a",)) == [read(requests[0]), read(requests[1])]


def test_one_that_is_silent_is_forgotten_with_what_it_has_asked_for() -> None:
    source, request = fresh(timeout=1000.0), get(0)
    source.receive(request, AT)
    assert source.deadline == AT + SILENCE
    assert source.handle_timeout(AT + SILENCE) == [Answer(request, AGAIN)]
    assert not source.waiting
    assert source.deadline == AT + 1000


# -- relays that keep chunks -----------------------------------------------------------------------------------------


def grant(*names: Any, origin: str = "r", **headers: Any) -> Call:
    return call("grant", origin, u=list(names), **headers)


def granted(*names: str) -> Outcome:
    headers = {"n": 100, "k": 10, "f": "F", "name": "model.pt", "t": 60_000, "u": list(names)}
    return Outcome(OK, headers=headers)


def test_grant__those_below_the_relay_that_may_have_it() -> None:
    source, request = fresh(receivers=["r.a", "b"]), grant("r.a", "r.c", "b", "r.a.admin-1", 7, "r")
    assert source.receive(request, AT) == [Answer(request, granted("r.a", "r.a.admin-1"))]


@pytest.mark.parametrize("names", [["b"], [], None, "r.a", 7, [["r.a"]]])
def test_grant__nobody_of_whom_it_asks__it_learns_nothing(names: Any) -> None:
    source, request = fresh(receivers=["r.a", "b"]), call("grant", "r", u=names)
    assert source.receive(request, AT) == [Answer(request, NOBODY)]
    source.handle_timeout(AT + 59)
    assert source.handle_timeout(AT + 60) == [Expired("T1")], "nor is it activity"


def test_grant__of_what_is_not_offered() -> None:
    source, request = fresh(), grant("r.a", r="R2")
    assert source.receive(request, AT) == [Answer(request, NOBODY)]


def test_grant__it_has_changed() -> None:
    source, request = fresh(), grant("r.a")
    source._references["R1"].changed = True
    assert source.receive(request, AT) == [Answer(request, changed("model.pt"))]


def test_grant__many_names_are_not_looked_at() -> None:
    source, request = fresh(), grant(*(f"r.{number}" for number in range(MOST_GRANTED + 1)))
    [answer] = source.receive(request, AT)
    assert isinstance(answer, Answer)
    assert len(answer.outcome.headers["u"]) == MOST_GRANTED


def test_grant__they_are_active__without_a_share_of_their_own() -> None:
    source = fresh()
    source.receive(grant("r.a", "r.b"), AT + 50)
    assert source.handle_timeout(AT + 60) == []
    assert {key[0]: taker.heard for key, taker in source._takers.items()} == {"r.a": AT + 50, "r.b": AT + 50}
    first, second = get(0), get(1, 0)
    for request in (first, second):
        source.receive(request, AT + 50)
    assert reads(source, AT + 50) == [read(first), read(second)], "two chunks are for the one that takes from here"
    done = call("done", "r.a", s="success")
    assert source.receive(done, AT + 50) == [Answer(done, FINE), Served("R1", "r.a", "success")]
    assert "r.a" not in {key[0] for key in source._takers}
    source.handle_timeout(AT + 50 + SILENCE)
    assert source._takers == {}


def test_a_relay_gets_chunks_in_the_name_of_a_receiver() -> None:
    source, request, have = fresh(receivers=["r.a"]), call("get", "r", i=0, w=[0], u="r.a"), call("have", "r", u="r.a")
    assert source.receive(request, AT) == []
    assert reads(source, free=("r",)) == [read(request)]
    assert source.receive(have, AT) == [Answer(have, FINE)]


@pytest.mark.parametrize(
    ("origin", "receiver"), [("r", "r.b"), ("r", "r"), ("b", "r.a"), ("r.b", "r.a"), ("r.a.x", "r.a"), ("r", 7)]
)
@pytest.mark.parametrize("topic", ["get", "have"])
def test_in_the_name_of_none_that_may_have_it_or_stands_elsewhere(topic: str, origin: str, receiver: Any) -> None:
    source, request = fresh(receivers=["r.a"]), call(topic, origin, i=0, w=[0], u=receiver)
    assert source.receive(request, AT) == [Answer(request, NOBODY)]


@pytest.mark.parametrize("topic", ["open", "done"])
def test_open_and_done_are_of_whoever_sends_them(topic: str) -> None:
    source, request = fresh(receivers=["r.a"]), call(topic, "r", u="r.a")
    assert source.receive(request, AT) == [Answer(request, NOBODY)]


def test_a_cache_serves_by_one__without_watching_digests() -> None:
    source = PullSource(None, lambda call: f"{call.headers['o']}/{call.headers['r']}", watches=False)
    source.new_transaction("T1", 60.0, AT)
    source.add("T1", "o/R1", 100, 10, "F", "model.pt", None, AT)
    first, other = (call("get", name, i=0, w=[0], o="o") for name in "ab")
    for request in (first, other):
        source.receive(request, AT)
    assert [command.rid for command in reads(source) if isinstance(command, Read)] == ["o/R1", "o/R1"]
    for request, digest in ((first, b"d"), (other, b"e")):
        assert source.read(request, "o/R1", 0, chunk(digest), AT) == [Answer(request, chunk(digest))]
    assert source._references["o/R1"].digests == {}


def test_dismiss__one_or_all() -> None:
    source = fresh()
    mine, other, third = get(0), get(0, origin="b"), get(0, origin="c")
    for request in (mine, other, third):
        source.receive(request, AT)
    assert source.dismiss("R1", "b") == [Answer(other, AGAIN)]
    assert source.dismiss("R2") == []
    assert source.dismiss("R1") == [Answer(mine, AGAIN), Answer(third, AGAIN)]
    assert not source.waiting
