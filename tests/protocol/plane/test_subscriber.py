"""The table of `zmqfl.protocol.plane.subscriber`."""

from __future__ import annotations

import pytest

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Ask, Command, Outcome, Unask
from zmqfl.protocol.plane import subscriber as module
from zmqfl.protocol.plane.facts import Fact, props_topic, withdrawal_of
from zmqfl.protocol.plane.subscriber import CHECK, MOST_KEPT, PAUSE, Subscriber, SubscriberState
from zmqfl.protocol.plane.updates import PlaneTopic, Snapshot, Update, decode_question, encode_snapshot

A, B = props_topic("site-a"), props_topic("site-b")
AT = 100.0


def fact(number: int, body: bytes | None = b"x", topic: str = A) -> Fact:
    return Fact(topic.split("/")[1], 1, number, 0, topic, "round", body)


def update(number: int, after: int, topic: str = A, epoch: int = 5, body: bytes = b"x") -> Update:
    return Update(epoch, topic, number, after, (fact(number, body, topic),))


def snapshot(heads: dict[str, int], *facts: Fact, topics: tuple[str, ...] | None = None, epoch: int = 5) -> Outcome:
    chosen = tuple(heads) if topics is None else topics
    return Outcome(CellReturnCode.OK, bodies=encode_snapshot(Snapshot(epoch, heads, chosen, facts)))


def question(commands: list[Command]) -> tuple[tuple[str, ...], int, dict[str, int]]:
    """The one SUBSCRIBE among them."""
    (ask,) = [command for command in commands if isinstance(command, Ask)]
    assert (ask.targets, ask.topic, ask.repeatable) == (("relay",), PlaneTopic.SUBSCRIBE, True)
    return decode_question(ask.bodies)


def answer(subscriber: Subscriber, outcome: Outcome, now: float = AT) -> list[Command]:
    return subscriber.answered("subscribe", "relay", outcome, now)


def live(heads: dict[str, int] | None = None, *facts: Fact) -> Subscriber:
    subscriber = Subscriber()
    subscriber.bound("relay", AT)
    assert answer(subscriber, snapshot(heads or {}, *facts)) == []
    assert (subscriber.state, subscriber.is_current) == (SubscriberState.LIVE, True)
    subscriber.take()
    return subscriber


def test_apart__bound__it_asks_with_what_it_has() -> None:
    subscriber = Subscriber(("props/",))
    commands = subscriber.bound("relay", AT)
    assert commands[0] == Unask(subscriber)
    assert question(commands) == (("props/",), 0, {})
    assert (subscriber.state, subscriber.is_current) == (SubscriberState.SYNCING, False)
    assert repr(subscriber) == "<Subscriber syncing of relay, 0 facts>"


def test_apart__update__dropped() -> None:
    subscriber = Subscriber()
    assert subscriber.update(update(1, 0), AT) == []
    assert subscriber.heads_are(5, {A: 9}, AT) == []
    assert subscriber.take() == ([], [], set())


def test_syncing__snapshot__its_topics_are_there() -> None:
    subscriber = Subscriber()
    subscriber.bound("relay", AT)
    answer(subscriber, snapshot({A: 4}, fact(4)))
    assert subscriber.take() == ([fact(4)], [], {A})
    assert (subscriber.epoch, subscriber.heads, subscriber.deadline) == (5, {A: 4}, AT + CHECK)


def test_syncing__updates_that_go_on_from_the_snapshot_are_kept() -> None:
    subscriber = Subscriber()
    subscriber.bound("relay", AT)
    for each in (update(4, 3), update(6, 4), update(2, 0, B)):
        assert subscriber.update(each, AT) == []
    assert answer(subscriber, snapshot({A: 4}, fact(4))) == []
    assert subscriber.take() == ([fact(4), fact(6), fact(2, topic=B)], [update(6, 4), update(2, 0, B)], {A})
    assert subscriber.gaps == 0


def test_syncing__an_update_was_lost_meanwhile__it_asks_again() -> None:
    subscriber = Subscriber()
    subscriber.bound("relay", AT)
    subscriber.update(update(8, 6), AT)
    assert question(answer(subscriber, snapshot({A: 4}, fact(4)))) == (("",), 5, {A: 4})
    assert (subscriber.gaps, subscriber.is_current) == (1, False)
    assert answer(subscriber, snapshot({A: 8}, fact(8))) == []
    assert subscriber.heads == {A: 8}


@pytest.mark.parametrize("size", [1, 100])
def test_syncing__too_many_updates__what_they_were_is_asked_for(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT_SIZE", 100 * MOST_KEPT if size == 1 else 50 * 100)
    subscriber = Subscriber()
    subscriber.bound("relay", AT)
    for number in range(1, MOST_KEPT + 3):
        subscriber.update(update(number, number - 1, body=bytes(size)), AT)
    assert len(subscriber._kept) <= MOST_KEPT
    assert subscriber._kept_size <= 100 * MOST_KEPT
    assert question(answer(subscriber, snapshot({}))) == (("",), 5, {})


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "not yet"),
        Outcome(CellReturnCode.TIMEOUT),
        Outcome(CellReturnCode.OK),
        Outcome(CellReturnCode.OK, bodies=(b"\xc1",)),
    ],
)
def test_syncing__no_snapshot__waiting__it_asks_again(outcome: Outcome) -> None:
    subscriber = live({A: 4}, fact(4))
    question(subscriber.handle_timeout(AT + CHECK))
    assert answer(subscriber, outcome, AT + CHECK) == []
    assert (subscriber.state, subscriber.is_current) == (SubscriberState.WAITING, False)
    assert subscriber.update(update(6, 4), AT + CHECK) == []
    assert subscriber.handle_timeout(AT + CHECK) == []
    assert question(subscriber.handle_timeout(AT + CHECK + PAUSE)) == (("",), 5, {A: 4})


