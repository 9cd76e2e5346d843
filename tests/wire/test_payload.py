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
from zmqfl.wire.payload import MAX_FRAMES, decode, encode
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


@pytest.mark.parametrize("count", [60, 61, 62, 63, 500])
@pytest.mark.parametrize("copy", [True, False])
def test_any_number_of_arrays_fits_in_the_frames_of_a_message(count: int, copy: bool) -> None:
    value = {f"layer-{i}": np.full(2048, i) for i in range(count)}
    frames = encode(value, copy)
    assert len(frames) == min(count + 1, MAX_FRAMES)
    assert_same(decode(frames), value)


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
