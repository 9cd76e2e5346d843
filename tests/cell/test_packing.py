"""Chunks of a push, packed or as they are."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.blobs.digest import digest
from zmqfl.cell.packing import DIGEST, PACKED, digest_of, packer_for, received_bodies, sent_chunk
from zmqfl.cell.streams import Chunk
from zmqfl.errors import ArgumentError, InvalidRequest
from zmqfl.protocol.push_sender import READ_AHEAD
from zmqfl.wire.chunk_codec import MEASURED_CHUNKS, MOST_BYTES

DATA = bytes(range(200)) * 500
BODIES = (DATA[:50_000], memoryview(DATA)[50_000:])


def chunk(codec: Any = "none", bodies: Any = BODIES) -> Chunk:
    return sent_chunk({DIGEST: digest_of(bodies), "last": 1}, 4, bodies, 1, 9.0, packer_for(codec, 1))


def test_the_digest_of_pieces_is_that_of_the_whole() -> None:
    assert digest_of(BODIES) == digest(DATA)
    assert digest_of(()) == digest(b"")


@pytest.mark.parametrize("codec", ["none", "auto"])
def test_a_raw_chunk_is_its_bodies(codec: str) -> None:
    assert chunk(codec) == Chunk({DIGEST: digest(DATA), "last": 1}, 4, BODIES, 9.0)
    assert received_bodies(chunk(codec), 0, 0) == BODIES
    assert sent_chunk({}, 4, BODIES, 1, None, None) == Chunk({}, 4, BODIES)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_packed_chunk_says_what_it_stands_for(codec: str) -> None:
    packed = chunk(codec)
    assert packed.headers == {DIGEST: digest(DATA), "last": 1, PACKED: len(DATA)}
    assert (packed.codec, packed.timeout) == (4, 9.0)
    [body] = packed.bodies
    assert len(body) < len(DATA)
    assert received_bodies(packed, 0, len(DATA)) == (DATA,)
    halves = Chunk(packed.headers, 4, (body[:100], body[100:]))
    assert received_bodies(halves, 0, len(DATA)) == (DATA,)


def test_an_empty_chunk_is_never_packed() -> None:
    assert chunk("zstd", ()).bodies == ()


FORGED = [-1, 0, 1, len(DATA) - 1, len(DATA) + 1, MOST_BYTES + 1, 1 << 62, None, "9", 1.0, True]


@pytest.mark.parametrize("size", FORGED)
def test_forged_sizes_are_refused(size: Any) -> None:
    packed = chunk("zstd")
    forged = Chunk({**packed.headers, PACKED: size}, 4, packed.bodies)
    with pytest.raises(InvalidRequest, match="chunk 7"):
        received_bodies(forged, 7, 1 << 63)


def test_more_than_may_come_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="chunk 7 is said to be 100000 bytes; at most 99999 may come"):
        received_bodies(chunk("zstd"), 7, len(DATA) - 1)


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_damage_is_found(codec: str) -> None:
    good = chunk(codec)
    for headers in ({**good.headers, DIGEST: bytes(16)}, {**good.headers, DIGEST: None}):
        with pytest.raises(InvalidRequest, match="chunk 7 was damaged on its way"):
            received_bodies(Chunk(headers, 4, good.bodies), 7, len(DATA))
    broken = bytearray(b"".join(good.bodies))
    broken[len(broken) // 2] ^= 1
    with pytest.raises(InvalidRequest, match="chunk 7"):
        received_bodies(Chunk(good.headers, 4, (broken,)), 7, len(DATA))


def test_the_first_chunks_of_a_window_say_nothing_of_the_pace() -> None:
    times = iter([float(second) for second in range(100)])
    packer = packer_for("auto", 4, clock=lambda: next(times))
    asked = [packer.pack((DATA,), len(DATA), 1) is not None for _ in range(4 + READ_AHEAD + MEASURED_CHUNKS)]
    assert asked.index(True) == 4 + READ_AHEAD + 1
    with pytest.raises(ArgumentError, match="codec"):
        packer_for("gzip", 1)  # type: ignore[arg-type]
