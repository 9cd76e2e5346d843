"""The sealed twin of a source."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from zmqfl.blobs.chunk_seal import ChunkSeal, proof_of
from zmqfl.blobs.sealed_source import SealedSource
from zmqfl.blobs.source import BufferSource, FileSource
from zmqfl.errors import ArgumentError, SourceChangedError, SourceError

KEY = bytes(range(32))
CHUNK = 100
CONTENT = bytes(range(250)) + b"x" * 30


class Told(BufferSource):
    """A source that tells what it was asked for, and may do otherwise."""

    def __init__(self, content: Any, error: Exception | None = None) -> None:
        super().__init__("secret-name", content)
        self.error = error
        self.hints: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> memoryview:
        if self.error is not None:
            raise self.error
        return super().read(offset, length)

    def prefetch(self, offset: int, length: int) -> None:
        self.hints.append((offset, length))


def made(plain: Any) -> tuple[SealedSource, ChunkSeal]:
    seal = ChunkSeal(KEY, "twin", plain.size, CHUNK)
    return SealedSource(plain, seal), seal


def test_it_gives_sealed_chunks_and_no_name() -> None:
    source, seal = made(Told(CONTENT))
    assert (source.name, source.size, source.fingerprint) == ("sealed", 280 + 3 * 16, "twin")
    lengths = [116, 116, 96]
    sealed = [source.read(index * 116, length) for index, length in enumerate(lengths)]
    assert b"".join(seal.open(index, each) for index, each in enumerate(sealed)) == CONTENT
    assert source.read(116, 116) == sealed[1]
    assert source.sealed == 4
    assert source.read(0, 0) == b""
    assert source.proof(1) == proof_of(CONTENT[100:200])
    assert repr(source) == "<SealedSource of <BufferSource secret-name, 280 bytes>>"


def test_a_proof_reads_what_nobody_has_asked_for() -> None:
    source, _ = made(Told(CONTENT))
    assert source.proof(2) == proof_of(CONTENT[200:])
    assert source.sealed == 0


@pytest.mark.parametrize(("offset", "length"), [(1, 116), (0, 115), (0, 100), (232, 116), (348, 116), (-116, 116)])
def test_what_is_no_chunk(offset: int, length: int) -> None:
    source, _ = made(Told(CONTENT))
    with pytest.raises(ArgumentError, match="no sealed chunk"):
        source.read(offset, length)


def test_other_bytes_are_never_sealed_by_the_same_nonce() -> None:
    content = bytearray(CONTENT)
    source, _ = made(Told(content))
    first = source.read(0, 116)
    content[0] ^= 1
    with pytest.raises(SourceChangedError, match="was changed since it was offered"):
        source.read(0, 116)
    content[0] ^= 1
    assert source.read(0, 116) == first
    assert source.sealed == 2


def test_a_file_that_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(CONTENT)
    plain = FileSource(path)
    source, _ = made(plain)
    source.read(0, 116)
    path.write_bytes(CONTENT[:100])
    for length in (0, 116):
        with pytest.raises(SourceChangedError):
            source.read(0, length)
    plain.close()


def test_many_threads() -> None:
    source, seal = made(Told(bytes(100 * CHUNK)))
    with ThreadPoolExecutor(4) as pool:
        sealed = list(pool.map(lambda index: source.read(index % 100 * 116, 116), range(400)))
    assert sealed == [seal.seal(index % 100, bytes(CHUNK)) for index in range(400)]
    assert source.sealed == 400


def test_errors_tell_nothing_of_the_content() -> None:
    source, _ = made(Told(CONTENT, ValueError("4711")))
    with pytest.raises(SourceError, match="cannot be read") as caught:
        source.read(0, 116)
    assert "4711" not in str(caught.value)
    source, _ = made(Told(CONTENT, SourceChangedError("changed", file="x")))
    with pytest.raises(SourceChangedError):
        source.read(0, 0)


def test_a_source_that_is_too_short() -> None:
    plain = Told(CONTENT)
    source = SealedSource(plain, ChunkSeal(KEY, "twin", 300, CHUNK))
    with pytest.raises(SourceError, match="has no 100 bytes at 200"):
        source.read(232, 116)


def test_close_leaves_the_plain_one() -> None:
    plain = Told(CONTENT)
    source, _ = made(plain)
    source.prefetch(116, 116)
    assert plain.hints == [(100, 116)]
    source.close()
    source.close()
    with pytest.raises(SourceError, match="is closed"):
        source.read(0, 116)
    assert plain.read(0, 5) == CONTENT[:5]
