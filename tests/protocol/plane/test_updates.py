"""What a hub tells, there and back, and what no hub should have told."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.errors import DecodeError
from zmqfl.protocol.plane.facts import MAX_NUMBER, MAX_TOPIC, Fact, props_topic
from zmqfl.protocol.plane.updates import (
    MOST_PREFIXES,
    MOST_TOPICS,
    Snapshot,
    Update,
    decode_heads,
    decode_question,
    decode_snapshot,
    decode_update,
    encode_heads,
    encode_question,
    encode_snapshot,
    encode_update,
)
from zmqfl.wire import payload

TOPIC = props_topic("site-1")
FACTS = (Fact("site-1", 1, 2, 0, TOPIC, "round", b"1"), Fact("site-1", 1, 3, 0, TOPIC, "phase", None))
HEADERS: dict[str, Any] = {"e": 5, "t": TOPIC, "s": 9, "a": 4}
NO_HEADS: list[Any] = [None, [], {1: 1}, {b"t": 1}, {"t": -1}, {"t": 1.0}, {"t": True}, {"t": MAX_NUMBER + 1}]


def tree(value: object) -> tuple[bytes | memoryview, ...]:
    return tuple(payload.encode(value))


def test_all_come_out_as_they_went_in() -> None:
    for facts in ((), FACTS, (Fact("site-1", 1, 2, 0, TOPIC, "k", bytes(30_000)),)):
        update = Update(5, TOPIC, 9, 4, facts)
        assert decode_update(*encode_update(update)) == update
        snapshot = Snapshot(5, {TOPIC: 9, "rids/a/": 1}, (TOPIC,), facts)
        assert decode_snapshot(encode_snapshot(snapshot)) == snapshot
    assert decode_heads(encode_heads(5, {TOPIC: 9})) == (5, {TOPIC: 9})
    assert decode_question(encode_question(("", "rids/"), 0, {})) == (("", "rids/"), 0, {})


@pytest.mark.parametrize("name", ["e", "t", "s", "a"])
@pytest.mark.parametrize("value", [None, -1, 1.0, True, [], MAX_NUMBER + 1, "9"])
def test_an_update_with_a_bad_header(name: str, value: object) -> None:
    with pytest.raises(DecodeError):
        decode_update({**HEADERS, name: value}, tree([]))


@pytest.mark.parametrize("headers", [{}, {"e": 1}, {**HEADERS, "e": 0}, {**HEADERS, "s": 0}, {**HEADERS, "a": 9}])
def test_an_update_without_sense(headers: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="no epoch, topic and numbers"):
        decode_update(headers, tree([]))


def test_an_update_with_facts_of_another_topic() -> None:
    other = Update(5, TOPIC, 9, 4, (Fact("site-2", 1, 1, 0, props_topic("site-2"), "k", b""),))
    with pytest.raises(DecodeError, match="facts of others"):
        decode_update(*encode_update(other))


@pytest.mark.parametrize("bodies", [(), (b"",), (b"\xc1",), tree(1), tree([1]), (*tree([]), b"more")])
def test_an_update_with_a_bad_body(bodies: tuple[bytes, ...]) -> None:
    with pytest.raises(DecodeError):
        decode_update(HEADERS, bodies)


@pytest.mark.parametrize("value", [None, [], [1], [0, {}], [-1, {}], ["1", {}], [True, {}], [1, {}, 2]])
def test_heads_that_are_none(value: object) -> None:
    with pytest.raises(DecodeError):
        decode_heads(tree(value))


@pytest.mark.parametrize("heads", NO_HEADS)
def test_numbers_that_are_none(heads: object) -> None:
    for decode, value in (
        (decode_heads, [1, heads]),
        (decode_question, [[""], 1, heads]),
        (decode_snapshot, [1, heads, [], []]),
    ):
        with pytest.raises(DecodeError):
            decode(tree(value))


def test_numbers_of_too_many_topics() -> None:
    with pytest.raises(DecodeError, match="numbers of more than"):
        decode_heads(tree([1, dict.fromkeys(map(str, range(2 * MOST_TOPICS + 1)), 1)]))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        [[""], 1],
        ["", 1, {}],
        [[1], 1, {}],
        [[""], -1, {}],
        [[b""], 1, {}],
        [["p"] * (MOST_PREFIXES + 1), 1, {}],
        [["p" * (MAX_TOPIC + 1)], 1, {}],
    ],
)
def test_a_question_that_is_none(value: object) -> None:
    with pytest.raises(DecodeError, match="SUBSCRIBE is no list"):
        decode_question(tree(value))


@pytest.mark.parametrize(
    "value",
    [None, [], [1, {}, []], [0, {}, [], []], [1, {}, [1], []], [1, {}, {}, []], [1, {}, [], None], [1, {}, [], [1]]],
)
def test_a_snapshot_that_is_none(value: object) -> None:
    with pytest.raises(DecodeError):
        decode_snapshot(tree(value))
