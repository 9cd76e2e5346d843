"""The sealed twin of a source: what relays and receivers get of it is sealed, and a chunk is the same for all.

The first time that a chunk is read its SHA-256 is kept. A later read that differs is an error before anything is
sealed: other bytes under the same nonce would give the key away.
"""

from __future__ import annotations

import threading
from typing import Final

from zmqfl.blobs.chunk_seal import ChunkSeal, Proofs, proof_of
from zmqfl.blobs.source import Source
from zmqfl.errors import ArgumentError, BlobError, SourceChangedError, SourceError
from zmqfl.wire.messages import Buffer
from zmqfl.wire.noise import TAG

NAME: Final = "sealed"
"""What all that pass it on get to know of its name."""


class SealedSource:
    """Seals what `plain` gives, which stays its owner's: `close` does not close it. All threads may use it."""

    def __init__(self, plain: Source, seal: ChunkSeal) -> None:
        self.name: Final = NAME
        self.size: Final = seal.sealed_size
        self.fingerprint: Final = seal.twin
        self.sealed = 0
        """Chunks that were sealed so far."""
        self._plain = plain
        self._seal = seal
        self._lock = threading.Lock()
        self._proofs = Proofs(seal.count)
        self._closed = False

    def read(self, offset: int, length: int) -> bytes:
        """A sealed chunk; of no length: whether the plain source is what it was. Raises as that does, and
        `ArgumentError` for what is no chunk."""
        if not length:
            self._read(0, 0)
            return b""
        index, rest = divmod(offset, self._seal.sealed_chunk)
        if rest or not 0 <= index < self._seal.count or length != self._seal.length(index) + TAG:
            raise ArgumentError(f"{length} bytes at {offset} are no sealed chunk")
        data = self._chunk(index)
        with self._lock:
            self.sealed += 1
        return self._seal.seal(index, data)

    def proof(self, index: int) -> bytes:
        """The SHA-256 of a plain chunk; it is read if nobody has asked for it yet. Raises as `read` does."""
        return self._proofs.get(index) or proof_of(self._chunk(index))

    def prefetch(self, offset: int, length: int) -> None:
        """These will be asked for soon."""
        index = offset // self._seal.sealed_chunk
        self._plain.prefetch(index * self._seal.chunk, length)

    def close(self) -> None:
        """Seal nothing any more."""
        self._closed = True

    def _chunk(self, index: int) -> bytes | memoryview:
        """A plain chunk, which is what it was the first time, and which nobody can change any more."""
        data = _fixed(self._read(index * self._seal.chunk, self._seal.length(index)))
        found = proof_of(data)
        with self._lock:
            if not (known := self._proofs.get(index)):
                self._proofs.set(index, found)
        if known and known != found:
            remedy = "offer it again when nobody writes to it"
            raise SourceChangedError("was changed since it was offered", file=self._plain.name, remedy=remedy)
        return data

    def _read(self, offset: int, length: int) -> Buffer:
        if self._closed:
            raise SourceError("is closed", file=self._plain.name, remedy="offer it again")
        try:
            data = self._plain.read(offset, length)
        except BlobError:
            raise
        except Exception as error:  # its text might tell what nobody on the way may know
            raise SourceError("cannot be read", file=self._plain.name, remedy="offer it again") from error
        if len(data) != length:
            raise SourceError(f"has no {length} bytes at {offset}", file=self._plain.name, remedy="offer it again")
        return data

    def __repr__(self) -> str:
        return f"<SealedSource of {self._plain!r}>"


def _fixed(data: Buffer) -> bytes | memoryview:
    is_constant = isinstance(data, bytes) or (isinstance(data, memoryview) and isinstance(data.obj, bytes))
    return data if is_constant else bytes(data)  # type: ignore[return-value]
