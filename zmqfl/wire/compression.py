"""One buffer compressed by blosc2, and a checked way back.

blosc2 trusts the chunk's own header: it allocates what the header says (1 GiB of zeros is a chunk of 32 bytes), writes
past a given destination, and looks for a plug-in when the header names an unknown codec. So `decompress` holds the
header against what *our* message promised, and against what `compress` writes, before blosc2 sees the chunk.

Source: the chunk header in c-blosc2's README_CHUNK_FORMAT.rst; reference "channels-and-zeromq" E.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from zmqfl.errors import DecodeError, EncodeError

Buffer = bytes | bytearray | memoryview
CodecName = Literal["lz4", "zstd"]

MAX_BYTES = 1 << 30
"""Bytes of one chunk before compression; blosc2 ends at 2 GiB, and a chunk is a few MiB."""

_HEADER_BYTES = 32
_EXTENDED = 0b101  # both shuffle bits of the flags: the header has 32 bytes, not blosc1's 16
_FORMATS = {0, 1, 4}  # flags >> 5: stored, lz4, zstd; 7 is "user-defined", which may load a plug-in
_FILTERS = {0, 1}  # none, shuffle
_SPECIAL = {0x00, 0x10}  # the last byte: ordinary chunk, all zeros; others are lazy, uninitialised, dictionaries


@cache
def prepare() -> Any:
    """Import blosc2, which costs 24 MiB and up to a second: only those do who compress. Returns the module."""
    import blosc2

    blosc2.set_releasegil(True)  # else nothing runs in this process while a chunk is compressed
    return blosc2


def compress(data: Buffer, codec: CodecName, typesize: int) -> bytes:
    """`data` as one blosc2 chunk, shuffled by `typesize` (bytes of an item, 1 to 255).

    It may be up to 32 bytes longer than `data`: send the smaller. Raises `EncodeError` for more than `MAX_BYTES`.
    """
    blosc2 = prepare()
    size = memoryview(data).nbytes
    if size > MAX_BYTES:
        raise EncodeError(f"{size} bytes are too many to compress as one chunk; give at most {MAX_BYTES}")
    if size % typesize or not 1 <= typesize <= 255:
        typesize = 1  # past versions lost data when the length was no multiple; shuffling would gain little
    chunk: bytes = blosc2.compress2(
        data,
        codec={"lz4": blosc2.Codec.LZ4, "zstd": blosc2.Codec.ZSTD}[codec],
        clevel=1,
        filters=[blosc2.Filter.SHUFFLE],
        typesize=typesize,
        nthreads=1,
    )
    return chunk


def decompress(data: Buffer, expected: int) -> bytes:
    """What `compress` was given, if it has the `expected` bytes that the header of *our* message promised.

    The caller limits `expected` first: that much is allocated. Raises `DecodeError` for any other chunk.
    """
    header = bytes(memoryview(data).cast("B")[:_HEADER_BYTES])
    _check_header(header, memoryview(data).nbytes, expected)
    blosc2 = prepare()
    try:
        plain: bytes = blosc2.decompress2(data, nthreads=1)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise DecodeError(f"compressed chunk is damaged: {error}") from error
    return plain


def _check_header(header: bytes, size: int, expected: int) -> None:
    if not 0 <= expected <= MAX_BYTES:
        raise DecodeError(f"compressed chunk promised {expected} bytes; at most {MAX_BYTES} are accepted")
    if len(header) < _HEADER_BYTES:
        raise DecodeError(f"compressed chunk of {size} bytes has no header of {_HEADER_BYTES}")
    plain_bytes = int.from_bytes(header[4:8], "little", signed=True)
    chunk_bytes = int.from_bytes(header[12:16], "little", signed=True)
    if (plain_bytes, chunk_bytes) != (expected, size):
        raise DecodeError(
            f"compressed chunk says {chunk_bytes} bytes for {plain_bytes}, but is {size} for the promised {expected}"
        )
    flags, typesize, block_bytes = header[2], header[3], int.from_bytes(header[8:12], "little", signed=True)
    if typesize == 0 or not 1 <= block_bytes <= max(expected, 1):  # blosc2 divides by both, unchecked: SIGFPE
        raise DecodeError(f"compressed chunk with items of {typesize} and blocks of {block_bytes} bytes")
    if flags & _EXTENDED != _EXTENDED or flags >> 5 not in _FORMATS:
        raise DecodeError(f"compressed chunk with flags {flags:#04x} is neither lz4 nor zstd")
    if not _FILTERS.issuperset(header[16:22]) or header[31] not in _SPECIAL:
        raise DecodeError("compressed chunk uses a filter or a kind of chunk that is not accepted")
