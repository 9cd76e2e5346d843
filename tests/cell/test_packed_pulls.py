"""Pulled chunks that are packed: by the owner for who can read them, and read by their place in the grid."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG, Federation
from zmqfl import Cell
from zmqfl.blobs.digest import digest
from zmqfl.cell.offering import UNPACKS, Offering
from zmqfl.cell.pulling import PullHandle, _plain
from zmqfl.protocol.commands import Call, Read, Served, Write
from zmqfl.protocol.pull_grid import Grid
from zmqfl.protocol.pull_receiver import PullReceiver
from zmqfl.wire.chunk_codec import ChunkPacker, unpack

MIB = 1024 * 1024
SMOOTH = np.linspace(0, 1, MIB // 2, dtype="f4").tobytes()


class Owner:
    """A cell, and what it answers to GETs of any receiver."""

    def __init__(self, cell: Cell, what: Any, **options: Any) -> None:
        self.offer = cell.offer(what, **options)
        cell.statistics()
        self.offering: Offering = cell._transfers.offering
        self.file = self.offering._by_rid[self.offer.rid]

    def get(self, receiver: str, index: int, **headers: Any) -> tuple[bytes, bytes]:
        """Bytes and digest of a chunk."""
        call = Call(receiver, 1, 1, "zmqfl.pull", "get", 0, {"r": self.offer.rid, "i": index, **headers}, (), 9.0, True)
        size = min(MIB, self.offer.size - index * MIB)
        self.file.is_shared = True
        outcome = self.offering._read(Read(call, self.offer.rid, index, index * MIB, size), self.file)
        [body] = outcome.bodies
        return bytes(body), outcome.headers["d"]


@pytest.fixture
def cell(federation: Federation) -> Cell:
    return federation.start("server")


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_who_can_read_packed_chunks_gets_them(cell: Cell, codec: Any) -> None:
    steps = bytes(range(256)) * 8192
    owner = Owner(cell, steps, codec=codec)
    for index in range(2):
        plain = steps[index * MIB : (index + 1) * MIB]
        packed, checked = owner.get("site-1", index, **{UNPACKS: 1})
        assert len(packed) < len(plain)
        assert (unpack(packed, len(plain)), checked) == (plain, digest(plain))
        assert owner.get("site-2", index) == (plain, digest(plain))


def test_what_gets_no_smaller_stays_raw(cell: Cell) -> None:
    noise = Random(1).randbytes(MIB)
    assert Owner(cell, noise, codec="zstd").get("site-1", 0, z=1) == (noise, digest(noise))
    assert Owner(cell, SMOOTH, codec="none").get("site-1", 0, z=1)[0] == SMOOTH[:MIB]


def test_a_fast_pull_stays_raw(cell: Cell, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(SMOOTH * 20)
    owner = Owner(cell, path)
    owner.offering._clock = lambda: 0.0
    assert all(len(owner.get("site-1", index, z=1)[0]) == MIB for index in range(40))


def test_a_slow_pull_is_packed(cell: Cell) -> None:
    now = [0.0]
    owner = Owner(cell, SMOOTH * 50)
    owner.offering._clock = lambda: now[0]
    sizes = []
    for index in range(30):
        body, _ = owner.get("slow", index, z=1)
        sizes.append(len(body))
        now[0] += len(body) / 2e6
    assert sizes[0] == MIB > sizes[-1]
    assert repr(owner.file.packers["slow"]) == "<ChunkPacker auto, packing>"


def test_a_chunk_is_packed_once_for_all_and_forgotten_with_the_file(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeezed: list[int] = []
    squeeze = ChunkPacker.squeeze

    def count(packer: ChunkPacker, bodies: Any, size: int, item: int) -> bytes | None:
        squeezed.append(item)
        return squeeze(packer, bodies, size, item)

    monkeypatch.setattr(ChunkPacker, "squeeze", count)
    owner = Owner(cell, SMOOTH, codec="zstd")
    answers = {owner.get(f"site-{number}", 0, z=1) for number in range(5)}
    assert len(answers) == len(squeezed) == 1
    assert sorted(owner.file.packers) == [f"site-{number}" for number in range(5)]
    owner.offering.served(Served(owner.offer.rid, "site-3", "success"))
    assert "site-3" not in owner.file.packers
    owner.offer.withdraw()
    cell.statistics()
    assert repr(owner.offering._packed) == "<RecentChunks 0, 0 bytes>"


def test_it_is_unpacked_at_the_receiver(federation: Federation, tmp_path: Path) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server)
    with server.offer(SMOOTH, codec="zstd") as memory, server.offer_object([SMOOTH], codec="zstd") as whole:
        server.statistics()
        handle = site.pull(memory.rid, "server")
        assert handle.result(LONG) == SMOOTH
        assert handle.fetched < len(SMOOTH) == handle.progress.done
        assert site.pull_object(whole.rid, "server").result(LONG) == [SMOOTH]
        assert site.pull(memory.rid, "server", tmp_path).result(LONG).read_bytes() == SMOOTH


# -- the receiver ------------------------------------------------------------------------------------------------------


def read(bodies: tuple[bytes, ...], size: int = 2 * MIB - 7, index: int = 1) -> Any:
    handle = PullHandle("R", "server", on_cancel=lambda: None, on_reactor=lambda: False)
    machine = PullReceiver(1, "server", "R", 9.0, 1.0, 0.0)
    machine.grid = Grid(size, MIB, "", "")
    handle._machine = machine
    return _plain(Write(1, index, index * MIB, bodies, bytes(16)), handle)


def test_a_chunk_that_is_shorter_than_its_place_is_unpacked() -> None:
    plain = SMOOTH[: MIB - 7]
    packed = ChunkPacker("zstd", lambda: 0.0, 0).pack((plain,), len(plain), 4)
    assert packed is not None
    assert read((plain,)) == read((packed,)) == read((packed[:9], packed[9:])) == plain


@pytest.mark.parametrize("body", [b"", b"x", bytes(31), bytes(500)])
def test_what_is_neither_is_damaged(body: bytes) -> None:
    assert read((body,)) is None


def test_a_packed_chunk_of_another_size_is_damaged() -> None:
    packed = ChunkPacker("zstd", lambda: 0.0, 0).pack((SMOOTH[:MIB],), MIB, 4)
    assert packed is not None
    assert read((packed,), size=2 * MIB) == SMOOTH[:MIB]
    assert read((packed,)) is None
