"""Files of all sizes through all kinds of transfers: what comes out is what went in.

Each of `ROWS` is one transfer, a digit for each of `COLUMNS`. Any two values of two columns meet in some row: it is the
orthogonal array L18 (Taguchi), and stands for 1,458 combinations.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from tests.system.federation import LONG, Federation, counter, until
from tests.system.transfer_ends import KIB, Ends, files_below, make_file, offer
from zmqfl import Cell
from zmqfl.blobs.digest import digest
from zmqfl.cell.handles import Handle

MIB = 1024 * KIB
GIB = 1024 * MIB
SIZES = [(0, 0), (0, 1), (1, -1), (1, 0), (1, 1), (3, 0)]
"""Chunks, and bytes beside them."""
CHUNKS = [64 * KIB, 1 * MIB, 3 * MIB // 2]
"""Bytes; the last one is above a segment."""
COLUMNS: dict[str, list[Any]] = {
    "size": SIZES,
    "receivers": [1, 2, 3],
    "window": [1, 2, 8],
    "chunk": CHUNKS,
    "transport": ["tcp", "ipc", "curve"],
    "direction": ["down", "up", "across"],
    "verb": ["push", "pull", "push"],
}
ROWS = [
    "0000000", "0111111", "0222222", "1001122", "1112200", "1220011", "2010212", "2121020", "2202101",
    "3022110", "3100221", "3211002", "4012021", "4120102", "4201210", "5021201", "5102012", "5210120",
]  # fmt: skip
WAYS = {
    "down": ["server", "site-1", "relay.site-1", "relay"],
    "up": ["relay.site-1", "server", "relay", "site-1"],
    "across": ["relay.site-1", "relay.site-2", "site-1", "site-2"],
}
"""The owner, and the receivers in the order in which they are needed."""


def test_all_pairs_meet() -> None:
    for (one, first), (other, second) in combinations(enumerate(COLUMNS.values()), 2):
        met = {(row[one], row[other]) for row in ROWS}
        assert met == set(product(map(str, range(len(first))), map(str, range(len(second)))))


def start(federation: Federation, names: list[str], transport: str, folder: Path) -> dict[str, Cell]:
    """These cells, and those between them."""
    for name in names:
        federation.keys_of(name)
    cells: dict[str, Cell] = {}
    for name in dict.fromkeys(["server", *(["relay"] if "relay" in "".join(names) else []), *names]):
        listens = name in ("server", "relay")
        url = f"ipc://{folder}/{name}" if transport == "ipc" else "tcp://127.0.0.1:*"
        parent = None if name == "server" else cells["relay" if name.startswith("relay.") else "server"]
        cells[name] = federation.start(name, parent, url if listens else None)
    return cells


@pytest.fixture
def federations() -> Iterator[dict[bool, Federation]]:
    """Without keys, and with them."""
    both = {keys: Federation(keys=keys) for keys in (False, True)}
    yield both
    for federation in both.values():
        federation.close()


@pytest.mark.parametrize("row", ROWS)
def test_push_P01_sizes(federations: dict[bool, Federation], tmp_path: Path, row: str) -> None:
    values = [levels[int(digit)] for digit, levels in zip(row, COLUMNS.values(), strict=True)]
    (chunks, more), receivers, window, chunk, transport, direction, verb = values
    owner, *targets = WAYS[direction][: 1 + receivers]
    path = tmp_path / "model.bin"
    content = make_file(path, chunks * chunk + more)
    cells = start(federations[transport == "curve"], [owner, *targets], transport, tmp_path)
    if verb == "push":
        ends = [Ends(tmp_path / f"at-{name}").consume(cells[name]) for name in targets]
        push = cells[owner].push_file(path, targets, chunk_size=chunk, window=window, timeout=LONG)
        assert once(push).ok
        assert push.progress.done == len(content)
        for end in ends:
            end.check_whole(content)
            assert end.taken == list(range(max(1, -(-len(content) // chunk))))
    else:
        pull_all(cells[owner], [cells[name] for name in targets], path, chunk, content)
    for cell in cells.values():
        until(lambda cell=cell: not cell._node.transfers.pushes and not cell._node.transfers.pulls)  # type: ignore[misc]
        assert not cell._node.transfers.streams
        assert counter(cell, "bugs") == 0


def pull_all(owner: Cell, cells: list[Cell], path: Path, chunk: int, content: bytes) -> None:
    served: list[tuple[str, str, str]] = []
    offered = offer(owner, path, chunk_size=chunk, on_served=lambda _, *what: served.append(what))
    folders = [path.with_name(f"at-{cell.fqcn}") for cell in cells]
    for folder in folders:
        folder.mkdir()
    pulls = [
        cell.pull(offered.rid, owner.fqcn, folder, timeout=LONG) for cell, folder in zip(cells, folders, strict=True)
    ]
    for pull, folder in zip(pulls, folders, strict=True):
        assert once(pull).read_bytes() == content
        assert files_below(folder) == ["model.bin"]
        assert pull.fetched == pull.progress.done == len(content)
    until(lambda: len(served) == len(cells))
    assert sorted(served) == sorted((cell.fqcn, "success", "model.bin") for cell in cells)


def once(handle: Handle[Any]) -> Any:
    """Its value; it has ended once."""
    ends: list[object] = []
    handle.add_done_callback(ends.append)
    value = handle.result(LONG)
    until(lambda: ends)
    assert len(ends) == 1
    return value


# -------------------------------------------------------------------------------------------------------- large files


@pytest.fixture
def huge(tmp_path: Path) -> Iterator[Path]:
    """4 GiB and a byte, most of it a hole; there is room for a copy."""
    size = 4 * GIB + 1
    if (free := shutil.disk_usage(tmp_path).free) < size + GIB:
        pytest.skip(f"a copy of {size} bytes needs more than the {free} bytes that are free in {tmp_path}")
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        for offset in range(0, size, 512 * MIB + 7):
            file.seek(offset)
            file.write(offset.to_bytes(8, "big"))
        file.truncate(size - 1)
        file.seek(size - 1)
        file.write(b"!")
    yield path
    for copy in tmp_path.rglob("huge.bin*"):
        copy.unlink()


def digests(path: Path) -> list[bytes]:
    """Of each 64 MiB."""
    with path.open("rb") as file:
        return [digest(data) for data in iter(lambda: file.read(64 * MIB), b"")]


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("verb", ["push", "pull"])
def test_four_gibibytes_and_one(federation: Federation, tmp_path: Path, huge: Path, verb: str) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server, None)
    there = tmp_path / "there"
    there.mkdir()
    if verb == "push":
        site.consume(to=there)
        assert server.push_file(huge, "site-1", window=8).result(1000).size == os.path.getsize(huge)
    else:
        site.pull(offer(server, huge).rid, "server", there).result(1000)
    assert files_below(there) == ["huge.bin"]
    assert digests(there / "huge.bin") == digests(huge)
