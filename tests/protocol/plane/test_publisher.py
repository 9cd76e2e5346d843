"""The table of `zmqfl.protocol.plane.publisher`."""

from __future__ import annotations

import pytest

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Ask, Command, Level, Note, Outcome, Unask
from zmqfl.protocol.plane.facts import (
    CELL_FACTS,
    CELL_SIZE,
    MAX_BODY,
    MOST_BYTES,
    MOST_FACTS,
    Fact,
    decode_facts,
    props_topic,
)
from zmqfl.protocol.plane.publisher import CHECK, MOST_MARKS, PAUSE, REFUSED_CHECK, Publisher, PublisherState
from zmqfl.protocol.plane.updates import PlaneTopic
from zmqfl.wire import payload

OK, INVALID, TIMEOUT = CellReturnCode.OK, CellReturnCode.INVALID_REQUEST, CellReturnCode.TIMEOUT
TOPIC = props_topic("site-1")
AT = 100.0
SAME, DIFFERS = Outcome(OK, headers={"same": 1}), Outcome(OK, headers={"same": 0})


def facts_of(commands: list[Command]) -> list[tuple[str, int, int, bytes | None]]:
    """(key, number, floor, body) of the one publish among them."""
    (ask,) = [command for command in commands if isinstance(command, Ask)]
    assert (ask.targets, ask.topic, ask.headers, ask.repeatable) == (("server",), PlaneTopic.PUBLISH, {"k": 7}, True)
    facts = decode_facts(payload.decode(ask.bodies))
    assert all((fact.origin, fact.token, fact.topic) == ("site-1", 7, TOPIC) for fact in facts)
    return [(fact.key, fact.number, fact.floor, fact.body) for fact in facts]


def say(publisher: Publisher, key: str, body: bytes | None, now: float = AT) -> list[Command]:
    return publisher.set(TOPIC, key, body, now)


def answer(publisher: Publisher, code: CellReturnCode = OK, now: float = AT) -> list[Command]:
    return publisher.answered("publish", "server", Outcome(code, "no" if code is INVALID else ""), now)


def live() -> Publisher:
    """Bound, and with nothing to tell."""
    publisher = Publisher("site-1")
    publisher.bound("server", 7, AT)
    answer(publisher)
    assert (publisher.state, publisher.deadline) == (PublisherState.IDLE, AT + CHECK)
    return publisher


def test_apart__set__kept_and_told_when_bound() -> None:
    publisher = Publisher("site-1")
    assert say(publisher, "a", b"1") == []
    assert say(publisher, "b", b"2") == []
    commands = publisher.bound("server", 7, AT)
    assert commands[0] == Unask(publisher)
    assert facts_of(commands) == [("a", 1, 0, b"1"), ("b", 2, 0, b"2")]
    assert publisher.state is PublisherState.TELLING


def test_idle__several_at_once__told_together__what_changes_nothing_is_not() -> None:
    publisher = live()
    words = [(TOPIC, "a", b"1"), (TOPIC, "b", b"2"), (TOPIC, "a", b"3"), (TOPIC, "c", None)]
    assert facts_of(publisher.set_all(words, AT)) == [("b", 2, 1, b"2"), ("a", 3, 1, b"3")]
    answer(publisher)
    assert publisher.set_all([(TOPIC, "a", b"3")], AT + 1) == []
    assert publisher.deadline == AT + CHECK


def test_apart__bound__a_start_that_says_nothing_is_told_too() -> None:
    assert facts_of(Publisher("site-1").bound("server", 7, AT)) == []


def test_apart__what_was_never_told_is_withdrawn_without_a_trace() -> None:
    publisher = Publisher("site-1")
    for number in range(1000):
        say(publisher, f"{number}", b"1")
        say(publisher, f"{number}", None)
    assert repr(publisher) == "<Publisher site-1 apart, 0 facts, 0 to tell>"
    assert facts_of(publisher.bound("server", 7, AT)) == []


def test_idle__set__published() -> None:
    publisher = live()
    assert facts_of(say(publisher, "a", b"1")) == [("a", 1, 0, b"1")]
    assert publisher.own() == [Fact("site-1", 7, 1, 0, TOPIC, "a", b"1")]
    assert publisher.deadline is None


def test_idle__set_what_stands__nothing() -> None:
    publisher = live()
    say(publisher, "a", b"1")
    assert say(publisher, "a", b"1") == []
    assert say(publisher, "b", None) == []


