"""Chunks that were just read: receivers that pull one file at about the same pace cost one read and one copy."""

from __future__ import annotations

import threading
from collections import OrderedDict

from zmqfl.config import MIB
from zmqfl.wire.messages import Buffer

MOST_BYTES = 8 * MIB

Key = tuple[str, int]
"""(reference id, index)."""


class RecentChunks:
    """The last `MOST_BYTES` of chunks with their digests. All threads may use it."""

    def __init__(self) -> None:
        self._chunks: OrderedDict[Key, tuple[Buffer, bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, rid: str, index: int) -> tuple[Buffer, bytes] | None:
        """A chunk and its digest, if it is still here."""
        return self._chunks.get((rid, index))

    def keep(self, rid: str, index: int, chunk: Buffer, digest: bytes) -> None:
        """Remember a chunk; the oldest go."""
        with self._lock:
            if (rid, index) in self._chunks:
                return
            self._chunks[rid, index] = (chunk, digest)
            self._bytes += len(chunk)
            while self._bytes > MOST_BYTES:
                self._bytes -= len(self._chunks.popitem(last=False)[1][0])

    def forget(self, rid: str) -> None:
        """Drop the chunks of a file that is not offered any more."""
        with self._lock:
            for key in [key for key in self._chunks if key[0] == rid]:
                self._bytes -= len(self._chunks.pop(key)[0])

    def __repr__(self) -> str:
        return f"<RecentChunks {len(self._chunks)}, {self._bytes} bytes>"
