"""The table of `zmqfl.rpc.supply`, line by line."""

from __future__ import annotations

import random

from zmqfl.rpc.supply import MOST_BYTES, MOST_CREDIT, CloseSource, Forget, Give, Produce, Refuse, State, Supply


def test_an_item_leaves_at_once_when_it_is_waited_for() -> None:
    supply = Supply()
    assert supply.more("ask-1", 3) == [Produce()]
    assert supply.produced("a", 1) == [Give("ask-1", ["a"])]
    assert supply.is_producing  # there is room for others


def test_items_that_came_meanwhile_leave_together() -> None:
    supply = Supply()
    supply.more("ask-1", 3)
    supply.produced("a", 1)
    assert supply.produced("b", 1) == []
    assert supply.more("ask-2", 3) == [Give("ask-2", ["b"])]
    assert supply.is_producing
    assert supply.more("ask-3", 3) == []
    assert supply.produced("c", 1) == [Give("ask-3", ["c"])]


def test_it_runs_no_further_than_one_ask_ahead() -> None:
    supply = Supply()
    supply.more("ask-1", 3)
    for item in "abcd":
        assert supply.is_producing
        supply.produced(item, 1)
    assert supply.state is State.IDLE
    assert repr(supply) == "<Supply idle, 3 items here>"
    assert supply.more("ask-2", 2) == [Give("ask-2", ["b", "c", "d"]), Produce()]
    supply.produced("e", 1)
    assert supply.is_producing
    supply.produced("f", 1)
    assert not supply.is_producing


def test_big_items_fill_the_room_sooner() -> None:
    supply = Supply()
    supply.more("ask-1", 100)
    supply.produced("a", 1)
    supply.produced("b", MOST_BYTES - 1)
    assert supply.is_producing
    supply.produced("c", 1)
    assert supply.state is State.IDLE
    supply.more("ask-2", 100)
    assert supply.is_producing  # the bytes have left


def test_a_credit_has_an_end() -> None:
    supply = Supply()
    supply.more("ask-1", 10**9)
    produced = 0
    while supply.is_producing:
        supply.produced(produced, 0)
        produced += 1
    assert produced == MOST_CREDIT + 1
    other = Supply()
    other.more("ask-1", -5)
    other.produced("a", 1)
    other.produced("b", 1)
    assert other.state is State.IDLE


def test_the_end_is_told_to_who_waits() -> None:
    supply = Supply()
    supply.more("ask-1", 3)
    assert supply.finished(None) == [Give("ask-1", [], is_ended=True), Forget()]
    assert supply.state is State.CLOSED
    assert supply.more("ask-2", 3) == [Refuse("ask-2")]


def test_the_end_comes_with_the_last_items() -> None:
    supply = Supply()
    supply.more("ask-1", 3)
    supply.produced("a", 1)
    supply.produced("b", 1)
    assert supply.finished(None) == []
    assert supply.state is State.SPENT
    assert supply.more("ask-2", 3) == [Give("ask-2", ["b"], is_ended=True), Forget()]


def test_an_error_comes_behind_the_items_before_it() -> None:
    error = KeyError("w")
    supply = Supply()
    supply.more("ask-1", 3)
    supply.produced("a", 1)
    supply.produced("b", 1)
    supply.finished(error)
    assert supply.more("ask-2", 3) == [Give("ask-2", ["b"])]
    assert supply.more("ask-3", 3) == [Give("ask-3", [], error=error), Forget()]
    at_once = Supply()
    at_once.more("ask-1", 3)
    assert at_once.finished(error) == [Give("ask-1", [], error=error), Forget()]


def test_two_asks_at_once_are_one_too_many() -> None:
    supply = Supply()
    supply.more("ask-1", 3)
    assert supply.more("ask-2", 3) == [Refuse("ask-2")]
    assert supply.produced("a", 1) == [Give("ask-1", ["a"])]


def test_close() -> None:
    idle = Supply()
    assert idle.close() == [CloseSource(), Forget()]
    assert idle.close() == []
    producing = Supply()
    producing.more("ask-1", 3)
    assert producing.close() == []
    assert not producing.is_producing
    assert producing.more("ask-2", 3) == [Refuse("ask-2")]
    assert producing.close() == []
    assert producing.produced("a", 1) == [CloseSource(), Forget()]
    ending = Supply()
    ending.more("ask-1", 3)
    ending.close()
    assert ending.finished(None) == [Forget()]
    spent = Supply()
    spent.more("ask-1", 3)
    spent.produced("a", 1)
    spent.finished(None)
    assert spent.close() == [Forget()]


def test_items_come_in_order_once_and_no_further_than_asked(seed: int) -> None:
    """Any order of events: what is given is 0, 1, 2, ..., and what was made is at most one credit ahead."""
    rng = random.Random(seed)
    supply, given, made, asked, credit = Supply(), list[int](), 0, 0, 0
    while len(given) < 100:
        if supply.is_producing and rng.random() < 0.7:
            commands = supply.produced(made, rng.choice([1, MOST_BYTES // 3]))
            made += 1
        elif supply._held is None:
            asked += 1
            credit = rng.randint(1, 8)
            commands = supply.more(asked, credit)
        else:
            continue
        for command in commands:
            if isinstance(command, Give):
                assert command.ask == asked
                assert command.items
                given += command.items
        assert made - len(given) <= max(8, credit)
    assert given == list(range(len(given)))
