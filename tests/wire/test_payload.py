from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgpack
import msgpack_numpy
import numpy as np
import pytest
from hypothesis import given

from tests.wire.values import assert_same, bounded, examples, values
from zmqfl.errors import DecodeError, EncodeError
from zmqfl.wire.payload import MAX_FRAMES, decode, encode, encode_pieces
from zmqfl.wire.tags import MARKS, Tag


@pytest.mark.parametrize("value", examples, ids=lambda value: type(value).__name__)
def test_what_goes_in_comes_out(value: Any) -> None:
    for copy in (True, False):
        assert_same(decode(encode(value, copy)), value)
        assert_same(decode([memoryview(frame) for frame in encode([{"k": value}], copy)]), [{"k": value}])


@bounded
@given(values)
def test_nested_values_come_out_the_same(value: Any) -> None:
    assert_same(decode(encode(value)), value)


def test_a_small_value_is_one_frame_of_plain_msgpack() -> None:
    value = {"a": 1, "b": "text", "c": [1.5, None, {"d": True}]}
    assert encode(value) == [msgpack.packb(value)]
    assert decode([msgpack.packb(value)]) == value


def test_big_arrays_and_bytes_are_raw_frames_and_small_ones_are_not() -> None:
    big, small = np.arange(2048, dtype="<f4"), np.arange(2047, dtype="<f4")
    value = {"big": big, "small": small, "bytes": bytes(65_536), "short": bytes(65_535)}
    body, *raw = encode(value)
    assert raw == [big.tobytes(), bytes(65_536)]
    assert 65_535 + small.nbytes < len(body) < 65_535 + small.nbytes + 300


def test_what_is_sent_is_fixed_when_encode_returns() -> None:
    weights, text = np.zeros(10_000), bytearray(100_000)
    inline = np.zeros(10)
    frames = encode([weights, text, inline])
    weights += 1
    inline += 1
    text[0] = 1
    assert_same(decode(frames), [np.zeros(10_000), bytearray(100_000), np.zeros(10)])


def test_without_copy_raw_frames_are_the_callers_memory() -> None:
    weights, text, fixed = np.zeros((100, 100), order="F"), bytearray(100_000), bytes(100_000)
    frames = encode([weights, text, fixed], copy=False)
    weights += 1
    text[0] = 1
    assert frames[3] is fixed
    assert_same(decode(frames), [weights, text, fixed])


def test_received_arrays_are_writable_and_own_their_memory() -> None:
    value = [np.zeros(3), np.zeros(5000), np.zeros((2, 2), "M8[s]", "F"), np.zeros(2, [("a", "i4")])]
    frames = [bytearray(frame) for frame in encode(value)]
    received = decode(frames)
    for frame in frames:
        frame[:] = bytes(len(frame))
    for array, sent in zip(received, value, strict=True):
        assert array.flags.owndata
        assert array.flags.writeable
        assert_same(array, sent)


def adopted(value: Any) -> tuple[Any, list[bytearray]]:
    """What comes out of writable frames with `adopt`, and the frames."""
    frames = [bytearray(frame) for frame in encode(value)]
    return decode(frames, adopt=True), frames


def is_view(array: Any, frame: bytearray) -> bool:
    return bool(np.shares_memory(array, np.frombuffer(frame, np.uint8)))


@pytest.mark.parametrize("value", examples, ids=lambda value: type(value).__name__)
def test_what_is_adopted_comes_out_the_same(value: Any) -> None:
    assert_same(adopted(value)[0], value)
    assert_same(decode(encode(value), adopt=True), value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(2048, dtype=">f8"),
        np.asfortranarray(np.arange(6000).reshape(2, 1000, 3)),
        np.arange(2048).astype("M8[ms]"),
        np.array(["\U0010ffff" * 9] * 400),
        np.zeros(900, [("a", "i1"), ("b", "<f8", (2,))]),
        np.full(1, 7, "S9000"),
    ],
    ids=lambda array: str(array.dtype.kind),
)
def test_a_big_array_is_a_writable_view_of_a_frame_to_adopt(array: Any) -> None:
    received, frames = adopted({"w": array})
    assert is_view(received["w"], frames[1])
    assert received["w"].flags.writeable
    assert_same(received["w"], array)


def test_a_frame_to_adopt_may_be_a_part_of_a_numpy_array() -> None:
    array = np.arange(4096)
    body, raw = encode(array)
    own = np.empty(array.nbytes + 16, np.uint8)
    own[8:-8] = np.frombuffer(raw, np.uint8)
    received = decode([body, own.data[8:-8]], adopt=True)
    assert np.shares_memory(received, own)
    assert_same(received, array)


def test_bytes_small_arrays_and_read_only_frames_are_not_adopted() -> None:
    value = [np.arange(4096), bytes(70_000), bytearray(70_000), np.arange(8)]
    received, frames = adopted(value)
    assert is_view(received[0], frames[1])
    for frame in frames:
        frame[:] = b"\xff" * len(frame)
    assert_same(received[1:], value[1:])
    (fixed,) = decode([bytes(frame) for frame in encode(value[:1])], adopt=True)
    assert fixed.flags.owndata
    assert fixed.flags.writeable


