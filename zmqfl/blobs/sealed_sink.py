"""Where the chunks of a sealed pull are opened: what is plain goes on to the real sink.

resume   the real sink looks what is there, by the plain fingerprint and digests
write    a sealed chunk is opened, and written; what does not open raises `DigestError`
proof    the SHA-256 of the plain chunks, for the owner: only after its word, `commit`
"""

from __future__ import annotations

from typing import Generic, TypeVar

from zmqfl.blobs.chunk_seal import ChunkSeal, Proofs, proof_of
from zmqfl.blobs.digest import digest
from zmqfl.blobs.sink import Seen, Sink
from zmqfl.errors import ArgumentError, AuthenticationError
from zmqfl.wire.messages import Buffer

Result_co = TypeVar("Result_co", covariant=True)


class SealedSink(Generic[Result_co]):
    """See the module, and `Sink`. `fingerprint`: that of the plain source. `write` may be called by several threads."""

    def __init__(self, plain: Sink[Result_co], seal: ChunkSeal, fingerprint: str) -> None:
        self._plain = plain
        self._seal = seal
        self._fingerprint = fingerprint
        self._proofs = Proofs(seal.count)
        self._digests: dict[int, bytes] = {}
        """Of plain chunks that are written and not marked yet."""

    @property
    def size(self) -> int | None:
        """Sealed bytes."""
        return self._seal.sealed_size

    def open(self) -> None:
        """Begin with nothing."""
        self._plain.open()

    def resume(self, fingerprint: str, chunk: int, seen: Seen | None = None) -> dict[int, bytes]:
        """Begin with what is there. `fingerprint`, `chunk`: of the twin; else raises `AuthenticationError`."""
        if (fingerprint, chunk) != (self._seal.twin, self._seal.sealed_chunk):
            raise AuthenticationError("what is offered is not what its owner has sealed: it was changed on its way")

        def prove(index: int, data: Buffer) -> None:
            self._proofs.set(index, proof_of(data))
            if seen is not None:
                seen(index, data)

        known = self._plain.resume(self._fingerprint, self._seal.chunk, prove)
        return {index: checked for index, checked in known.items() if self._proofs.get(index)}

    def write(self, offset: int, data: Buffer) -> None:
        """Open the sealed chunk at `offset`, and write it. Raises `DigestError` for one that does not open."""
        index, rest = divmod(offset, self._seal.sealed_chunk)
        if rest or not 0 <= index < self._seal.count:
            raise ArgumentError(f"there is no sealed chunk at {offset}")
        opened = self._seal.open(index, data)
        self._plain.write(index * self._seal.chunk, opened)
        self._digests[index] = digest(opened)
        self._proofs.set(index, proof_of(opened))

    def mark(self, index: int, digest: bytes) -> None:
        """Chunk `index` is written. `digest`: that of the sealed one, which is of no use later."""
        self._plain.mark(index, self._digests.pop(index))

    def proof(self, first: int, end: int) -> bytes:
        """The SHA-256 of each plain chunk from `first` to before `end`, joined."""
        return self._proofs.range(first, end)

    def commit(self) -> Result_co:
        """Hand over the whole: only when the owner has confirmed what `proof` gives."""
        return self._plain.commit()

    def discard(self) -> None:
        """Leave nothing."""
        self._plain.discard()

    def close(self, keep: bool = True) -> None:
        """Stop, and `keep` what a later `resume` can use."""
        self._plain.close(keep)

    def __repr__(self) -> str:
        return f"<SealedSink of {self._plain!r}>"
