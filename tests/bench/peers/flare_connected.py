"""Cells of FLARE's transfers: as it starts them itself, over its tcp driver, without certificates."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

from nvflare.fuel.f3.cellnet.cell import Cell  # type: ignore[import-not-found]

CONNECTING = 30.0
"""Seconds that a cell gets to reach the server."""

Address = tuple[str]


def listening(name: str) -> tuple[Any, Address]:
    """The cell of a source, started, and where it listens."""
    logging.disable(logging.WARNING)  # nobody empties the pipe
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    cell = Cell(name, url, secure=False, credentials={})
    cell.start()
    return cell, (url,)


def connected(name: str, address: Address) -> Any:
    """The cell of a sink, started and connected."""
    logging.disable(logging.WARNING)
    (url,) = address
    done = threading.Event()
    cell = Cell(name, url, secure=False, credentials={})
    cell.set_cell_connected_cb(lambda agent: done.set())
    cell.start()
    if not done.wait(CONNECTING):
        raise TimeoutError(f"FLARE did not connect within {CONNECTING:g} s")
    return cell
