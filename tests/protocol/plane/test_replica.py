"""The facts that one cell knows."""

from __future__ import annotations

from zmqfl.protocol.plane.facts import Fact, place_of, props_topic, rids_topic, withdrawal_of
from zmqfl.protocol.plane.replica import Replica


def fact(number: int, body: bytes | None = b"x", key: str = "round", origin: str = "site-1", topic: str = "") -> Fact:
    return Fact(origin, 1, number, 0, topic or props_topic(origin), key, body)


def test_a_fact_stands_until_another_takes_its_place() -> None:
    replica = Replica()
    assert replica.apply(fact(1))
    assert not replica.apply(fact(1))
    assert replica.apply(fact(2, b"longer"))
    assert list(replica.facts()) == [fact(2, b"longer")]
    assert replica.size == fact(2, b"longer").size
    assert replica.find(place_of(fact(1))) == fact(2, b"longer")
    assert repr(replica) == "<Replica 1 facts under 1 topics>"


def test_a_withdrawal_removes_it_and_changes_nothing_where_there_was_none() -> None:
    replica = Replica()
    assert not replica.apply(fact(1, None))
    assert not replica.has(props_topic("site-1"))
    replica.apply(fact(1))
    assert replica.has(props_topic("site-1"))
    assert replica.apply(fact(2, None))
    assert (len(replica), replica.size, replica.topics(), replica.find(place_of(fact(1)))) == (0, 0, [], None)


def test_cells_may_say_different_things_under_one_topic_and_key() -> None:
    replica = Replica()
    for origin in ("site-1", "site-2"):
        replica.apply(fact(1, origin.encode(), "rid", origin, rids_topic("models")))
    assert [each.body for each in replica.facts("rids/")] == [b"site-1", b"site-2"]


def test_a_prefix_is_of_the_topic() -> None:
    replica = Replica()
    for origin in ("site-1", "site-10"):
        replica.apply(fact(1, origin=origin))
    assert [each.origin for each in replica.facts(props_topic("site-1"))] == ["site-1"]
    assert [each.origin for each in replica.facts("props/site-1")] == ["site-1", "site-10"]


def test_a_topic_is_replaced_and_what_has_changed_is_told() -> None:
    replica = Replica()
    for key in ("kept", "changed", "over"):
        replica.apply(fact(1, key=key))
    replica.apply(fact(1, origin="site-2"))
    changes = replica.replace(
        props_topic("site-1"), [fact(1, key="kept"), fact(2, key="changed"), fact(3, key="new"), fact(4, None, "none")]
    )
    assert changes == [withdrawal_of(fact(1, key="over")), fact(2, key="changed"), fact(3, key="new")]
    assert len(replica) == 4
    assert replica.replace(props_topic("site-9"), []) == []


def test_two_are_equal_that_hold_the_same() -> None:
    one, other = Replica(), Replica()
    for number in (1, 2):
        one.apply(fact(number, key=f"{number}"))
    for number in (2, 1):
        other.apply(fact(number, key=f"{number}"))
    assert one == other
    other.apply(fact(3))
    assert one != other
    assert one != 1
