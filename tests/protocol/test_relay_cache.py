"""The table of `zmqfl.protocol.relay_cache`, a test per row; `tests/simulation/test_relay_cache.py` shows it at work.

The cell is up, its children are up.a and up.b, and o, beyond it, offers R1: ten chunks of 10 bytes.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

import pytest

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.protocol import relay_cache as module
from zmqfl.protocol.chunk_store import OVERHEAD
from zmqfl.protocol.commands import Answer, Ask, Call, Command, Outcome, Unask
from zmqfl.protocol.pull_source import CHANNEL, DONE, GET, GRANT, HAVE, SERVED_BYTES, changed
from zmqfl.protocol.relay_cache import KEPT, MAX_HEADERS, MAX_NAME, MOST_ASKING, RelayCache
from zmqfl.protocol.relay_file import RelayFile
from zmqfl.protocol.relay_grants import MOST_HELD, TOUCH, TOUCHES
from zmqfl.protocol.ways import Ways

OK, INVALID, BUSY = CellReturnCode.OK, CellReturnCode.INVALID_REQUEST, CellReturnCode.SERVICE_UNAVAILABLE
AT = 100.0
A, B = "up.a", "up.b"
REFUSED = Outcome(BUSY, "not from this cache; ask the owner")
numbers = count(1)


class Around(Ways):
    """The tree."""

    def cache_for(self, owner: str) -> str:
        return ""

    def is_child(self, name: str) -> bool:
        return name in (A, B)

    def passes_by(self, owner: str, child: str) -> bool:
        return owner != "up" and not owner.startswith(child)


def fresh(room: int = 100) -> RelayCache:
    return RelayCache(CellConfig(relay_cache=room * (10 + OVERHEAD)), Counter(), Around())


def call(topic: str, origin: str = A, **headers: Any) -> Call:
    headers = {"r": "R1", "p": 3, "f": "F", "o": "o", "z": 1, **headers}
    return Call(origin, 1, next(numbers), CHANNEL, topic, 0, headers, (), 10.0, True)


def get(index: int, *waits_for: int, origin: str = A, **headers: Any) -> Call:
    return call(GET, origin, i=index, w=[*waits_for, index], **headers)


def grid(*names: str, **headers: Any) -> Outcome:
    said = {"n": 100, "k": 10, "f": "F", "name": "model.pt", "t": 60_000, "u": list(names), **headers}
    return Outcome(OK, headers=said)


def chunk(text: str = "0123456789", **headers: Any) -> Outcome:
    return Outcome(OK, headers={"d": b"d", **headers}, codec=2, bodies=(text.encode(),))


def the_file(relay: RelayCache) -> RelayFile:
    [file] = relay.files.values()
    return file


def granted(*names: str, room: int = 100) -> RelayCache:
    """These may have it."""
    relay = fresh(room)
    for name in names or (A,):
        relay.receive(get(0, origin=name), AT)
        relay.answered(the_file(relay), (name, name), grid(name), AT)
        relay.receive(call(HAVE, name, w=[]), AT)  # it waits for nothing
    return relay


def turn(relay: RelayCache, *free: str, now: float = AT) -> list[Command]:
    """All that happens now."""
    out: list[Command] = []
    while commands := relay.next_reads(lambda name: name in (free or (A, B)), now):
        out += commands
    return out


def asked(commands: list[Command]) -> list[Any]:
    return [command.tag for command in commands if isinstance(command, Ask) and command.topic == GET]


def answers(commands: list[Command], *calls: Call) -> list[Outcome | None]:
    """What each of these calls is answered; None: nothing."""
    said = {command.call: command.outcome for command in commands if isinstance(command, Answer)}
    return [said.get(each) for each in calls]


# -- grants ----------------------------------------------------------------------------------------------------------


def test_get__held__grant__then_its_turn() -> None:
    relay, request, second = fresh(), get(0), get(1, 0)
    [ask] = relay.receive(request, AT)
    assert isinstance(ask, Ask)
    assert (ask.topic, ask.targets, ask.headers) == (GRANT, ("o",), {"r": "R1", "u": [A]})
    assert relay.receive(second, AT) == []
    assert not bool(relay.waiting)
    assert relay.answered(ask.owner, ask.tag, grid(A), AT) == []
    assert relay.waiting
    assert asked(turn(relay)) == [0, 1]
    assert relay._counters["relay_grants"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        Outcome(INVALID), Outcome(CellReturnCode.TIMEOUT), Outcome(CellReturnCode.COMM_ERROR), changed("model.pt"),
        grid(B), grid(A, f="other"), grid(A, n=-1), grid(A, k=None), grid(A, u=A), grid(A, k=51 * (10 + OVERHEAD)),
    ],
)  # fmt: skip
def test_not_granted__or_no_such_content__or_too_big__refused(answer: Outcome) -> None:
    relay, request = fresh(), get(0)
    relay.receive(request, AT)
    file = the_file(relay)
    assert relay.answered(file, (A, A), answer, AT) == [Answer(request, REFUSED), Unask(file)]
    assert (relay.files, relay.deadline) == ({}, None)


def test_one_that_may_not_have_it_takes_it_from_nobody() -> None:
    relay, guess = granted(A), get(0, origin=B)
    file = the_file(relay)
    relay.receive(guess, AT)
    assert relay.answered(file, (B, B), Outcome(INVALID), AT) == [Answer(guess, REFUSED)]
    relay.receive(get(0), AT)
    assert asked(turn(relay)) == [0]


@pytest.mark.parametrize("answer", [Outcome(INVALID), changed("model.pt"), Outcome(CellReturnCode.TIMEOUT)])
def test_the_owner_takes_its_word_back__all_is_refused_and_forgotten(answer: Outcome) -> None:
    relay = granted(A, B)
    file = the_file(relay)
    kept, waits, ready, queued = get(0), get(1, 0), get(2, origin=B), get(3, 2, origin=B)
    for request in (kept, waits):
        relay.receive(request, AT + 1)
    turn(relay)
    relay.answered(file, 0, chunk(), AT + 1)
    assert answers(turn(relay), kept) == [chunk()]
    relay.receive(ready, AT + 1)
    turn(relay)
    relay.answered(file, 2, chunk(), AT + 1)
    relay.receive(queued, AT + 1)
    [touch] = [c for c in relay.handle_timeout(AT + TOUCH) if isinstance(c, Ask) and c.topic == GRANT]
    assert touch.headers["u"] == [A, B]
    commands = relay.answered(file, touch.tag, answer, AT + TOUCH)
    assert Unask(file) in commands
    assert answers(commands, waits, ready) == [REFUSED] * 2
    assert {code.code for code in answers(commands, queued) if code is not None} == {BUSY}
    assert (relay.files, len(relay.store), relay.store.reserved, relay.waiting) == ({}, 0, 0, False)
    assert relay.answered(file, 1, chunk(), AT + 4) == [], "what comes late"


def test_a_touch_that_leaves_one_out() -> None:
    relay = granted(A, B)
    file = the_file(relay)
    mine, other = get(5), get(5, origin=B)
    for request in (mine, other):
        relay.receive(request, AT + 1)
    turn(relay, now=AT + 1)
    relay.handle_timeout(AT + TOUCH)
    assert answers(relay.answered(file, ("", A, B), grid(A), AT + TOUCH), mine, other) == [None, REFUSED]
    relay.answered(file, 5, chunk(), AT + TOUCH)
    assert answers(turn(relay), mine, other) == [chunk(), None]


def test_a_short_transaction_is_touched_more_often() -> None:
    relay = fresh()
    relay.receive(get(0), AT)
    relay.answered(the_file(relay), (A, A), grid(A, t=3000), AT)
    relay.receive(get(1, 0), AT + 0.1)
    assert relay.deadline == AT + 3 / TOUCHES


def test_a_relay_below_asks_in_the_name_of_its_receivers() -> None:
    relay, one, two = granted(A), get(0, u=f"{A}.x"), get(1, 0, u=f"{A}.y")
    [ask] = relay.receive(one, AT)
    assert isinstance(ask, Ask)
    assert ask.headers["u"] == [f"{A}.x"]
    relay.answered(ask.owner, ask.tag, grid(f"{A}.x"), AT)
    relay.receive(two, AT)
    [fetch] = [command for command in turn(relay) if isinstance(command, Ask)]
    assert fetch.headers["u"] == f"{A}.x"
    assert answers(relay.answered(the_file(relay), (A, f"{A}.y"), Outcome(INVALID), AT), two) == [REFUSED]


# -- chunks ----------------------------------------------------------------------------------------------------------


def test_a_chunk_is_fetched_once_for_all_who_wait__and_kept() -> None:
    relay = granted(A, B)
    mine, other, later = get(4), get(4, origin=B), get(4, origin=B)
    for request in (mine, other):
        relay.receive(request, AT)
    assert asked(turn(relay)) == [4]
    assert relay.answered(the_file(relay), 4, chunk(x=1), AT) == []
    assert turn(relay) == [Answer(mine, chunk(x=1)), Answer(other, chunk(x=1))], "with whatever came with it"
    relay.receive(later, AT)
    assert turn(relay) == [Answer(later, chunk(x=1))]
    counters = {key: relay._counters[f"relay_{key}"] for key in ("hits", "misses", "bytes", "evictions")}
    assert counters == {"hits": 2, "misses": 1, "bytes": 30, "evictions": 0}


def test_served_when_its_lane_has_room__one_for_each_child_and_turn() -> None:
    relay = granted(A, B)
    calls = [get(0), get(1, 0), get(0, origin=B)]
    for request in calls:
        relay.receive(request, AT)
    assert turn(relay, "nobody") == []
    turn(relay)
    for index in (0, 1):
        relay.answered(the_file(relay), index, chunk(), AT)
    assert turn(relay, "nobody") == []
    assert relay.waiting
    assert relay.next_reads(lambda name: True, AT) == [Answer(calls[0], chunk()), Answer(calls[2], chunk())]
    assert turn(relay, B) == []
    assert turn(relay, A) == [Answer(calls[1], chunk())]
    assert not relay.waiting


def test_pushed_out_before_its_turn__fetched_again() -> None:
    relay, request = granted(A), get(0)
    relay.receive(request, AT)
    turn(relay)
    relay.answered(the_file(relay), 0, chunk(), AT)
    relay.store.forget(the_file(relay).key)
    assert asked(turn(relay)) == [0]
    relay.answered(the_file(relay), 0, chunk(), AT)
    assert turn(relay) == [Answer(request, chunk())]


def test_a_get_that_was_given_up_is_not_served() -> None:
    relay, request = granted(A), get(0)
    relay.receive(request, AT)
    turn(relay)
    relay.answered(the_file(relay), 0, chunk(), AT)
    request.revoked = True
    assert turn(relay) == []
    assert not relay.waiting


def test_it_never_holds_more_than_its_room() -> None:
    relay = granted(A, room=4)
    for index in range(4):
        relay.receive(get(index, *range(index)), AT)
    assert asked(turn(relay)) == [0, 1], "half of the room is for one file"
    assert asked(relay.answered(the_file(relay), 0, chunk(), AT)) == [2]
    for index in (1, 2, 3):
        relay.answered(the_file(relay), index, chunk(), AT)
    relay.receive(get(5, 4), AT)
    turn(relay)
    assert (len(relay.store), relay._counters["relay_evictions"]) == (3, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        chunk("01234567890"), chunk(""), chunk(d=bytes(MAX_HEADERS)), chunk(x=["deep"]), Outcome(INVALID),
        changed("model.pt"),
    ],
)  # fmt: skip
def test_a_chunk_that_cannot_be_had__all_that_was_asked_is_refused(wrong: Outcome) -> None:
    relay, first, second = granted(A), get(0), get(1, 0)
    for request in (first, second):
        relay.receive(request, AT)
    turn(relay)
    commands = relay.answered(the_file(relay), 0, wrong, AT)
    assert answers(commands, first, second) == [REFUSED, REFUSED]
    assert (relay.files, relay.store.reserved) == ({}, 0)


def test_a_chunk_that_may_be_lost_is_fetched_again_after_a_pause() -> None:
    relay = granted(A)
    relay.receive(get(0), AT)
    turn(relay)
    assert relay.answered(the_file(relay), 0, Outcome(BUSY), AT) == []
    assert relay.store.reserved == 0
    assert asked(relay.handle_timeout(AT + 2.0)) == [0]


def test_a_packed_chunk_is_for_who_can_read_it() -> None:
    relay, able, plain = granted(A, B), get(0), get(0, origin=B, z=0)
    for request in (able, plain):
        relay.receive(request, AT)
    turn(relay)
    relay.answered(the_file(relay), 0, chunk("packed"), AT)
    assert answers(turn(relay), able, plain) == [chunk("packed"), REFUSED]


@pytest.mark.parametrize("index", [10, -1, 1 << 62, None, "0", True])
def test_there_is_no_such_chunk(index: Any) -> None:
    relay, request = granted(A), call(GET, i=index, w=[])
    [answer] = relay.receive(request, AT)
    assert isinstance(answer, Answer)
    assert answer.outcome.code is INVALID


# -- have and done ---------------------------------------------------------------------------------------------------


def test_have__whether_something_has_come_since() -> None:
    relay = granted(A)
    file = the_file(relay)
    relay.receive(get(0), AT)
    turn(relay)
    first, second, third = (call(HAVE, w=[0]) for _ in range(3))
    assert relay.receive(first, AT + 1) == [Answer(first, Outcome(OK))]
    file.moved(AT + 2)
    assert relay.receive(second, AT + 3) == [Answer(second, Outcome(OK, headers={"m": 1}))]
    assert relay.receive(third, AT + 4) == [Answer(third, Outcome(OK))]


def test_have_while_the_owner_is_asked() -> None:
    relay, have = fresh(), call(HAVE, w=[0])
    relay.receive(get(0), AT)
    assert relay.receive(have, AT) == [Answer(have, Outcome(OK))]


def test_a_have_above_is_answered() -> None:
    relay = granted(A)
    relay.receive(get(0), AT)
    turn(relay)
    [have] = relay.handle_timeout(AT + 2.0)
    assert isinstance(have, Ask)
    assert have.topic == HAVE
    relay.answered(have.owner, have.tag, Outcome(OK, headers={"m": 1}), AT + 2.5)
    assert the_file(relay).progress == AT + 2.5


def test_done__forgotten__the_owner_hears_it_from_the_receiver_itself() -> None:
    relay, waits = granted(A), get(0)
    relay.receive(waits, AT + 1)
    done = call(DONE, s="success")
    [answer, dismissed] = relay.receive(done, AT + 1)
    assert answer == Answer(done, Outcome(OK))
    assert isinstance(dismissed, Answer)
    assert dismissed.call is waits
    assert relay.handle_timeout(AT + TOUCH) == []


@pytest.mark.parametrize("topic", [HAVE, DONE])
def test_of_what_is_not_here(topic: str) -> None:
    relay, request = fresh(), call(topic)
    assert relay.receive(request, AT) == [Answer(request, REFUSED)]


# -- the end ---------------------------------------------------------------------------------------------------------


def test_nobody_asks_for_it__forgotten() -> None:
    relay = granted(A)
    relay.receive(get(0), AT)
    turn(relay)
    relay.answered(the_file(relay), 0, chunk(), AT)
    turn(relay)
    relay.receive(call(DONE), AT)
    file = the_file(relay)
    assert relay.handle_timeout(AT + KEPT - 0.1) == []
    assert len(relay.store) == 1
    assert relay.handle_timeout(AT + KEPT) == [Unask(file)]
    assert (relay.files, len(relay.store), relay.deadline) == ({}, 0, None)


def test_a_chunk_that_moves_to_a_child_keeps_it() -> None:
    relay = granted(A)
    relay.receive(get(0), AT)
    turn(relay)
    relay.answered(the_file(relay), 0, chunk(), AT)
    turn(relay)
    relay.moved(A, 1, AT + KEPT - 1)
    commands = relay.handle_timeout(AT + KEPT)
    assert [command.topic for command in commands if isinstance(command, Ask)] == [GRANT]
    assert relay.files


def test_the_cell_stops() -> None:
    relay, request = granted(A), get(0)
    relay.receive(request, AT)
    turn(relay)
    file = the_file(relay)
    assert relay.close() == [Unask(file), Answer(request, REFUSED)]
    assert repr(relay) == f"<RelayCache 0 files, <ChunkStore 0 chunks, 0 + 0 of {100 * (10 + OVERHEAD)} bytes>>"


# -- hostile children ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        get(0, origin="stranger"), get(0, origin=f"{A}.x"), get(0, o="up"), get(0, o=f"{A}.x"), get(0, o=7),
        get(0, r=None), get(0, f=None), get(0, r="x" * (MAX_NAME + 1)), get(0, f="x" * (MAX_NAME + 1)),
        get(0, u=B), get(0, u=7), get(0, u=""), call("open"), call("grant", u=[A]), call("steal"),
    ],
)  # fmt: skip
def test_not_for_this_cache(request_: Call) -> None:
    relay = fresh()
    [answer] = relay.receive(request_, AT)
    assert isinstance(answer, Answer)
    assert answer.outcome.code is INVALID
    assert (relay.files, relay._counters["relay_refused"]) == ({}, 1)


def test_no_cache() -> None:
    relay = RelayCache(CellConfig(relay_cache=0), Counter(), Around())
    [answer] = relay.receive(get(0), AT)
    assert isinstance(answer, Answer)
    assert answer.outcome.code is INVALID


def test_who_guesses_holds_up_nobody_else() -> None:
    relay = fresh()
    for number in range(MOST_ASKING):
        assert isinstance(relay.receive(get(0, r=f"guess-{number}"), AT)[0], Ask)
    assert relay.receive(last := get(0, r="guess"), AT) == [Answer(last, REFUSED)]
    assert isinstance(relay.receive(get(0, origin=B), AT)[0], Ask)
    file = relay.files["o", "guess-0", "F"]
    relay.answered(file, (A, A), Outcome(INVALID), AT)
    assert isinstance(relay.receive(get(0, r="another"), AT)[0], Ask)


def test_many_names_below_a_child_are_guesses__too() -> None:
    relay = fresh()
    commands = [relay.receive(get(0, u=f"{A}.x{number}"), AT) for number in range(MOST_ASKING + 1)]
    assert [isinstance(each[0], Ask) for each in commands] == [True] * MOST_ASKING + [False]


def test_few_files_of_one_child_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FILES", 2)
    relay = fresh()
    for name in ("R1", "R2"):
        relay.receive(get(0, r=name), AT)
        relay.answered(relay.files["o", name, "F"], (A, A), grid(A), AT)
    assert relay.receive(third := get(0, r="R3"), AT) == [Answer(third, REFUSED)]
    assert isinstance(relay.receive(get(0, origin=B, r="R3"), AT)[0], Ask)


def test_few_requests_are_held() -> None:
    relay = fresh()
    for index in range(MOST_HELD):
        relay.receive(get(index), AT)
    assert relay.receive(last := get(0), AT) == [Answer(last, REFUSED)]


def test_names_do_not_run_into_each_other() -> None:
    relay = fresh()
    for rid, fingerprint in (("a b", "c"), ("a", "b c"), ("a 1 b", "c")):
        relay.receive(get(0, r=rid, f=fingerprint), AT)
    assert len(relay._by_name) == len(relay.files) == 3


def test_a_share_of_what_is_under_way_is_for_each_child() -> None:
    """As at an owner: the same machine serves."""
    chunks = SERVED_BYTES // (1 << 20)
    relay = RelayCache(CellConfig(), Counter(), Around())
    relay.receive(call(GET, i=0, w=[0]), AT)
    relay.answered(the_file(relay), (A, A), grid(A, n=64 << 20, k=1 << 20), AT)
    for index in range(1, 40):
        relay.receive(get(index, *range(index)), AT)
    turn(relay)
    file = the_file(relay)
    assert len(file.asked) + len(file.wanted) == chunks
