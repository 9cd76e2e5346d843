"""Which chunks of a transfer travel compressed: where the link is slower than the codec, and the bytes get fewer.

    codec    what it does
    none     every chunk as it is
    lz4      every chunk that gets smaller
    zstd     the same; smaller still, and half as fast
    auto     looks at the pace first, see below

    auto     state       event                                              next
             measuring   the pace of the first chunks is `FAST`, or the     raw, for good: blosc2 is not even imported
                         rest takes less than `SHORT`
             measuring   neither                                            packing
             packing     chunks get hardly smaller                          raw, for good
             packing     the codec takes longer than `SHARE` of the time    raw, for good
                         that the raw chunk took
             packing     the pace of the first chunks is hardly better      raw, for good: it was not the link that
                         than before                                        was waited for

The pace is that of the calls: who makes chunks is asked for the next one when there is room for it. The first `ahead`
chunks only fill that room and say nothing.

A packed chunk is one blosc2 chunk, see `zmqfl.wire.compression`. It is always shorter than what it stands for; its
message says how long that is, and its digest is that of the plain bytes. Source: design, decision 16; reference
"channels-and-zeromq" E.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, get_args

from zmqfl.errors import ArgumentError, DecodeError
from zmqfl.wire.compression import compress, decompress, prepare
from zmqfl.wire.messages import Buffer

Codec = Literal["none", "lz4", "zstd", "auto"]

FAST: Final = 200e6
"""Bytes per second from which zstd would be what the link waits for."""
LEAST_RATIO: Final = 1.1
"""Plain bytes for one that is sent; below it packing is not worth the receiver's time either."""
LEAST_GAIN: Final = 1.05
"""Pace of packed chunks, with raw ones as 1."""
SHORT: Final = 4.0
"""Seconds; importing blosc2 takes up to one, and 24 MiB."""
SHARE: Final = 0.5
"""Part of the time of a raw chunk that the codec may take."""
LEAST_BYTES: Final = 4 * 1024
"""A smaller chunk gains nothing that anybody would notice."""
MOST_BYTES: Final = 16 * 1024 * 1024
"""A bigger chunk stays raw: so much may a few bytes make the receiver allocate."""
MEASURED_CHUNKS: Final = 8
MEASURED_SECONDS, LEAST_CHUNKS = 0.25, 2
"""How long the pace is measured: so many chunks, or so many seconds if that is a few chunks at least."""


class ChunkPacker:
    """Packs the chunks of one transfer to one receiver, or to several at one pace. Several threads may use it at once:
    that blurs what it measures, and no more.

    `clock`: seconds. `ahead`: chunks that are asked for before any has arrived. `total`: bytes of all chunks, if known.
    Raises `ArgumentError` for a codec that is none.
    """

    def __init__(self, codec: Codec, clock: Callable[[], float], ahead: int, total: int | None = None) -> None:
        self._codec = check_codec(codec)
        self._state = {"none": "raw", "auto": "measuring"}.get(codec, "packing")
        self._clock = clock
        self._ahead = ahead
        self._left = float("inf") if total is None else total
        self._pace = _Pace(ahead)
        self._raw_pace = 0.0
        """Bytes per second before anything was packed."""
        self._spent = self._ratio = 0.0
        self._packed = 0

    def pack(self, bodies: Sequence[Buffer], size: int, item: int) -> bytes | None:
        """`bodies`, which are `size` bytes together, as a packed chunk; None: send them as they are.

        `item`: bytes of one item of what is in it; 1 for files.
        """
        return self.squeeze(bodies, size, item) if self.wants(size) else None

    def wants(self, size: int) -> bool:
        """A chunk of `size` bytes is asked for: whether it is to be packed, if it gets smaller. Once for each chunk."""
        if self._state == "raw":
            return False
        self._look(size, self._clock())
        return self._state == "packing" and LEAST_BYTES <= size <= MOST_BYTES

    def squeeze(self, bodies: Sequence[Buffer], size: int, item: int) -> bytes | None:
        """A wanted chunk, packed; None when it does not get smaller."""
        prepare()  # this may take a second, once, and tells nothing
        begin = self._clock()
        data = bodies[0] if len(bodies) == 1 else b"".join(bodies)
        packed = compress(data, "lz4" if self._codec == "lz4" else "zstd", item)
        self._judge(size, len(packed), self._clock() - begin)
        return packed if len(packed) < size else None

    def _look(self, size: int, now: float) -> None:
        """How fast chunks are asked for."""
        self._left -= size
        pace = self._pace.asked(size, now)
        if self._state == "packing":
            if pace is not None and self._codec == "auto" and pace < LEAST_GAIN * self._raw_pace:
                self._state = "raw"
        elif pace is not None:
            self._state = "raw" if pace >= FAST or self._left < SHORT * pace else "packing"
            self._pace, self._raw_pace = _Pace(self._ahead), pace

    def _judge(self, size: int, packed: int, seconds: float) -> None:
        """Whether to go on, after a chunk was packed."""
        if self._codec != "auto":
            return
        self._packed += 1
        self._ratio, self._spent = _smooth(self._ratio, size / packed), _smooth(self._spent, seconds)
        is_slow = self._packed >= LEAST_CHUNKS and self._spent > SHARE * size / self._raw_pace
        if is_slow or self._ratio < LEAST_RATIO:
            self._state = "raw"

    def __repr__(self) -> str:
        return f"<ChunkPacker {self._codec}, {self._state}>"


class _Pace:
    """The pace of some chunks, after `ahead` others."""

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._chunks = self._bytes = 0
        self._since = 0.0

    def asked(self, size: int, now: float) -> float | None:
        """A chunk of `size` bytes is asked for: bytes per second, once, when that is known."""
        self._chunks += 1
        chunks = self._chunks - self._ahead
        if chunks <= 0:
            self._since = now
            return None
        if chunks > MEASURED_CHUNKS:
            return None
        self._bytes += size
        seconds = now - self._since
        if chunks < MEASURED_CHUNKS and (seconds < MEASURED_SECONDS or chunks < LEAST_CHUNKS):
            return None
        self._chunks += MEASURED_CHUNKS
        return self._bytes / max(seconds, 1e-9)


def unpack(data: Buffer, size: int) -> bytes:
    """The plain bytes of a packed chunk, `size` of them as its message says. Raises `DecodeError`.

    Nothing is allocated for more than `MOST_BYTES`, nor for a chunk that says otherwise itself.
    """
    if not 0 < size <= MOST_BYTES:
        raise DecodeError(f"packed chunk for {size} bytes; at most {MOST_BYTES} are accepted")
    return decompress(data, size)


def check_codec(codec: str) -> Codec:
    """`codec`, if it is one. Raises `ArgumentError`."""
    for known in get_args(Codec):
        if codec == known:
            return known  # type: ignore[no-any-return]
    raise ArgumentError(f"codec must be one of {', '.join(get_args(Codec))}, not {codec!r}")


def _smooth(mean: float, value: float) -> float:
    return value if not mean else mean + (value - mean) / 4
