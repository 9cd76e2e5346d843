"""Which chunks are packed, by a clock of the test's, and what comes back."""

from __future__ import annotations

import subprocess
import sys
from random import Random
from typing import Any

import numpy as np
import pytest

from zmqfl.errors import ArgumentError, DecodeError
from zmqfl.wire.chunk_codec import LEAST_BYTES, MEASURED_CHUNKS, MOST_BYTES, ChunkPacker, Codec, check_codec, unpack
from zmqfl.wire.compression import compress

MIB = 1024 * 1024
SMOOTH = np.linspace(0, 1, MIB // 4, dtype="f4").tobytes()
FLOATS = SMOOTH[:9000]
NOISE = Random(1).randbytes(MIB)
AHEAD = 3


class Link:
    """Carries `rate` bytes per second and asks for chunks as they arrive; `cost` seconds pass while one is packed."""

    def __init__(self, codec: Codec, rate: float, cost: float = 0.001, total: int | None = None) -> None:
        self.now = 100.0
        self.rate = rate
        self.cost = cost
        self.packer = ChunkPacker(codec, lambda: self.now, AHEAD, total)
        self.calls = 0
        self.sent = 0

    def ask(self, count: int, data: bytes = SMOOTH) -> list[bool]:
        """Whether each of so many chunks was packed."""
        return [self._ask(data) for _ in range(count)]

    def _ask(self, data: bytes) -> bool:
        self.calls += 1
        if self.calls > AHEAD:
            self.now += self.sent / self.rate
        packed = self.packer.pack((data,), len(data), 4)
        self.sent = len(data if packed is None else packed)
        return packed is not None


Links: list[Link] = []


def link(codec: Codec, rate: float, cost: float = 0.001, total: int | None = None) -> Link:
    Links.append(Link(codec, rate, cost, total))
    return Links[-1]


@pytest.fixture(autouse=True)
def _cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing takes the time of the link's clock."""

    def compressing(*args: Any) -> bytes:
        if Links:
            Links[-1].now += Links[-1].cost
        return compress(*args)

    monkeypatch.setattr("zmqfl.wire.chunk_codec.compress", compressing)
    Links.clear()


FIRST = AHEAD + MEASURED_CHUNKS - 1
"""Chunks before the first that is packed."""


def test_a_fast_link_stays_raw_for_good() -> None:
    fast = link("auto", 250e6)
    assert not any(fast.ask(FIRST + 1))
    fast.rate = 1e6
    assert not any(fast.ask(20))


def test_a_slow_link_is_packed_after_a_look_at_its_pace() -> None:
    assert link("auto", 100e6).ask(FIRST + 40) == [False] * FIRST + [True] * 40


def test_a_very_slow_link_is_not_looked_at_for_long() -> None:
    assert link("auto", 4e6).ask(AHEAD + 40) == [False] * (AHEAD + 1) + [True] * 39


def test_the_first_chunks_say_nothing_about_the_pace() -> None:
    """They only fill the window, at once."""
    slow = link("auto", 4e6)
    slow.ask(AHEAD)
    assert slow.now == 100.0
    assert slow.ask(3) == [False, True, True]


def test_a_transfer_that_is_soon_over_is_not_worth_it() -> None:
    assert not any(link("auto", 50e6, total=100 * MIB).ask(100))
    assert link("auto", 50e6, total=300 * MIB).ask(300).count(True) == 300 - FIRST


def test_what_hardly_gets_smaller_is_tried_once() -> None:
    slow = link("auto", 4e6)
    assert not any(slow.ask(AHEAD + 2, NOISE))
    assert not any(slow.ask(20, SMOOTH))


def test_it_stops_when_later_chunks_hardly_get_smaller() -> None:
    slow = link("auto", 4e6)
    assert slow.ask(AHEAD + 30)[-1]
    slow.ask(50, NOISE)
    assert not any(slow.ask(5))


def test_a_codec_that_the_link_waits_for_is_left() -> None:
    assert link("auto", 100e6, cost=0.012).ask(FIRST + 20).count(True) == 2
    assert link("auto", 4e6, cost=0.012).ask(AHEAD + 20).count(True) == 19


def test_where_it_is_not_the_link_that_is_waited_for_it_is_left() -> None:
    """A receiver that writes slowly, or a processor that has more to do, gain nothing by fewer bytes."""
    slow = link("auto", 1e12)
    asked = []
    for _ in range(100):
        slow.now += 0.02
        asked += slow.ask(1)
    assert asked == [False] * FIRST + [True] * (FIRST + 1) + [False] * (100 - 2 * FIRST - 1)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_codec_that_was_asked_for_is_used_wherever_it_helps(codec: Codec) -> None:
    fast = link(codec, 1e9)
    assert all(fast.ask(5))
    assert not any(fast.ask(5, NOISE))
    assert all(fast.ask(5))
    assert not any(link("none", 1e6).ask(20))


def test_the_smallest_and_the_biggest_chunks_stay_raw() -> None:
    packer = link("zstd", 1e6)
    assert packer.ask(1, bytes(LEAST_BYTES - 1)) == [False]
    assert packer.ask(1, bytes(LEAST_BYTES)) == [True]
    assert packer.ask(1, bytes(MOST_BYTES)) == [True]
    assert packer.ask(1, bytes(MOST_BYTES + 1)) == [False]


def test_several_bodies_are_packed_as_one() -> None:
    packer = ChunkPacker("zstd", lambda: 0.0, 0)
    packed = packer.pack((SMOOTH[:10], memoryview(SMOOTH)[10:], b""), MIB, 4)
    assert packed is not None
    assert unpack(packed, MIB) == SMOOTH


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("item", [1, 2, 3, 4, 8, 12, 16, 255, 1000])
@pytest.mark.parametrize("data", [bytes(5000), FLOATS, bytes(range(256)) * 20], ids=["zeros", "floats", "steps"])
def test_the_last_chunk_of_any_length_comes_back(codec: Codec, item: int, data: bytes) -> None:
    packer = ChunkPacker(codec, lambda: 0.0, 0)
    for rest in range(17):
        plain = data[: LEAST_BYTES + rest]
        packed = packer.pack((plain,), len(plain), item)
        if packed is None:  # floats that are not shuffled get no smaller
            assert data is FLOATS
            continue
        assert len(packed) < len(plain)
        assert unpack(packed, len(plain)) == plain


@pytest.mark.parametrize("size", [-1, 0, MIB - 1, MIB + 1, MOST_BYTES + 1, 1 << 40])
def test_another_size_than_promised_is_refused(size: int) -> None:
    packed = ChunkPacker("zstd", lambda: 0.0, 0).pack((SMOOTH,), MIB, 4)
    assert packed is not None
    with pytest.raises(DecodeError):
        unpack(packed, size)


def test_codecs_have_names() -> None:
    assert [check_codec(name) for name in ("none", "lz4", "zstd", "auto")] == ["none", "lz4", "zstd", "auto"]
    with pytest.raises(ArgumentError, match="none, lz4, zstd, auto, not 'gzip'"):
        check_codec("gzip")
    with pytest.raises(ArgumentError):
        ChunkPacker("", lambda: 0.0, 0)  # type: ignore[arg-type]


def test_a_fast_link_does_not_import_the_codec() -> None:
    code = """
import sys
from zmqfl.wire.chunk_codec import ChunkPacker
packer = ChunkPacker("auto", lambda: 0.0, 2)
assert all(packer.pack((bytes(1 << 20),), 1 << 20, 1) is None for _ in range(100))
sys.exit("blosc2" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_its_repr_is_its_state() -> None:
    assert repr(ChunkPacker("auto", lambda: 0.0, 2)) == "<ChunkPacker auto, measuring>"