def test_an_array_that_is_not_aligned_in_its_frame_is_copied() -> None:
    value = [np.zeros(9001, np.uint8), np.arange(4096, dtype="<f8"), np.zeros(9001, np.uint8)]
    body, *raw = encode(value)
    frame = bytearray(b"".join(raw))  # one frame holds several pieces
    odd, double, last = decode([body, frame], adopt=True)
    assert is_view(odd, frame)
    assert is_view(last, frame)
    assert double.flags.owndata
    assert_same([odd, double, last], value)


def test_text_beyond_unicode_is_refused_in_a_frame_to_adopt() -> None:
    body, _ = encode(np.array(["a" * 3000]))
    with pytest.raises(DecodeError, match="code points beyond Unicode"):
        decode([body, bytearray(b"\xff" * 12_000)], adopt=True)


@pytest.mark.parametrize("count", [60, 61, 62, 63, 500])
@pytest.mark.parametrize("copy", [True, False])
def test_any_number_of_arrays_fits_in_the_frames_of_a_message(count: int, copy: bool) -> None:
    value = {f"layer-{i}": np.full(2048, i) for i in range(count)}
    frames = encode(value, copy)
    assert len(frames) == min(count + 1, MAX_FRAMES)
    assert_same(decode(frames), value)


def test_what_is_no_message_has_a_frame_for_each_piece_and_no_copies() -> None:
    value = {f"layer-{i}": np.full(2048, i) for i in range(500)} | {"text": bytes(70_000)}
    frames, items = encode_pieces(value)
    assert len(frames) == 502
    assert items == [1, *[8] * 500, 1]
    assert np.shares_memory(np.frombuffer(frames[7], np.uint8), value["layer-6"])
    assert frames[-1] is value["text"]
    assert_same(decode(frames, most=502), value)
    with pytest.raises(DecodeError, match="502 frames, not 1 to 501"):
        decode(frames, most=501)
    assert encode_pieces([1, "a"]) == (encode([1, "a"]), [1])
    with pytest.raises(EncodeError, match=r"payload\['w'\]: builtins.object cannot travel"):
        encode_pieces({"w": object()})


@pytest.mark.parametrize(
    "plain",
    [
        {"w": np.arange(5), "b": [np.ones((2, 3), ">f4"), np.float64(1.5), 2j, np.array(7), np.zeros((0, 2))]},
        {1: "int key", b"k": b"bytes key", "s": np.bool_(True)},
        np.array([(1, [2.0, 3.0])], [("a", "<i4"), ("b", [("c", "<f8", (2,))])])[["a"]].copy()[["a"]],
        np.zeros(2, [("a", "<i4"), ("b", "<f8", (2, 3)), ("c", [("d", "U2")])]),
        np.array(["a", "bc"]),
        np.array([b"a"], "S3"),
    ],
)
def test_bytes_made_by_plain_msgpack_numpy_decode(plain: Any) -> None:
    body = msgpack.packb(plain, default=msgpack_numpy.encode)
    expected = msgpack.unpackb(body, object_hook=msgpack_numpy.decode, strict_map_key=False)
    _assert_equal(decode([body]), expected)


def _assert_equal(left: Any, right: Any) -> None:
    if isinstance(right, dict):
        assert left.keys() == right.keys()
        for key in right:
            _assert_equal(left[key], right[key])
    elif isinstance(right, list):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            _assert_equal(a, b)
    else:
        assert type(left) is type(right)
        np.testing.assert_array_equal(left, right)


def test_plain_msgpack_numpy_reads_our_small_arrays() -> None:
    array = np.arange(6, dtype=">i2").reshape(2, 3)
    (body,) = encode({"w": array})
    np.testing.assert_array_equal(msgpack.unpackb(body, object_hook=msgpack_numpy.decode)["w"], array)


def test_errors_name_the_type_and_the_place() -> None:
    with pytest.raises(EncodeError, match=r"payload\['w'\]\[3\]: builtins.object cannot travel: "):
        encode({"w": [1, 2, 3, object()]})
    (body,) = encode({"w": [1, (2, np.zeros(4, "<M8[s]"))]})
    with pytest.raises(DecodeError, match=r"payload\['w'\]\[1\]\[1\]: dtype '<O8\[s\]' is not accepted"):
        decode([bytes(body).replace(b"<M8", b"<O8")])


def test_what_a_peer_sent_is_not_quoted_at_length() -> None:
    with pytest.raises(DecodeError) as error:
        decode([msgpack.packb({"k" * 10_000: [MARKS[Tag.DATE], "x" * 10_000]})])
    assert len(str(error.value)) < 400


def test_the_cause_of_an_error_is_kept() -> None:
    class Broken(np.ndarray):
        pass

    with pytest.raises(EncodeError) as refused:
        encode([Broken((1,))])
    assert refused.value.__cause__ is None
    with pytest.raises(DecodeError) as failed:
        decode([b"\xc1"])
    assert isinstance(failed.value.__cause__, ValueError)


def test_neither_blosc2_nor_ml_dtypes_is_imported() -> None:
    imports = "import sys, zmqfl.wire.payload, zmqfl.wire.compression"
    code = f"{imports}; sys.exit(bool({{'blosc2', 'ml_dtypes'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