def test_telling__set__told_after_the_answer() -> None:
    publisher = live()
    say(publisher, "a", b"1")
    assert say(publisher, "a", b"2") == []
    assert say(publisher, "b", b"3") == []
    assert facts_of(answer(publisher)) == [("a", 2, 1, b"2"), ("b", 3, 1, b"3")]
    assert answer(publisher) == []


def test_a_withdrawal_is_remembered_until_the_root_knows() -> None:
    publisher = live()
    say(publisher, "a", b"1")
    answer(publisher)
    assert facts_of(say(publisher, "a", None)) == [("a", 2, 1, None)]
    assert publisher.own() == []
    answer(publisher, TIMEOUT)
    assert facts_of(publisher.handle_timeout(AT + PAUSE)) == [("a", 2, 1, None)]
    answer(publisher)
    assert repr(publisher) == "<Publisher site-1 idle, 0 facts, 0 to tell>"
    assert facts_of(say(publisher, "a", b"3")) == [("a", 3, 2, b"3")]


def test_what_is_withdrawn_and_set_again_while_it_is_told_stands() -> None:
    publisher = live()
    say(publisher, "a", b"1")
    answer(publisher)
    say(publisher, "a", None)
    say(publisher, "a", b"2")
    assert facts_of(answer(publisher)) == [("a", 3, 2, b"2")]
    answer(publisher)
    assert [fact.body for fact in publisher.own()] == [b"2"]


@pytest.mark.parametrize("code", [TIMEOUT, CellReturnCode.COMM_ERROR, CellReturnCode.TARGET_UNREACHABLE])
def test_telling__no_answer__waiting__told_again(code: CellReturnCode) -> None:
    publisher = live()
    say(publisher, "a", b"1")
    assert answer(publisher, code) == []
    assert (publisher.state, publisher.deadline) == (PublisherState.WAITING, AT + PAUSE)
    assert say(publisher, "b", b"2") == []
    assert publisher.handle_timeout(AT + PAUSE - 0.1) == []
    assert facts_of(publisher.handle_timeout(AT + PAUSE)) == [("a", 1, 0, b"1"), ("b", 2, 0, b"2")]


def test_telling__refused__the_cell_hears_of_it_and_it_is_not_told_again_soon() -> None:
    publisher = live()
    say(publisher, "a", b"1")
    (note,) = answer(publisher, INVALID)
    assert note == Note(Level.WARNING, "site-1: the root refuses what this cell publishes: no")
    assert (publisher.state, publisher.deadline) == (PublisherState.IDLE, AT + REFUSED_CHECK)
    assert facts_of(say(publisher, "b", b"2")) == [("b", 2, 0, b"2")]


def test_a_batch_is_told_at_a_time() -> None:
    publisher = Publisher("site-1")
    for number in range(MOST_FACTS + 1):
        say(publisher, f"{number}", b"1")
    assert len(facts_of(publisher.bound("server", 7, AT))) == MOST_FACTS
    assert facts_of(answer(publisher)) == [(f"{MOST_FACTS}", MOST_FACTS + 1, 0, b"1")]
    assert answer(publisher) == []


