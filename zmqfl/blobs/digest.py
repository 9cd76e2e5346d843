"""Digests of chunks: XXH3 with 128 bits, 16 bytes long.

They find damage on the way and on the disk, not forgery: that is what the seal of a message is for.
Source: design, decision 20.
"""

from __future__ import annotations

from typing import Final

import xxhash

from zmqfl.errors import DigestError
from zmqfl.wire.messages import Buffer

DIGEST_BYTES: Final = 16


def digest(data: Buffer) -> bytes:
    """The digest of a chunk, `DIGEST_BYTES` long. `data` is contiguous."""
    return xxhash.xxh3_128_digest(data)


def check_digest(data: Buffer, expected: bytes, file: str) -> None:
    """Raise `DigestError` naming `file` when `data` is not what `expected` is the digest of."""
    if digest(data) != expected:
        raise DigestError("a chunk differs from its digest", file=file, remedy="ask for the chunk again")
