"""Chunks in memory, within a bound of bytes: who needs room pushes out what was not used for longest.

Room for a chunk is reserved before it is asked for, so what is under way counts, too. Chunks and their digests are
opaque here: what a receiver checks, and with which key it reads, is not this cell's affair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from zmqfl.protocol.commands import Outcome

OVERHEAD = 1024
"""Bytes that a chunk costs beside its content, so that a million tiny ones are not free."""

Key = tuple[Hashable, int]
"""(file, index)."""


class ChunkStore:
    """See the module. `limit`: bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept = 0
        """Bytes of the chunks that are here, with what they cost beside."""
        self.reserved = 0
        """Bytes of those that are to come."""
        self.evicted = 0
        """Chunks that were pushed out."""
        self._count_of: Counter[Hashable] = Counter()
        self._bytes_of: Counter[Hashable] = Counter()
        self._chunks: dict[Key, Outcome] = {}
        """The least recently used first."""

    def reserve(self, size: int) -> bool:
        """Make room for a chunk of `size` bytes; False when too much is under way."""
        if self.reserved + size + OVERHEAD > self.limit:
            return False
        self.reserved += size + OVERHEAD
        self._make_room()
        return True

    def release(self, size: int) -> None:
        """It has come, or will not."""
        self.reserved -= size + OVERHEAD

    def keep(self, file: Hashable, index: int, chunk: Outcome) -> None:
        """Keep a chunk, the answer that carries it; its room has been released."""
        self._drop((file, index))
        self._chunks[file, index] = chunk
        self._count(file, 1, _size(chunk))
        self._make_room()

    def find(self, file: Hashable, index: int) -> Outcome | None:
        """A chunk that is here; it is used now."""
        chunk = self._chunks.pop((file, index), None)
        if chunk is not None:
            self._chunks[file, index] = chunk
        return chunk

    def forget(self, file: Hashable) -> None:
        """Keep nothing of a file."""
        if self._count_of[file]:
            for key in [key for key in self._chunks if key[0] == file]:
                self._drop(key)
        del self._count_of[file], self._bytes_of[file]

    def bytes_of(self, file: Hashable) -> int:
        """What is here of a file."""
        return self._bytes_of[file]

    def _make_room(self) -> None:
        while self._chunks and self.kept + self.reserved > self.limit:
            self._drop(next(iter(self._chunks)))
            self.evicted += 1

    def _drop(self, key: Key) -> None:
        if (chunk := self._chunks.pop(key, None)) is not None:
            self._count(key[0], -1, -_size(chunk))

    def _count(self, file: Hashable, chunks: int, size: int) -> None:
        self.kept += size + chunks * OVERHEAD
        self._count_of[file] += chunks
        self._bytes_of[file] += size

    def __len__(self) -> int:
        return len(self._chunks)

    def __repr__(self) -> str:
        return f"<ChunkStore {len(self)} chunks, {self.kept} + {self.reserved} of {self.limit} bytes>"


def _size(chunk: Outcome) -> int:
    return sum(map(len, chunk.bodies))
