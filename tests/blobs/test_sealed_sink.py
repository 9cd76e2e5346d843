"""Where sealed chunks are opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmqfl.blobs.buffer_sink import BufferSink
from zmqfl.blobs.chunk_seal import ChunkSeal, proof_of
from zmqfl.blobs.digest import digest
from zmqfl.blobs.sealed_sink import SealedSink
from zmqfl.blobs.sink import FileSink
from zmqfl.errors import ArgumentError, AuthenticationError, DigestError, SinkError

KEY = bytes(range(32))
CHUNK = 100
CONTENT = bytes(range(250)) + b"x" * 30
SEAL = ChunkSeal(KEY, "twin", len(CONTENT), CHUNK)
PLAIN = [CONTENT[index * CHUNK : (index + 1) * CHUNK] for index in range(3)]
PROOF = [proof_of(each) for each in PLAIN]


def write(sink: SealedSink[object], *indices: int) -> None:
    for index in indices:
        sealed = SEAL.seal(index, PLAIN[index])
        sink.write(index * 116, memoryview(sealed))
        sink.mark(index, digest(sealed))


def test_into_memory() -> None:
    sink = SealedSink(BufferSink(len(CONTENT)), SEAL, "plain")
    assert sink.size == len(CONTENT) + 48
    assert sink.resume("twin", 116) == {}
    write(sink, 2, 0)
    assert sink.proof(0, 3) == PROOF[0] + bytes(32) + PROOF[2]
    write(sink, 1)
    assert sink.proof(1, 3) == PROOF[1] + PROOF[2]
    assert sink.commit() == CONTENT
    assert repr(sink) == "<SealedSink of <BufferSink 280 of 280 bytes>>"


def test_open_begins_anew() -> None:
    sink = SealedSink(BufferSink(len(CONTENT)), SEAL, "plain")
    sink.open()
    write(sink, 0, 1, 2)
    assert sink.commit() == CONTENT


def test_what_does_not_open_is_not_written() -> None:
    sink = SealedSink(BufferSink(len(CONTENT)), SEAL, "plain")
    sink.resume("twin", 116)
    with pytest.raises(DigestError):
        sink.write(116, SEAL.seal(0, PLAIN[0]))
    assert sink.proof(0, 3) == bytes(96)
    for offset in (1, 348, -116):
        with pytest.raises(ArgumentError, match="no sealed chunk"):
            sink.write(offset, SEAL.seal(0, PLAIN[0]))
    with pytest.raises(SinkError, match="lacks bytes"):
        sink.commit()


@pytest.mark.parametrize(("fingerprint", "chunk"), [("plain", 116), ("twin", 100)])
def test_another_grid(fingerprint: str, chunk: int) -> None:
    sink = SealedSink(BufferSink(len(CONTENT)), SEAL, "plain")
    with pytest.raises(AuthenticationError):
        sink.resume(fingerprint, chunk)


def test_resume_by_what_is_plain(tmp_path: Path) -> None:
    def sink() -> SealedSink[Path]:
        return SealedSink(FileSink(tmp_path, "model.pt", len(CONTENT)), SEAL, "plain")

    first = sink()
    first.resume("twin", 116)
    write(first, 0, 2)
    first.close(keep=True)

    plain = FileSink(tmp_path, "model.pt", len(CONTENT))  # a plain one finds the same
    assert plain.resume("plain", CHUNK) == {0: digest(PLAIN[0]), 2: digest(PLAIN[2])}
    plain.close(keep=True)

    seen: list[int] = []
    second = sink()
    assert set(second.resume("twin", 116, lambda index, data: seen.append(index))) == {0, 2} == set(seen)
    assert second.proof(0, 3) == PROOF[0] + bytes(32) + PROOF[2]
    write(second, 1)
    assert second.commit().read_bytes() == CONTENT


def test_nothing_stays(tmp_path: Path) -> None:
    for end in ("discard", "close"):
        sink = SealedSink(FileSink(tmp_path, "model.pt", len(CONTENT)), SEAL, "plain")
        sink.resume("twin", 116)
        write(sink, 0)
        sink.discard() if end == "discard" else sink.close(keep=False)
        assert list(tmp_path.iterdir()) == []
