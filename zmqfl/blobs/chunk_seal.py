"""How the chunks of a sealed pull are sealed: each on its own, once for all receivers, and only for its place.

    plain    chunks of `chunk` bytes, the last one shorter; none of an empty file
    sealed   as many, each 16 bytes longer: AES-256-GCM under a key that is derived from the content key
    nonce    the index; each index is sealed once, or again with the very same bytes
    bound    the twin's reference id, the sizes, the number of chunks, and the index

Who has the content key can forge a chunk, so receivers have what they got confirmed by its owner (`SealedSink.proof`).
Source: design, decisions 12 and 20.
"""

from __future__ import annotations

import hashlib
from math import ceil
from typing import Final

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from zmqfl.errors import DigestError
from zmqfl.wire.messages import Buffer
from zmqfl.wire.noise import TAG
from zmqfl.wire.seal import subkey

PROOF: Final = 32
"""Bytes of the SHA-256 of a plain chunk."""
_NONCE: Final = 12


class ChunkSeal:
    """See the module. `key`: 32 random bytes for this twin alone; `twin`: its reference id; `size`, `chunk`: of the
    plain bytes. All threads may use it."""

    def __init__(self, key: bytes, twin: str, size: int, chunk: int) -> None:
        self.twin: Final = twin
        self.size: Final = size
        self.chunk: Final = chunk
        self.count: Final = ceil(size / chunk)
        """Chunks."""
        self.sealed_size: Final = size + TAG * self.count
        self.sealed_chunk: Final = chunk + TAG
        self._cipher = AESGCM(subkey(key, "pull"))
        self._facts: bytes = msgpack.packb(["pull", twin, size, chunk, self.count])

    def length(self, index: int) -> int:
        """Plain bytes of a chunk."""
        return min(self.chunk, self.size - index * self.chunk)

    def seal(self, index: int, data: Buffer) -> bytes:
        """A chunk, sealed."""
        return self._cipher.encrypt(index.to_bytes(_NONCE, "big"), data, self._bound(index))

    def open(self, index: int, data: Buffer) -> bytes:
        """The plain bytes of a chunk. Raises `DigestError` for what was not sealed for this place."""
        try:
            return self._cipher.decrypt(index.to_bytes(_NONCE, "big"), data, self._bound(index))
        except InvalidTag:
            problem = f"chunk {index} was not sealed for this place, or was changed on its way"
            raise DigestError(problem, file=self.twin, remedy="ask for the chunk again") from None

    def _bound(self, index: int) -> bytes:
        return self._facts + index.to_bytes(8, "big")

    def __repr__(self) -> str:
        return f"<ChunkSeal of {self.twin}, {self.count} chunks, {self.size} bytes>"


class Proofs:
    """The SHA-256 of each plain chunk, as far as it is known. `set` for one index at a time is for one thread."""

    __slots__ = ("_digests", "count")

    def __init__(self, count: int) -> None:
        self.count: Final = count
        self._digests = bytearray(PROOF * count)

    def get(self, index: int) -> bytes:
        """Of one chunk; b"" where it is not known."""
        found = bytes(self._digests[PROOF * index : PROOF * (index + 1)])
        return found if any(found) else b""

    def set(self, index: int, digest: bytes) -> None:
        """Note it."""
        self._digests[PROOF * index : PROOF * (index + 1)] = digest

    def range(self, first: int, end: int) -> bytes:
        """Those of the chunks from `first` to before `end`, joined; zeros stand for what is not known."""
        return bytes(self._digests[PROOF * first : PROOF * end])

    def __repr__(self) -> str:
        return f"<Proofs of {self.count} chunks>"


def proof_of(data: Buffer) -> bytes:
    """The SHA-256 of a plain chunk."""
    return hashlib.sha256(data).digest()
