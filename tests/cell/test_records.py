"""Payloads as a stream that is cut anywhere, and hostile streams."""

from __future__ import annotations

import resource
import struct
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.wire.values import assert_same, examples
from zmqfl.cell.records import MOST_FRAMES, PARTS, SMALL, Piece, RecordReader, cut, record_of
from zmqfl.errors import CellReturnCode, DecodeError, RequestFailed
from zmqfl.wire.payload import decode, encode_pieces

LIMIT = 1 << 30
VALUES = [1, {"w": np.arange(5000.0), "b": [1, "a"]}, bytes(100_000), "text", [np.arange(3000), (1, 2)]]


def pieces_of(values: list[Any]) -> list[Piece]:
    return [piece for value in values for piece in record_of(*encode_pieces(value))]


def read(chunks: list[Any], limit: int = LIMIT) -> list[Any]:
    reader = RecordReader(limit)
    values = [decode(frames, adopt=True, most=len(frames)) for chunk in chunks for frames in reader.feed(chunk)]
    assert reader.is_between
    return values


def stream(values: list[Any]) -> bytes:
    return b"".join(bytes(piece.data) for piece in pieces_of(values))


@pytest.mark.parametrize("chunk", [1, 3, 4, 5, 11, 12, 13, 4096, 100_000, 1 << 30])
def test_values_come_out_the_same_wherever_they_are_cut(chunk: int) -> None:
    parts = list(cut(pieces_of(VALUES), chunk))
    assert [part.size for part in parts[:-1]] == [chunk] * (len(parts) - 1)
    assert 0 < parts[-1].size <= chunk
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert [sum(map(len, part.bodies)) for part in parts] == [part.size for part in parts]
    assert b"".join(bytes(body) for part in parts for body in part.bodies) == stream(VALUES)
    assert_same(read([body for part in parts for body in part.bodies]), VALUES)


def test_all_examples_come_out_the_same() -> None:
    assert_same(read([stream(list(examples))]), list(examples))


def test_nothing_is_one_empty_chunk() -> None:
    [part] = cut([], 100)
    assert part == ((), 0, 1, True)


def test_a_stream_that_fills_its_last_chunk_has_no_empty_one() -> None:
    assert [(part.size, part.is_last) for part in cut([Piece(bytes(200), 1)], 100)] == [(100, False), (100, True)]


def test_big_pieces_are_views_and_small_ones_are_joined() -> None:
    weights = np.arange(100_000.0)
    [*_, part] = cut(pieces_of([[1], weights, [2]]), 1 << 20)
    head, body, tail = part.bodies
    assert np.shares_memory(np.frombuffer(body, np.uint8), weights)
    assert len(head) < 100
    assert len(tail) < 100


@pytest.mark.parametrize("chunk", [1 << 20, 1 << 24])
def test_a_chunk_has_no_more_parts_than_a_message(chunk: int) -> None:
    big = max(SMALL, chunk // PARTS)
    pieces = [Piece(bytes(size), 1) for _ in range(2 * PARTS) for size in (big, 1)]
    assert max(len(part.bodies) for part in cut(pieces, chunk)) <= 2 * PARTS + 1 < 60


def test_the_item_of_a_chunk_is_that_of_most_of_it() -> None:
    pieces = [Piece(bytes(100), 1), Piece(bytes(500), 8), Piece(bytes(300), 4)]
    assert [part.item for part in cut(pieces, 600)] == [8, 4]


def test_received_arrays_are_views_of_their_own_buffers() -> None:
    data = stream([np.arange(100_000), np.arange(100_000)])
    one, two = read([data])
    for array in one, two:
        assert not np.shares_memory(array, np.frombuffer(data, np.uint8))
        assert not array.flags.owndata  # adopted, not copied
        assert array.flags.writeable
    assert not np.shares_memory(one, two)


# -- hostile -----------------------------------------------------------------------------------------------------------


def head(*lengths: int, count: int | None = None) -> bytes:
    return struct.pack(f"<I{len(lengths)}Q", len(lengths) if count is None else count, *lengths)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (head(count=0), "record of 0 frames"),
        (head(count=MOST_FRAMES + 1), "record of 1048577 frames"),
        (head(count=0xFFFFFFFF), "record of 4294967295 frames"),
        (head(0), "frame of 0 bytes"),
        (head(5, 0), "frame of 0 bytes"),
    ],
)
def test_what_is_no_record_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        read([data])


@pytest.mark.parametrize("lengths", [(LIMIT,), (1 << 63,), (1, (1 << 64) - 1), (LIMIT // 2, LIMIT // 2), (10,) * 20])
def test_what_is_too_big_is_refused_before_it_is_allocated(lengths: tuple[int, ...]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = LIMIT if sum(lengths) > 1000 else 199
    with pytest.raises(RequestFailed, match="of `object_limit` here") as caught:
        read([head(*lengths)], limit)
    assert caught.value.code is CellReturnCode.MSG_TOO_BIG
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


def test_the_limit_is_that_of_all_records() -> None:
    record = stream([b"12345"])
    reader = RecordReader(3 * len(record))
    for _ in range(3):
        assert len(list(reader.feed(record))) == 1
    with pytest.raises(RequestFailed, match=f"{4 * len(record)} bytes so far are more than the {3 * len(record)} of"):
        list(reader.feed(record))


def test_what_is_only_announced_is_not_touched() -> None:
    """A frame of a gigabyte within the limit: its memory is used when its bytes come."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = RecordReader(LIMIT)
    assert list(reader.feed(head(LIMIT - 100) + bytes(1000))) == []
    assert not reader.is_between
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


def test_a_frame_that_does_not_fit_into_the_memory_is_an_error() -> None:
    with pytest.raises(DecodeError, match="does not fit into the memory"):
        list(RecordReader(1 << 65).feed(head(1 << 62) + b"x"))


def test_noise_gives_values_or_errors() -> None:
    random = Random(7)
    good = stream(VALUES[:2])
    for _ in range(300):
        data = bytearray(good)
        for _ in range(random.randint(1, 4)):
            data[random.randrange(60)] = random.randrange(256)
        reader = RecordReader(1 << 20)
        try:
            for frames in reader.feed(data):
                decode(frames, adopt=True, most=len(frames))
        except (DecodeError, RequestFailed):
            continue
