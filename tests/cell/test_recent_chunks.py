from __future__ import annotations

from zmqfl.cell import recent_chunks
from zmqfl.cell.recent_chunks import RecentChunks

MIB = 1024 * 1024


def test_a_chunk_is_found_until_newer_ones_need_its_room() -> None:
    recent = RecentChunks()
    count = recent_chunks.MOST_BYTES // MIB
    chunks = [bytes(MIB) for _ in range(count + 1)]
    for index, chunk in enumerate(chunks):
        recent.keep("R1", index, chunk, b"digest")
    assert recent.find("R1", 0) is None
    found = recent.find("R1", 1)
    assert found is not None
    assert found[0] is chunks[1]
    assert repr(recent) == f"<RecentChunks {count}, {recent_chunks.MOST_BYTES} bytes>"


def test_kept_twice_it_counts_once() -> None:
    recent = RecentChunks()
    recent.keep("R1", 0, b"12", b"d")
    recent.keep("R1", 0, b"12", b"d")
    assert repr(recent) == "<RecentChunks 1, 2 bytes>"


def test_forgotten_with_its_file_and_no_other() -> None:
    recent = RecentChunks()
    recent.keep("R1", 0, b"12", b"d")
    recent.keep("R2", 0, b"345", b"d")
    recent.forget("R1")
    assert recent.find("R1", 0) is None
    assert recent.find("R2", 0) == (b"345", b"d")
    assert repr(recent) == "<RecentChunks 1, 3 bytes>"
