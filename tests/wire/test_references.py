"""Payloads whose pieces are elsewhere: tables, what they put together, and what is refused of them."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqfl.errors import DecodeError, EncodeError
from zmqfl.wire import payload
from zmqfl.wire.references import (
    MOST_PIECES,
    MOST_PLACES,
    LargeObjectRef,
    Place,
    Table,
    decode_table,
    encode_apart,
    place_refs,
    table_of,
)

A, B = Place("server", "RA", 100), Place("site-1", "RB", 200)
BIG = np.arange(4096.0)
RAW = bytes(range(256)) * 1024


def left(value: Any, place: Place = A) -> tuple[Any, Table, list[Any]]:
    """The tree of a value, the table for its pieces at `place`, and the pieces."""
    (tree, *pieces), _ = payload.encode_pieces(value)
    return tree, table_of((place, index) for index in range(len(pieces))), [bytearray(piece) for piece in pieces]


def test_a_value_by_way_of_its_references() -> None:
    value: dict[str, Any] = {
        "w": BIG,
        "raw": RAW,
        "mutable": bytearray(RAW),
        "F": np.asfortranarray(BIG.reshape(64, 64)),
        "n": 1,
    }
    tree, table, pieces = left(value)
    assert table == Table((A,), ((0, 0, 4),))
    passed = place_refs(tree, decode_table(table.encode()))
    assert passed["n"] == 1
    assert [passed[name].nbytes for name in ("w", "raw", "mutable", "F")] == [32768, 262144, 262144, 32768]
    assert (passed["F"].index, passed["F"].owner) == (3, "server")
    apart = encode_apart({"f": passed["F"], "first": passed["raw"], "m": passed["mutable"], "w": [passed["w"]]})
    assert apart is not None
    again = decode_table(apart.table(None).encode())
    assert again == Table((A,), ((0, 3, 1), (0, 1, 2), (0, 0, 1)))
    got = payload.decode([apart.tree, *again.frames([pieces])], adopt=True)
    assert (got["first"], got["m"]) == (RAW, bytearray(RAW))
    assert np.array_equal(got["w"][0], BIG)
    assert got["f"].flags.f_contiguous
    assert np.array_equal(got["f"], value["F"])


def test_references_of_several_cells_and_pieces_of_this_one() -> None:
    mine, first, second = np.arange(2048.0), left([BIG], A), left([BIG + 1, RAW], B)
    refs = [*place_refs(*first[:2]), *place_refs(*second[:2])]
    apart = encode_apart([refs[1], mine, refs[0], refs[2], mine + 1])
    assert apart is not None
    assert [len(piece) for piece in apart.pieces] == [16384, 16384]
    assert apart.items == [8, 8]
    own = Place("relay", "RC", 300)
    table = apart.table(own)
    assert table == Table((B, own, A), ((0, 0, 1), (1, 0, 1), (2, 0, 1), (0, 1, 1), (1, 1, 1)))
    frames = table.frames([second[2], apart.pieces, first[2]])
    got = payload.decode([apart.tree, *frames])
    for found, expected in zip(got, [BIG + 1, mine, BIG, np.frombuffer(RAW, np.uint8), mine + 1], strict=True):
        assert np.array_equal(np.frombuffer(found, np.uint8), expected.view(np.uint8))


def test_what_is_mentioned_twice_is_two_things() -> None:
    tree, table, pieces = left([BIG])
    (ref,) = place_refs(tree, table)
    apart = encode_apart((ref, ref))
    assert apart is not None
    one, two = payload.decode([apart.tree, *apart.table(None).frames([pieces])], adopt=True)
    assert np.array_equal(one, two)
    assert not np.shares_memory(one, two)


def test_without_a_reference_nothing_is_apart() -> None:
    assert encode_apart({"w": BIG}) is None
    assert encode_apart(object()) is None


def test_what_cannot_travel_besides_a_reference_is_named() -> None:
    (ref,) = place_refs(*left([BIG])[:2])
    with pytest.raises(EncodeError, match=r"payload\['b'\].*object cannot travel"):
        encode_apart({"a": ref, "b": object()})
    with pytest.raises(EncodeError, match="LargeObjectRef cannot travel"):
        payload.encode(ref)


def test_too_many_places() -> None:
    with pytest.raises(EncodeError, match="65 objects of others"):
        table_of((Place("server", f"R{n}", 1), 0) for n in range(MOST_PLACES + 1))


BAD: list[Any] = [
    5, [], [[]], [[], [], []], [[], []], [[["server", "R"]], []], [[["server", "R", 0]], []], [["abc"], []],
    [[[1, "R", 1]], []], [[["server", 2, 1]], []], [[["server", "R", 1.0]], []], [[["server", "R", True]], []],
    [[["server", "R", 1]], [[0, 0]]], [[["server", "R", 1]], [[0, 0, 0]]], [[["server", "R", 1]], [[0, -1, 1]]],
    [[["server", "R", 1]], [[1, 0, 1]]], [[["server", "R", 1]], [[-1, 0, 1]]], [[["server", "R", 1]], [["0", 0, 1]]],
    [[["server", "R", 1]], [[0, 0, True]]], [[["server", "R", 1]], [[0, 0, MOST_PIECES + 1]]],
    [[["server", "R", 1]], [[0, 0, 1 << 19]] * 3], [[["server", "R", 1]] * (MOST_PLACES + 1), []],
]  # fmt: skip


@pytest.mark.parametrize("tree", BAD, ids=lambda tree: repr(tree)[:40])
def test_a_bad_table_is_refused(tree: Any) -> None:
    with pytest.raises(DecodeError):
        decode_table(payload.encode(tree)[0])


@given(st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists))
def test_any_table_is_read_or_refused(tree: Any) -> None:
    with contextlib.suppress(DecodeError):
        decode_table(payload.encode(tree)[0])


def test_pieces_that_are_not_there() -> None:
    with pytest.raises(DecodeError, match="piece 2 is mentioned where there are 2"):
        Table((A,), ((0, 1, 2),)).frames([[b"1", b"2"]])


@pytest.mark.parametrize(
    ("tree", "runs", "text"),
    [
        (left([BIG])[0], ((0, 0, 2),), "nothing mentions"),
        (left([BIG, BIG])[0], ((0, 0, 1),), "does not tell where"),
        (b"\xc1", (), "payload"),
        (b"\xdd\xff\xff\xff\xff", (), "payload"),
    ],
    ids=["a piece too many", "one too few", "no tree", "a claim"],
)
def test_a_tree_that_does_not_fit_its_table_is_refused(
    tree: bytes, runs: tuple[tuple[int, int, int], ...], text: str
) -> None:
    with pytest.raises(DecodeError, match=text):
        place_refs(tree, Table((A,), runs))


def test_sizes_in_a_tree_are_checked_when_it_is_put_together() -> None:
    tree, table, _ = left([BIG])
    with pytest.raises(DecodeError, match="bytes left where 32768 are mentioned"):
        payload.decode([tree, *table.frames([[bytearray(9)]])], adopt=True)


def test_a_reference_is_a_value() -> None:
    (one,), (two,) = place_refs(*left([RAW])[:2]), place_refs(*left([RAW])[:2])
    assert one == two
    assert hash(one) == hash(two)
    assert isinstance(one, LargeObjectRef)
