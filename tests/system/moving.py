"""What a site of `tests/net/site.py` does for a test of memory: pushes, offers, pulls, receives."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.net.site import Commands
from zmqfl import Cell


def setup(cell: Cell, commands: Commands) -> None:
    """Commands `consume`, `push`, `offer`, `pull`, and `request` for payloads that are only counted."""
    offers: list[Any] = []

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

    commands.update(consume=consume, push=push, offer=offer, pull=pull)
