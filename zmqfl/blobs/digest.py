"""Digests of chunks and of the whole: XXH3 with 128 bits, 16 bytes long.

They find damage on the way and on the disk, not forgery: that is what the seal of a message is for.
Source: design, decision 20.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import xxhash

from zmqfl.errors import DigestError
from zmqfl.wire.messages import Buffer

DIGEST_BYTES: Final = 16


def digest(data: Buffer) -> bytes:
    """The digest of a chunk, `DIGEST_BYTES` long. `data` is contiguous."""
    return xxhash.xxh3_128_digest(data)


def root_digest(digests: Iterable[bytes]) -> bytes:
    """The digest of a whole: that of the digests of its chunks, joined in the order of their index."""
    root = xxhash.xxh3_128()
    for chunk in digests:
        root.update(chunk)
    return root.digest()


def check_digest(data: Buffer, expected: bytes, file: str) -> None:
    """Raise `DigestError` naming `file` when `data` is not what `expected` is the digest of."""
    if digest(data) != expected:
        raise DigestError("a chunk differs from its digest", file=file, remedy="ask for the chunk again")
