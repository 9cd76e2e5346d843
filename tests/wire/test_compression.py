from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire.values import bounded
from zmqfl.errors import DecodeError, EncodeError
from zmqfl.wire import compression
from zmqfl.wire.compression import CodecName, compress, decompress

WEIGHTS = np.linspace(0, 1, 50_000, dtype="f4").tobytes()


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("typesize", [1, 4, 8, 255, 256, 100_000])
@pytest.mark.parametrize(
    "data", [b"", b"x", bytes(1_000_001), WEIGHTS, WEIGHTS[:-1], bytearray(WEIGHTS), memoryview(WEIGHTS)], ids=len
)
def test_what_goes_in_comes_out(codec: CodecName, typesize: int, data: Any) -> None:
    chunk = compress(data, codec, typesize)
    assert len(chunk) <= len(data) + 32
    assert decompress(memoryview(chunk), len(data)) == bytes(data)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_shuffling_by_the_size_of_an_item_makes_weights_smaller(codec: CodecName) -> None:
    assert len(compress(WEIGHTS, codec, 4)) < len(compress(WEIGHTS, codec, 1))


def test_one_chunk_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = compress(bytes(1025), "lz4", 1)
    monkeypatch.setattr(compression, "MAX_BYTES", 1024)
    with pytest.raises(EncodeError, match="1025 bytes are too many"):
        compress(bytes(1025), "lz4", 1)
    with pytest.raises(DecodeError, match="promised 1025 bytes; at most 1024"):
        decompress(chunk, 1025)


def forged(at: int, *data: int) -> bytes:
    chunk = bytearray(compress(WEIGHTS, "zstd", 4))
    chunk[at : at + len(data)] = data
    return bytes(chunk)


@pytest.mark.parametrize(
    ("chunk", "problem"),
    [
        (b"", "has no header"),
        (forged(0)[:31], "has no header"),
        (forged(0)[:-1], "says .* bytes for 200000, but is"),
        (forged(0) + b"x", "says .* bytes for 200000, but is"),
        (forged(4, 0, 0, 0, 0x40), "bytes for 1073741824, but"),
        (forged(4, 0xFF, 0xFF, 0xFF, 0xFF), "bytes for -1, but"),
        (forged(12, 0, 0, 0, 0), "says 0 bytes"),
        (forged(12, 0xFF, 0xFF, 0xFF, 0x7F), "says 2147483647 bytes"),
        (compress(bytes(1 << 29), "lz4", 1), "says 32 bytes for 536870912, but is 32 for the promised 200000"),
        (forged(2, 0xE5), "flags 0xe5 is neither lz4 nor zstd"),  # a user-defined codec
        (forged(2, 0x81), "flags 0x81"),  # the short header of blosc1
        (forged(3, 0), "items of 0 and blocks of"),  # blosc2 divides by it
        (forged(8, 0, 0, 0, 0), "and blocks of 0 bytes"),  # and by this
        (forged(8, 0, 0, 0, 0xFF), "and blocks of -"),
        (forged(8, 0, 0, 0, 0x40), "and blocks of 1073741824"),
        (forged(16, 200), "a filter"),  # a user-defined filter
        (forged(31, 0x08), "kind of chunk"),  # lazy: points into a file
        (forged(31, 0x40), "kind of chunk"),  # uninitialised memory
        (forged(44, *[0xFF] * 400), "damaged"),
    ],
)
def test_forged_chunks_are_refused(chunk: bytes, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        decompress(chunk, len(WEIGHTS))


@pytest.mark.parametrize("expected", [-1, 0, 199_999, 200_001, 2**31, 2**63])
def test_another_length_than_promised_is_refused(expected: int) -> None:
    with pytest.raises(DecodeError, match="promised"):
        decompress(compress(WEIGHTS, "lz4", 4), expected)


@bounded
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=4),
    st.sampled_from([WEIGHTS, bytes(5000), b"abc" * 99]),
)
@example([(3, 0)], bytes(5000))
def test_damaged_chunks_give_bytes_of_the_right_length_or_an_error(changes: list[tuple[int, int]], data: bytes) -> None:
    chunk = bytearray(compress(data, "lz4", 4))
    for at, byte in changes:
        chunk[at % len(chunk)] = byte
    with contextlib.suppress(DecodeError):
        assert len(decompress(bytes(chunk), len(data))) == len(data)
