"""What an owner says of a file before its chunks are asked for, and what a receiver believes of it."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from zmqfl.wire.record import record

MAX_CHUNK = 64 * 1024 * 1024
"""Bytes of a chunk that an owner may propose."""
MOST_CHUNKS = 1 << 22
"""Chunks of a file: each costs the receiver some 40 bytes, and a liar could ask for all of its memory."""


@record
class Grid:
    """`size` bytes in chunks of `chunk`, the last one shorter; an empty file has no chunk that must come."""

    size: int
    chunk: int
    fingerprint: str
    """Changes with the content."""
    name: str

    @property
    def count(self) -> int:
        """Chunks."""
        return ceil(self.size / self.chunk)

    def length(self, index: int) -> int:
        """Bytes of one chunk."""
        return min(self.chunk, self.size - index * self.chunk)

    def may_hold(self, index: int, size: int) -> bool:
        """Whether a body of `size` bytes can be this chunk; what is shorter is packed (`wire/chunk_codec`)."""
        length = self.length(index)
        return size == length or 0 < size < length

    def is_packed(self, index: int, size: int) -> bool:
        """Whether a body of `size` bytes is this chunk packed."""
        return size < self.length(index)

    def to_headers(self) -> dict[str, Any]:
        """As they travel; `read_grid` is the way back."""
        return {"n": self.size, "k": self.chunk, "f": self.fingerprint, "name": self.name}


def read_grid(headers: Mapping[str, Any]) -> Grid | None:
    """What these headers say; None when it cannot be."""
    match headers:
        case {"n": int(size), "k": int(chunk), "f": str(fingerprint), "name": str(name)} if (
            0 <= size <= chunk * MOST_CHUNKS and 0 < chunk <= MAX_CHUNK
        ):
            return Grid(size, chunk, fingerprint, name)
    return None
