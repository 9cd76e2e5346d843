"""Objects in memory as sources, and the buffer that they are put together in."""

from __future__ import annotations

import struct
from collections import OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import pytest

from tests.wire.values import assert_same, examples
from zmqfl.blobs.digest import digest
from zmqfl.cell.containers import SIZE_KEY, TYPE_KEY
from zmqfl.cell.offered_objects import ALIGN, MARK, ObjectSink, ObjectSource, object_in, object_pieces
from zmqfl.errors import ArgumentError, DecodeError, EncodeError, SinkError, SourceChangedError, SourceError
from zmqfl.wire.payload import encode

VALUES = [
    {"w": np.arange(50_000.0), "b": [1, (2, 3)], 7: bytes(100_000)},
    [1, np.arange(3000)],
    {1, 2},
    OrderedDict([("z", 1), ("a", 2)]),
    deque([1, 2], maxlen=4),
    defaultdict(None, a=1),
    {},
    None,
    "text",
    np.asfortranarray(np.arange(20_000.0).reshape(100, 200)),
    list(range(2000)),
]


def source_of(value: Any, chunk: int, copy: bool = False) -> ObjectSource:
    return ObjectSource("best", object_pieces(value), chunk, copy)


def bytes_of(value: Any) -> bytearray:
    return bytearray(b"".join(bytes(piece.data) for piece in object_pieces(value)))


def pulled(source: ObjectSource, chunk: int) -> Any:
    """What a receiver makes of it: chunks come in any order."""
    sink = ObjectSink(source.size)
    sink.resume(source.fingerprint, chunk)
    for offset in reversed(range(0, source.size, chunk)):
        sink.write(offset, source.read(offset, chunk))
    return sink.commit()


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("chunk", [64, 1000, 1 << 20])
def test_what_goes_in_comes_out(value: Any, chunk: int) -> None:
    got = pulled(source_of(value, chunk), chunk)
    assert type(got) is type(value)
    assert getattr(got, "maxlen", None) == getattr(value, "maxlen", None)
    assert_same(list(got) if isinstance(got, deque) else got, list(value) if isinstance(got, deque) else value)


def test_all_examples_come_out_the_same() -> None:
    assert_same(object_in(bytes_of(list(examples))), list(examples))


def test_pieces_are_views_of_the_callers_memory_and_arrays_of_the_buffer() -> None:
    weights = np.arange(100_000.0)
    assert any(np.shares_memory(np.frombuffer(piece.data, np.uint8), weights) for piece in object_pieces([weights]))
    buffer = bytes_of({"w": weights, "o": np.zeros(9001, np.uint8), "v": weights})
    got = object_in(buffer)
    for name in "wov":
        assert np.shares_memory(got[name], np.frombuffer(buffer, np.uint8))
        assert got[name].flags.writeable


def test_frames_begin_at_a_multiple_of_64() -> None:
    offset = 0
    for piece in object_pieces(VALUES[0]):
        if len(piece.data) >= ALIGN:
            assert offset % ALIGN == 0
        offset += len(piece.data)
    assert offset % ALIGN == 0


def test_the_item_is_that_of_most_of_it() -> None:
    assert source_of([np.zeros(5000, "f4"), np.zeros(90)], 64).item == 4
    assert source_of([bytes(100_000)], 64).item == 1


def test_what_has_changed_is_an_error_or_a_snapshot() -> None:
    weights = np.zeros(100_000)
    source, copied = source_of([weights], 4096), source_of([weights], 4096, copy=True)
    expected = source.read(8 * 4096, 4096)
    weights += 1
    assert expected == copied.read(8 * 4096, 4096)  # what was read does not change any more
    with pytest.raises(SourceChangedError, match="best: was changed since it was offered"):
        source.read(8 * 4096, 4096)
    assert digest(copied.read(8 * 4096, 4096)) == digest(expected)
    assert_same(pulled(copied, 4096), [np.zeros(100_000)])


def test_its_grid_and_its_end() -> None:
    source = source_of([bytes(100_000)], 4096)
    assert source.fingerprint != source_of([bytes(100_000)], 4096).fingerprint
    assert repr(source) == f"<ObjectSource best, {source.size} bytes>"
    assert source.read(0, 0) == b""
    for offset, length in [(1, 10), (-4096, 10), (0, 4097), (source.size + 4096 - source.size % 4096, 1)]:
        with pytest.raises(ArgumentError, match="are no chunk of best"):
            source.read(offset, length)
    source.prefetch(0, 1)
    source.close()
    source.close()
    with pytest.raises(SourceError, match="best: is closed"):
        source.read(0, 0)


def test_an_entry_that_cannot_travel_is_named() -> None:
    with pytest.raises(EncodeError, match="entry 'bad' of the dict cannot be sent"):
        source_of({"bad": object()}, 4096)


def test_a_sink_gives_nothing_before_it_is_whole() -> None:
    sink = ObjectSink(1000)
    sink.open()
    sink.write(0, MARK)
    with pytest.raises(SinkError, match="lacks bytes"):
        sink.commit()


# -- hostile -----------------------------------------------------------------------------------------------------------


def padded(*parts: bytes) -> bytes:
    return b"".join(part + bytes(-len(part) % ALIGN) for part in parts)


def head(*lengths: int, count: int | None = None) -> bytes:
    return struct.pack(f"<I{len(lengths)}Q", len(lengths) if count is None else count, *lengths)


def facts(**changes: Any) -> list[bytes]:
    [body] = encode({TYPE_KEY: "list", SIZE_KEY: 1, **changes})
    return [head(len(body)), bytes(body)]


ONE = b"\x91\x01"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is no object"),
        (b"x" * 200, "is no object"),
        (padded(MARK), "payload"),
        (padded(MARK, head(5), b"\xc1"), "frame of 5 bytes in an object of 192|payload"),
        (padded(MARK, head(1), b"\x01"), "does not say what it is"),
        (padded(MARK, *facts(**{TYPE_KEY: "os.system"})), "container of type 'os.system'"),
        (padded(MARK, *facts()), "list of 1 entries ended after 0"),
        (padded(MARK, *facts(), head(2), ONE, head(2), ONE), "list of 1 entries got 2"),
        (padded(MARK, *facts(), head(count=0)), "record of 0 frames"),
        (padded(MARK, *facts(), head(count=0xFFFFFFFF)), "record of 4294967295 frames"),
        (padded(MARK, *facts(), head(1 << 60), ONE), "frame of 1152921504606846976 bytes in an object of"),
        (padded(MARK, *facts(), head(0), ONE), "frame of 0 bytes"),
        (padded(MARK, *facts(), head(2, 65), ONE, b"x"), "frame of 65 bytes"),
        (padded(MARK, *facts()) + b"\x01", "ends within a record"),
        (padded(MARK, *facts()) + head(5)[:6], "record of 1 frames"),
    ],
)
def test_what_is_no_object_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        object_in(bytearray(data))


def test_the_corpus_fails_for_its_own_reasons() -> None:
    assert object_in(bytearray(padded(MARK, *facts(), head(2), ONE))) == [1]
