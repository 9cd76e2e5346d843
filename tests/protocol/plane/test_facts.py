"""What a fact is: on the wire, in a message, and what no peer should have sent."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.errors import DecodeError
from zmqfl.fqcn import MAX_LENGTH
from zmqfl.protocol.plane.facts import (
    MAX_BODY,
    MAX_KEY,
    MAX_NUMBER,
    MAX_TOPIC,
    MOST_BYTES,
    MOST_FACTS,
    Fact,
    batches,
    bound_topic,
    byte_length,
    concerns,
    decode_facts,
    encode_facts,
    place_of,
    problem_of_topic,
    props_topic,
    rids_topic,
    withdrawal_of,
)
from zmqfl.wire import payload

TOPIC = props_topic("site-1")
FACT = Fact("site-1", 7, 3, 1, TOPIC, "round", b"body")
GOOD: list[Any] = ["site-1", 7, 3, 1, TOPIC, "round", b"body"]


NO_FIELD: list[Any] = [None, b"x", 1.0, [], -1, True]


def changed(index: int, value: object) -> list[Any]:
    return [*GOOD[:index], value, *GOOD[index + 1 :]]


@pytest.mark.parametrize("body", [None, b"", b"x", bytes(MAX_BODY)])
@pytest.mark.parametrize("topic", [TOPIC, rids_topic("models"), rids_topic("mödèle 1")])
def test_facts_come_out_as_they_went_in(topic: str, body: bytes | None) -> None:
    facts = [
        Fact("site-1", 0, 1, 0, topic, "k", body),
        Fact("site-1", MAX_NUMBER, MAX_NUMBER, 5, topic, "\ud800", body),
    ]
    assert decode_facts(payload.decode(payload.encode(encode_facts(facts)))) == facts
    assert decode_facts([]) == []


@pytest.mark.parametrize(
    "row",
    [
        None,
        "site-1",
        [],
        GOOD[:-1],
        [*GOOD, 1],
        {"origin": "site-1"},
        *[changed(index, value) for index in range(6) for value in NO_FIELD],
        changed(0, ""),
        changed(0, " site-1"),
        changed(0, "a..b"),
        changed(0, "n" * (MAX_LENGTH + 1)),
        changed(1, MAX_NUMBER + 1),
        changed(2, 0),
        changed(2, MAX_NUMBER + 1),
        changed(3, 3),
        changed(3, -1),
        changed(4, props_topic("site-10")),
        changed(4, "props/site-1"),
        changed(4, "other/site-1/"),
        changed(5, ""),
        changed(5, "k" * (MAX_KEY + 1)),
        changed(6, "text"),
        changed(6, bytes(MAX_BODY + 1)),
        changed(6, bytearray(b"x")),
    ],
)
def test_what_is_no_fact(row: object) -> None:
    with pytest.raises(DecodeError):
        decode_facts([GOOD, row])


@pytest.mark.parametrize("tree", [None, 1, "facts", {}, (GOOD,), b"x"])
def test_what_is_no_list_of_facts(tree: object) -> None:
    with pytest.raises(DecodeError, match="not a list"):
        decode_facts(tree)


@pytest.mark.parametrize("topic", [TOPIC, "rids/a/", "rids/a b/", "rids/" + "x" * (MAX_TOPIC - 6) + "/"])
def test_a_good_topic(topic: str) -> None:
    assert problem_of_topic(topic) == ""


@pytest.mark.parametrize(
    "topic",
    [
        None,
        b"rids/a/",
        "",
        "/",
        "rids",
        "rids/",
        "rids//",
        "rids/a",
        "rids/a//",
        "rids/a/b/",
        "other/a/",
        "rids/\ud800/",
        "rids/a\n/",
        "rids/" + "x" * (MAX_TOPIC - 5) + "/",
    ],
)
def test_a_bad_topic(topic: object) -> None:
    assert problem_of_topic(topic)


def test_one_topic_is_no_prefix_of_another() -> None:
    assert not props_topic("site-10").startswith(props_topic("site-1"))


def test_a_withdrawal_stands_where_its_fact_stood() -> None:
    over = withdrawal_of(FACT)
    assert (over.body, place_of(over)) == (None, place_of(FACT))
    assert (over.token, over.number, over.floor) == (FACT.token, FACT.number, FACT.floor)


@pytest.mark.parametrize("key", ["k", "k" * MAX_KEY, "ключ", "\ud800" * MAX_KEY])
@pytest.mark.parametrize("body", [None, b"", bytes(MAX_BODY)])
def test_the_size_is_what_it_takes_on_the_wire_at_most(key: str, body: bytes | None) -> None:
    fact = Fact("n" * MAX_LENGTH, MAX_NUMBER, MAX_NUMBER, MAX_NUMBER - 1, rids_topic("ü" * 200), key, body)
    alone, none = (sum(map(len, payload.encode(encode_facts(facts)))) for facts in ([fact], []))
    assert alone - none <= fact.size <= alone - none + 64
    assert fact.size <= MOST_BYTES


def test_the_length_of_a_text_is_in_bytes() -> None:
    assert [byte_length(text) for text in ("", "abc", "é", "\ud800")] == [0, 3, 2, 3]


def test_batches_hold_what_fits_a_message() -> None:
    assert list(batches([], len)) == []
    assert [len(batch) for batch in batches([b""] * (2 * MOST_FACTS + 1), len)] == [MOST_FACTS, MOST_FACTS, 1]
    half = bytes(MOST_BYTES // 2)
    assert list(batches([half, half, b"x", half], len)) == [[half, half], [b"x", half]]


def test_a_batch_has_one_item_at_least() -> None:
    large = bytes(2 * MOST_BYTES)
    assert list(batches([large, b"x", large], len)) == [[large], [b"x"], [large]]


@pytest.mark.parametrize(
    ("receiver", "child", "is_so"),
    [
        ("site-1", "site-1", True),
        ("relay.site-1", "relay", True),
        ("relay.sub.site-1", "relay.sub", True),
        ("relay.sub.site-1", "relay", True),
        ("site-10", "site-1", False),
        ("site-1", "site-10", False),
        ("relay", "relay.site-1", False),  # what is for a relay is nothing for those below it
        ("relay-2.site-1", "relay", False),
        ("relay.site-1", "relay.site-10", False),
    ],
)
def test_what_is_for_one_cell_concerns_it_and_those_above_it(receiver: str, child: str, is_so: bool) -> None:
    assert concerns(bound_topic(receiver), child) is is_so


@pytest.mark.parametrize("topic", [props_topic("site-2"), rids_topic("models")])
def test_all_else_concerns_all(topic: str) -> None:
    assert concerns(topic, "site-1")
