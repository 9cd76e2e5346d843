"""The table of `zmqfl.protocol.relay_grants`, a test per row."""

from __future__ import annotations

from itertools import count

import pytest

from zmqfl.protocol import relay_grants as module
from zmqfl.protocol.commands import Call
from zmqfl.protocol.relay_grants import FRESH, MOST_HELD, TOUCH, Grants

AT = 100.0
numbers = count(1)


def call(origin: str = "a", instance: int = 1) -> Call:
    return Call(origin, instance, next(numbers), "zmqfl.pull", "get", 0, {}, (), 10.0, True)


def granted(*names: str) -> Grants:
    grants = Grants()
    for name in names:
        grants.ask(name, call(name), AT)
    grants.grant(names)
    return grants


def test_nobody_is_served_before_the_owner_grants_it__then_what_was_held() -> None:
    grants, first, second = Grants(), call(), call()
    assert not grants.hear("a", first, AT)
    assert not grants.is_asking("a")
    grants.ask("a", first, AT)
    assert grants.is_asking("a")
    assert grants.hold("a", first)
    assert not grants.hear("a", second, AT)
    assert grants.hold("a", second)
    assert grants.held == [first, second]
    assert grants.grant(["a", "unknown"]) == [first, second]
    assert grants.hear("a", call(), AT + 1)
    assert grants.held == []


def test_the_owner_does_not__what_was_held_is_given_back() -> None:
    grants, request = Grants(), call()
    grants.ask("a", request, AT)
    grants.hold("a", request)
    assert grants.deny(["a", "unknown"]) == [request]
    assert len(grants) == 0
    assert not grants.hear("a", call(), AT)


def test_few_are_held() -> None:
    grants = Grants()
    grants.ask("a", call(), AT)
    assert [grants.hold("a", call()) for _ in range(MOST_HELD + 1)] == [True] * MOST_HELD + [False]


def test_the_owner_is_asked_again_for_those_that_are_active_in_one() -> None:
    grants = granted("a", "b", "c")
    assert not grants.deadline
    for name in "ab":
        assert grants.hear(name, call(name), AT + 1)
    assert grants.deadline == AT + TOUCH
    assert grants.due(AT + TOUCH - 0.1) == []
    assert grants.due(AT + TOUCH) == ["a", "b"]
    assert grants.hear("a", call(), AT + TOUCH + FRESH), "it is served while the owner is asked"
    assert grants.due(AT + TOUCH + FRESH) == []
    assert not grants.deadline
    grants.grant(["a", "b"])
    assert grants.deadline == AT + 2 * TOUCH, "it was heard since"
    assert grants.due(AT + 2 * TOUCH + FRESH) == ["a"]


def test_a_short_transaction_is_asked_for_sooner() -> None:
    grants = granted("a")
    grants.pause = 0.5
    grants.hear("a", call(), AT + 0.1)
    assert grants.due(AT + 0.5) == ["a"]


def test_a_word_that_is_stale_is_none() -> None:
    grants = granted("a")
    assert grants.hear("a", call(), AT + FRESH - 0.1)
    assert not grants.hear("a", call(), AT + FRESH)
    assert not grants.is_asking("a")


def test_done__the_owner_is_not_asked_again_before_it_is_active_again() -> None:
    grants = granted("a")
    grants.hear("a", call(), AT + 1)
    grants.rest("a")
    grants.rest("unknown")
    assert grants.due(AT + TOUCH) == []
    assert not grants.deadline
    assert grants.hear("a", call(), AT + 5)
    assert grants.due(AT + 5) == ["a"]


def test_a_chunk_that_moves_to_a_neighbour__whoever_takes_by_it_is_active() -> None:
    grants = Grants()
    for name, by in (("r.a", "r"), ("r.b", "r"), ("s", "s")):
        grants.ask(name, call(by), AT)
    grants.grant(["r.a", "r.b", "s"])
    grants.moved("r", 2, AT + 1)
    assert grants.deadline is None, "another start of it"
    grants.moved("r", 1, AT + 1)
    assert grants.due(AT + TOUCH) == ["r.a", "r.b"]


def test_news_are_told_once() -> None:
    grants = granted("a")
    assert not grants.has_news("a", 0.0, AT)
    assert grants.has_news("a", AT + 1, AT + 2)
    assert not grants.has_news("a", AT + 1, AT + 3)
    assert not grants.has_news("unknown", AT + 1, AT + 3)
    grants.ask("b", call("b"), AT)
    assert not grants.has_news("b", AT + 1, AT + 3), "it may have none of it yet"
    assert [grants.knows(name) for name in ("a", "b", "unknown")] == [True, True, False]


def test_many_receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RECEIVERS", 2)
    assert not granted("a").is_full
    assert granted("a", "b").is_full
