"""Chunks of a push: packed or as they are, each with the digest of its plain bytes. Files, containers and objects
share this.

Source: design, decisions 16 and 17.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import xxhash

from zmqfl.cell.streams import Chunk
from zmqfl.errors import DecodeError, InvalidRequest
from zmqfl.protocol.push_sender import READ_AHEAD
from zmqfl.wire.chunk_codec import ChunkPacker, Codec, unpack
from zmqfl.wire.messages import Buffer

DIGEST: Final = "d"
"""Header of a chunk: the digest of its plain bytes."""
PACKED: Final = "z"
"""Header of a packed chunk: how many bytes it stands for."""


def packer_for(
    codec: Codec, window: int, total: int | None = None, clock: Callable[[], float] = time.monotonic
) -> ChunkPacker:
    """For the chunks of a push with `window` rounds at once, of `total` bytes. Raises `ArgumentError` for a codec that
    is none."""
    return ChunkPacker(codec, clock, max(1, window) + READ_AHEAD, total)


def digest_of(bodies: Iterable[Buffer]) -> bytes:
    """The digest of the bytes of a chunk, as `zmqfl.blobs.digest.digest` gives it for bytes that lie together."""
    state = xxhash.xxh3_128()
    for body in bodies:
        state.update(body)
    return state.digest()


def sent_chunk(
    headers: dict[str, Any],
    codec: int,
    bodies: tuple[Buffer, ...],
    item: int,
    timeout: float | None,
    packer: ChunkPacker | None,
) -> Chunk:
    """`bodies` as a chunk, packed if `packer` finds that worth it. `item`: bytes of one item of what they are.

    `headers` has the digest already: it was taken before anything is done with the bytes.
    """
    size = sum(map(len, bodies))
    packed = packer.pack(bodies, size, item) if packer is not None else None
    if packed is None:
        return Chunk(headers, codec, bodies, timeout)
    return Chunk({**headers, PACKED: size}, codec, (packed,), timeout, stands_for=size)


def received_bodies(chunk: Chunk, index: int, most: int) -> tuple[Buffer, ...]:
    """The plain bytes of a chunk, checked by its digest. `most`: bytes that may come yet.

    Raises `InvalidRequest` for a chunk that was damaged, or that claims more than there can be.
    """
    bodies = chunk.bodies
    if (size := chunk.headers.get(PACKED)) is not None:
        if type(size) is not int or size > most:
            raise InvalidRequest(f"chunk {index} is said to be {size!r:.30} bytes; at most {most} may come")
        try:
            bodies = (unpack(bodies[0] if len(bodies) == 1 else b"".join(bodies), size),)
        except DecodeError as error:
            raise InvalidRequest(f"chunk {index}: {error}") from error
    if digest_of(bodies) != chunk.headers.get(DIGEST):
        raise InvalidRequest(f"chunk {index} was damaged on its way")
    return bodies