def test_live__the_next_update__applied_and_told_on() -> None:
    subscriber = live({A: 4}, fact(4))
    assert subscriber.update(update(9, 4), AT) == []
    assert subscriber.update(update(10, 0, B), AT) == []
    assert subscriber.take() == ([fact(9), fact(10, topic=B)], [update(9, 4), update(10, 0, B)], set())
    assert subscriber.take() == ([], [], set())
    assert subscriber.heads == {A: 9, B: 10}


def test_live__an_update_that_changes_nothing_is_told_on_all_the_same() -> None:
    subscriber = live({A: 4}, fact(4))
    same = Update(5, A, 9, 4, (fact(4),))
    subscriber.update(same, AT)
    assert subscriber.take() == ([], [same], set())


@pytest.mark.parametrize("number", [1, 3, 4])
def test_live__an_update_that_was_there__dropped(number: int) -> None:
    subscriber = live({A: 4}, fact(4))
    assert subscriber.update(update(number, 0), AT) == []
    assert subscriber.take() == ([], [], set())


@pytest.mark.parametrize(
    "lost", [update(9, 8), update(9, 0), update(9, 3), update(9, 8, B), update(5, 4, epoch=6), update(1, 0, epoch=4)]
)
def test_live__an_update_after_another__it_asks(lost: Update) -> None:
    subscriber = live({A: 4}, fact(4))
    assert question(subscriber.update(lost, AT)) == (("",), 5, {A: 4})
    assert (subscriber.state, subscriber.gaps, subscriber.is_current) == (SubscriberState.SYNCING, 1, False)
    assert subscriber.take() == ([], [], set())


@pytest.mark.parametrize("heads", [{}, {A: 4}, {A: 3}, {B: 0}])
def test_live__heads_that_are_known__nothing(heads: dict[str, int]) -> None:
    assert live({A: 4}, fact(4)).heads_are(5, heads, AT) == []


@pytest.mark.parametrize(("epoch", "heads"), [(5, {A: 5}), (5, {B: 1}), (5, {A: 0}), (6, {}), (4, {A: 4})])
def test_live__heads_ahead_or_of_another_epoch_or_forgotten__it_asks(epoch: int, heads: dict[str, int]) -> None:
    subscriber = live({A: 4}, fact(4))
    question(subscriber.heads_are(epoch, heads, AT))
    assert subscriber.gaps == 1
    assert subscriber.heads_are(epoch, heads, AT) == []  # once


def test_live__what_is_not_wanted_is_no_gap() -> None:
    subscriber = Subscriber((B,))
    subscriber.bound("relay", AT)
    answer(subscriber, snapshot({}))
    assert subscriber.update(update(9, 8), AT) == []
    assert subscriber.heads_are(5, {A: 9}, AT) == []
    assert subscriber.take() == ([], [], set())


def test_live__long_nothing__it_asks_and_is_current_still() -> None:
    subscriber = live({A: 4}, fact(4))
    assert subscriber.handle_timeout(AT + CHECK - 0.1) == []
    assert question(subscriber.handle_timeout(AT + CHECK)) == (("",), 5, {A: 4})
    assert (subscriber.gaps, subscriber.is_current) == (0, True)


def test_a_snapshot_of_another_epoch_replaces_everything() -> None:
    subscriber = live({A: 4, B: 2}, fact(4), fact(2, topic=B))
    subscriber.handle_timeout(AT + CHECK)
    answer(subscriber, snapshot({B: 1}, fact(1, b"new", B), epoch=6))
    assert subscriber.take() == ([withdrawal_of(fact(4)), fact(1, b"new", B)], [], {A, B})
    assert (subscriber.epoch, subscriber.heads) == (6, {B: 1})


def test_a_topic_of_which_the_parent_says_nothing_any_more_is_over() -> None:
    """The root has forgotten it, or the rule grants it no longer."""
    subscriber = live({A: 4, B: 2}, fact(4), fact(2, topic=B))
    subscriber.handle_timeout(AT + CHECK)
    answer(subscriber, snapshot({A: 4}, topics=()))
    assert subscriber.take() == ([withdrawal_of(fact(2, topic=B))], [], {B})
    assert subscriber.heads == {A: 4}


def test_a_snapshot_leaves_alone_what_it_does_not_speak_of() -> None:
    subscriber = live({A: 4, B: 2}, fact(4), fact(2, topic=B))
    subscriber.handle_timeout(AT + CHECK)
    answer(subscriber, snapshot({A: 4, B: 7}, topics=(B,)))
    assert subscriber.take() == ([withdrawal_of(fact(2, topic=B))], [], {B})
    assert list(subscriber.replica.facts()) == [fact(4)]


def test_unbound__apart__what_is_known_stays_and_may_be_old() -> None:
    subscriber = live({A: 4}, fact(4))
    assert subscriber.unbound() == [Unask(subscriber)]
    assert (subscriber.state, subscriber.is_current, subscriber.deadline) == (SubscriberState.APART, False, None)
    assert answer(subscriber, snapshot({})) == []
    assert subscriber.handle_timeout(AT + 1000) == []
    assert len(subscriber.replica) == 1
    assert question(subscriber.bound("relay", AT + 1000)) == (("",), 5, {A: 4})
