"""What a site of `tests/net/site.py` does for a test of memory: pushes, offers, pulls, receives."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.net.site import Commands
from zmqfl import Cell


def setup(cell: Cell, commands: Commands) -> None:
    """Commands `consume`, `push`, `offer`, `pull` for files, and the same with `_object` for dicts of arrays."""
    offers: list[Any] = []
    made: dict[str, Any] = {}
    got: list[Any] = []

    def consume(folder: str) -> None:
        cell.consume("files", to=folder, on_exists="replace")

    def push(path: str, to: list[str], window: int) -> int:
        return cell.push_file(path, to, window=window).result().size

    def offer(path: str) -> str:
        offers.append(cell.offer(path))
        return str(offers[-1].rid)

    def pull(rid: str, owner: str) -> int:
        with tempfile.TemporaryDirectory() as folder:
            path: Path = cell.pull(rid, owner, folder).result()
            return path.stat().st_size

    def make_object(count: int, size: int) -> None:
        made.clear()
        made.update({f"layer-{number}": np.full(size // 8, number, np.int64) for number in range(count)})

    def consume_object() -> None:
        cell.consume_objects(done=lambda received: got.append(received.value))

    def push_object(to: list[str], window: int) -> int:
        return cell.push_object(made, to, window=window).result().size

    def offer_object() -> str:
        offers.append(cell.offer_object(made))
        return str(offers[-1].rid)

    def pull_object(rid: str, owner: str) -> None:
        got.append(cell.pull_object(rid, owner).result())

    def drop_object() -> int:
        """Forget what came; how many bytes of arrays that were right."""
        size = 0
        for value in got:
            assert all(array[0] == array[-1] == int(name.rpartition("-")[2]) for name, array in value.items())
            size += sum(array.nbytes for array in value.values())
        got.clear()
        return size

    commands.update(consume=consume, push=push, offer=offer, pull=pull)
    commands.update(make_object=make_object, consume_object=consume_object, push_object=push_object)
    commands.update(offer_object=offer_object, pull_object=pull_object, drop_object=drop_object)