def test_a_batch_fits_a_message() -> None:
    publisher = Publisher("site-1")
    for number in range(5):
        say(publisher, "ключ" * 255 + f"{number}", bytes(MAX_BODY // 2))
    commands = publisher.bound("server", 7, AT)
    told = []
    while asks := [command for command in commands if isinstance(command, Ask)]:
        assert sum(map(len, asks[0].bodies)) <= MOST_BYTES
        told += facts_of(commands)
        commands = answer(publisher)
    assert [number for _, number, _, _ in told] == [1, 2, 3, 4, 5]


def test_a_cell_may_not_say_more_facts_than_the_root_takes() -> None:
    publisher = live()
    for number in range(CELL_FACTS):
        say(publisher, f"{number}", b"1")
    (note,) = say(publisher, "more", b"1")
    assert isinstance(note, Note)
    assert "'more' is not published" in note.text
    assert say(publisher, "7", b"2") == []  # in the stead of what is there
    say(publisher, "7", None)
    assert say(publisher, "more", b"1") == []
    assert len(publisher.own()) == CELL_FACTS


def test_a_cell_may_not_say_more_bytes_than_the_root_takes() -> None:
    publisher = live()
    most = CELL_SIZE // (MAX_BODY + 100)
    for number in range(most):
        assert not any(isinstance(command, Note) for command in say(publisher, f"{number}", bytes(MAX_BODY)))
    (note,) = say(publisher, "more", bytes(MAX_BODY))
    assert isinstance(note, Note)
    say(publisher, "1", b"")
    assert say(publisher, "more", bytes(MAX_BODY - 100)) == []


def test_the_floor_rises_although_a_fact_stands_for_long() -> None:
    publisher = live()
    say(publisher, "long", b"1")
    answer(publisher)
    for number in range(3 * MOST_MARKS):
        for body in (b"1", None):
            commands = say(publisher, f"{number}", body)
            while any(isinstance(command, Ask) for command in commands):
                commands = answer(publisher)
        assert publisher._number - publisher.own()[0].floor <= MOST_MARKS + 6
    (fact,) = publisher.own()
    assert fact.body == b"1"
    assert fact.number > MOST_MARKS


# -- the check ---------------------------------------------------------------------------------------------------------


def checked() -> Publisher:
    publisher = live()
    say(publisher, "a", b"1")
    answer(publisher)
    say(publisher, "b", b"2")
    answer(publisher)
    (ask,) = publisher.handle_timeout(AT + CHECK)
    assert isinstance(ask, Ask)
    assert (ask.tag, ask.topic, ask.headers) == ("check", PlaneTopic.CHECK, {"n": [7, 2, 3]})
    assert publisher.state is PublisherState.ASKING
    return publisher


def test_idle__long_nothing__check__same__idle() -> None:
    publisher = checked()
    assert publisher.answered("check", "server", SAME, AT + CHECK) == []
    assert (publisher.state, publisher.deadline) == (PublisherState.IDLE, AT + 2 * CHECK)


def test_asking__differs__all_is_told_again() -> None:
    publisher = checked()
    told = facts_of(publisher.answered("check", "server", DIFFERS, AT + CHECK))
    assert told == [("a", 1, 0, b"1"), ("b", 2, 0, b"2")]


def test_asking__set__told_after_the_answer() -> None:
    publisher = checked()
    assert say(publisher, "c", b"3") == []
    assert facts_of(publisher.answered("check", "server", SAME, AT + CHECK)) == [("c", 3, 0, b"3")]


def test_asking__no_answer__waiting() -> None:
    publisher = checked()
    assert publisher.answered("check", "server", Outcome(TIMEOUT), AT + CHECK) == []
    assert publisher.state is PublisherState.WAITING
    assert publisher.handle_timeout(AT + CHECK + PAUSE) == []
    assert (publisher.state, publisher.deadline) == (PublisherState.IDLE, AT + CHECK + PAUSE + CHECK)


def test_who_says_nothing_asks_nothing() -> None:
    publisher = live()
    assert publisher.handle_timeout(AT + CHECK) == []
    assert publisher.deadline is None
    assert publisher.handle_timeout(AT + 2 * CHECK) == []


# -- the link ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["telling", "waiting", "asking", "idle"])
def test_unbound__apart__and_all_is_told_to_the_next_parent(state: str) -> None:
    publisher = checked() if state in ("asking", "idle") else live()
    if state == "idle":
        publisher.answered("check", "server", SAME, AT)
    if state in ("telling", "waiting"):
        say(publisher, "a", b"1")
    if state == "waiting":
        answer(publisher, TIMEOUT)
    assert publisher.state is PublisherState(state)
    assert publisher.unbound() == [Unask(publisher)]
    assert (publisher.state, publisher.deadline) == (PublisherState.APART, None)
    assert answer(publisher) == []
    assert publisher.answered("check", "server", DIFFERS, AT) == []
    assert publisher.handle_timeout(AT + 1000) == []
    say(publisher, "a", b"last")
    told = facts_of(publisher.bound("server", 7, AT + 1000))
    assert [(key, body) for key, _, _, body in told][-1] == ("a", b"last")
    assert len(told) == len(publisher.own())


@pytest.mark.parametrize("telling", [True, False])
def test_another_root_is_told_all_there_is(telling: bool) -> None:
    publisher = live()
    say(publisher, "a", b"1")
    answer(publisher)
    say(publisher, "b", b"2")
    answer(publisher)
    if not telling:
        assert facts_of(publisher.root_is_new(AT)) == [("a", 1, 0, b"1"), ("b", 2, 0, b"2")]
        return
    say(publisher, "a", None)
    assert publisher.root_is_new(AT) == []
    assert facts_of(answer(publisher)) == [("b", 2, 1, b"2")], "what is withdrawn the new root has never known"
    assert answer(publisher) == []


def test_another_root__apart__told_when_bound() -> None:
    publisher = live()
    say(publisher, "a", b"1")
    publisher.unbound()
    assert publisher.root_is_new(AT) == []
    assert facts_of(publisher.bound("server", 7, AT)) == [("a", 1, 0, b"1")]
