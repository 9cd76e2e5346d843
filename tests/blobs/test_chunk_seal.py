"""How chunks of sealed pulls are sealed."""

from __future__ import annotations

import hashlib

import pytest

from zmqfl.blobs.chunk_seal import ChunkSeal, Proofs, proof_of
from zmqfl.errors import DigestError

KEY = bytes(range(32))
CHUNK = 100


@pytest.mark.parametrize(
    ("size", "count"), [(0, 0), (1, 1), (CHUNK - 1, 1), (CHUNK, 1), (CHUNK + 1, 2), (3 * CHUNK, 3)]
)
def test_sizes(size: int, count: int) -> None:
    seal = ChunkSeal(KEY, "twin", size, CHUNK)
    assert (seal.count, seal.sealed_size, seal.sealed_chunk) == (count, size + 16 * count, CHUNK + 16)
    assert sum(seal.length(index) for index in range(count)) == size
    assert sum(len(seal.seal(index, bytes(seal.length(index)))) for index in range(count)) == seal.sealed_size
    assert -(-seal.sealed_size // seal.sealed_chunk) == count
    assert repr(seal) == f"<ChunkSeal of twin, {count} chunks, {size} bytes>"


def test_what_is_sealed_opens_at_its_place_alone() -> None:
    seal = ChunkSeal(KEY, "twin", 300, CHUNK)
    sealed = seal.seal(1, b"x" * CHUNK)
    assert seal.open(1, memoryview(sealed)) == b"x" * CHUNK
    assert seal.seal(1, b"x" * CHUNK) == sealed
    others = [
        ChunkSeal(bytes(32), "twin", 300, CHUNK), ChunkSeal(KEY, "other", 300, CHUNK),
        ChunkSeal(KEY, "twin", 299, CHUNK), ChunkSeal(KEY, "twin", 300, 150),
    ]  # fmt: skip
    for other in others:
        with pytest.raises(DigestError, match="chunk 1 was not sealed for this place"):
            other.open(1, sealed)
    for index, data in ((0, sealed), (1, sealed[:-1]), (1, bytes([sealed[0] ^ 1]) + sealed[1:]), (1, b"")):
        with pytest.raises(DigestError):
            seal.open(index, data)


def test_proofs() -> None:
    proofs = Proofs(3)
    assert proofs.get(1) == b""
    proofs.set(1, proof_of(b"one"))
    assert proofs.get(1) == hashlib.sha256(b"one").digest()
    assert proofs.range(0, 3) == bytes(32) + proof_of(b"one") + bytes(32)
    assert proofs.range(3, 3) == Proofs(0).range(0, 0) == b""
    assert repr(proofs) == "<Proofs of 3 chunks>"
