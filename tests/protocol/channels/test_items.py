"""Batches of items: whatever goes in comes out, and what no carrier would send is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.values import bounded
from zmqfl.errors import DecodeError
from zmqfl.protocol.channels.buffer import ITEM_COST
from zmqfl.protocol.channels.items import LONG, Item, Part, cell_of, decode_batch, encode_batch, item_of, writer_of
from zmqfl.wire.messages import MAX_BODIES

SIZES = [0, 1, 5, LONG - 1, LONG, LONG + 1]


def item(number: int, *sizes: int, writer: str = "site-1/1", codec: int = 1) -> Item:
    return item_of(writer, number, codec, [bytes([number % 256]) * size for size in sizes])


def plain(parts: list[Part]) -> list[tuple[Any, ...]]:
    """Parts with the bytes of their frames."""
    return [
        (
            p.place,
            [(i.writer, i.number, i.codec, [bytes(f) for f in i.frames], i.size) for i in p.items],
            p.counts,
            p.end,
        )
        for p in parts
    ]


def test_small_items_share_a_body_and_long_ones_have_their_own() -> None:
    items = [item(1, 10), item(2, 20), item(3, LONG), item(4, 5)]
    headers, bodies = encode_batch([Part(1, items)], "site-1")
    assert [len(body) for body in bodies] == [30, LONG, 5]
    assert bodies[1] is items[2].frames[0]
    assert headers == {"x": [[1, "", 1, [10, 20, LONG, 5]]]}
    [part] = decode_batch(headers, bodies, "site-1")
    assert part.items[2].frames[0] is bodies[1]
    assert part.items == items


def test_a_gap_and_another_writer_begin_a_run() -> None:
    items = [item(1, 1), item(3, 1), item(4, 1), item(1, 1, writer="site-2/1")]
    headers, _ = encode_batch([Part(7, items, (5, 6), "over")], "server")
    assert headers["x"] == [[7, "site-1/1", 1, [1]], [7, "site-1/1", 3, [1, 1]], [7, "site-2/1", 1, [1]]]
    assert (headers["k"], headers["z"]) == ([[7, 5, 6]], [[7, "over"]])


def test_a_size_counts_the_frames_and_a_cost() -> None:
    assert item(1, 10, 20).size == 30 + ITEM_COST
    assert item_of("a/1", 1, 1, []).size == ITEM_COST


def test_names_of_writers() -> None:
    assert writer_of("relay.site-1", 12) == "relay.site-1/12"
    assert cell_of("relay.site-1/12") == "relay.site-1"


RUNS = st.lists(
    st.builds(
        item,
        st.integers(1, 5),
        st.sampled_from(SIZES),
        writer=st.sampled_from(["site-1/1", "site-1/2", "site-2/1"]),
        codec=st.sampled_from([1, 5]),
    )
    | st.builds(item, st.integers(1, 5), st.sampled_from(SIZES), st.sampled_from(SIZES), codec=st.just(5)),
    max_size=8,
)
PARTS = st.lists(
    st.builds(Part, st.integers(0, 3), RUNS, st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9)), st.none()),
    max_size=3,
    unique_by=lambda part: part.place,
)


@bounded
@given(PARTS)
def test_what_goes_in_comes_out(parts: list[Part]) -> None:
    headers, bodies = encode_batch(parts, "site-1")
    assert len(bodies) <= MAX_BODIES
    found = decode_batch(headers, bodies, "site-1")
    kept = [part for part in parts if part.items or part.counts is not None]
    assert sorted(plain(found)) == sorted(plain(kept))


@pytest.mark.parametrize(("headers", "bodies"), [
    ({"x": 3}, []), ({"x": [[1, "", 1]]}, []), ({"x": [[1, "", 1, 5]]}, []), ({"x": [["1", "", 1, []]]}, []),
    ({"x": [[1, b"", 1, []]]}, []), ({"x": [[1, "", -1, []]]}, []), ({"x": [[1, "", 1, [5]]]}, [b"1234"]),
    ({"x": [[1, "", 1, [5]]]}, []), ({"x": [[1, "", 1, [-1]]]}, [b"x"]), ({"x": [[1, "", 1, [[1]]]]}, []),
    ({"x": [[1, "", 1, [[1, "5"]]]]}, []), ({"x": [[1, "", 1, [[1, *[0] * 63]]]]}, []), ({"x": []}, [b"more"]),
    ({"x": [[1, "", 1, [2]]]}, [b"1", b"2"]), ({"k": [[1, 2]]}, []), ({"k": [[1, 2, "3"]]}, []), ({"z": [1]}, []),
    ({"w": 1}, []), ({"w": ["a"]}, []), ({"x": [[1, "", 1, [True]]]}, [b"1"]), ({"x": [[1, "", 1, [None]]]}, []),
])  # fmt: skip
def test_chan_R32_what_no_carrier_sends_is_refused(headers: dict[str, Any], bodies: list[bytes]) -> None:
    with pytest.raises(DecodeError):
        decode_batch(headers, bodies, "site-1")


SCALARS = st.none() | st.booleans() | st.integers(-3, 1 << 40) | st.text(max_size=3) | st.binary(max_size=3)
ROWS = st.lists(SCALARS, max_size=4)
JSON = SCALARS | ROWS | st.lists(ROWS | SCALARS, max_size=3) | st.dictionaries(st.text(max_size=2), ROWS, max_size=2)


@bounded
@given(st.dictionaries(st.sampled_from("xkzwns"), JSON), st.lists(st.binary(max_size=10), max_size=3))
def test_chan_R32_any_headers_give_items_or_an_error(headers: dict[str, Any], bodies: list[bytes]) -> None:
    try:
        parts = decode_batch(headers, bodies, "site-1")
    except DecodeError:
        return
    assert sum(len(frame) for part in parts for each in part.items for frame in each.frames) == sum(map(len, bodies))
