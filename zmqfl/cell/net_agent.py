"""Questions that any cell answers about itself and its part of the tree, and `NetAgent`, which asks them.

    topic        payload            reply
    info         -                  what the cell is: statistics, pid, version
    cells        seconds            this cell and all below it: [[fqcn, parent, state seen by the parent], ...]
    peers        -                  its neighbours: [{fqcn, state, rtt, since, instance}, ...]
    echo         anything           the same
    hop          FQCN               the neighbour on the way to it
    transfers    -                  what it pushes, receives, pulls and offers: see `TransferStatistics`
    speed        {to, tries, size}  asks `to` for echoes: round trips in seconds
    stop         -                  the cell stops
    child_exited {fqcn, instance, restarts}  a launcher saw the process of a child end

The last two change something, and `transfers` tells names of files: only the cell itself, cells above it, the root's
own processes, and command lines of the cell's own may ask. Sites answer more: see `file_service`.
Source: reference "flare" 5.12, its names where they fit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from zmqfl.cell.message import Message
from zmqfl.errors import AuthenticationError, InvalidRequest
from zmqfl.fqcn import FQCN, tree_is_below
from zmqfl.protocol.pull_source import COMMAND_LINE

if TYPE_CHECKING:
    from zmqfl.cell.cell import Cell

CHANNEL = "_net_manager"
SUB_TIMEOUT = 5.0
"""Seconds for the whole answer of a cell."""
SUB_SHARE = 0.8
"""Part of its time that a cell gives those below: a branch that hangs must not hide the others."""
MAX_TRIES = 10_000
MAX_SIZE = 512 * 1024
"""Bytes of one echo."""


def serve_net_agent(cell: Cell) -> None:
    """Register the answers at a cell."""
    for topic, answer in _ANSWERS.items():
        cell.register_request_cb(CHANNEL, topic, answer, cell)


def _info(message: Message, cell: Cell) -> dict[str, Any]:
    from importlib.metadata import version

    return {"pid": os.getpid(), "version": version("zmqfl"), "urls": cell.urls, **cell.statistics().to_dict()}


def _cells(message: Message, cell: Cell) -> list[list[str]]:
    children = [link for link in cell.statistics().links if link.fqcn != cell.parent]
    found = [[cell.fqcn, "", "up"]]
    alive = [link.fqcn for link in children if link.lanes]
    within = SUB_SHARE * (message.payload if isinstance(message.payload, float) else SUB_TIMEOUT)
    below = cell.broadcast(alive, CHANNEL, "cells", within, within, deadline=within).result() if alive else {}
    for link in children:
        reply = below.get(link.fqcn)
        rows = reply.payload if reply is not None and reply.ok else [[link.fqcn, "", "up"]]
        found.append([link.fqcn, cell.fqcn, link.state])
        found += [row for row in rows if row[0] != link.fqcn]
    return found


def _peers(message: Message, cell: Cell) -> list[dict[str, Any]]:
    links: list[dict[str, Any]] = cell.statistics().to_dict()["links"]
    return links


def _echo(message: Message, cell: Cell) -> Message:
    return Message(payload=message.payload)  # a Message, for None would say that the reply comes later


def _hop(message: Message, cell: Cell) -> str:
    if problem := FQCN.validate(message.payload):
        raise InvalidRequest(problem)
    return cell.hop_to(message.payload)


def _speed(message: Message, cell: Cell) -> dict[str, Any]:
    match message.payload:
        case {"to": str() as target, "tries": int() as tries, "size": int() as size}:
            pass
        case _:
            raise InvalidRequest("speed takes {to: FQCN, tries: number, size: bytes}")
    if not (0 < tries <= MAX_TRIES and 0 <= size <= MAX_SIZE):
        raise InvalidRequest(f"tries must be 1 to {MAX_TRIES}, size at most {MAX_SIZE} bytes")
    return measure(cell, target, tries, size)


def _transfers(message: Message, cell: Cell) -> list[dict[str, Any]]:
    _check_power(message, cell)
    return [each.to_dict() for each in cell.transfers()]


def _stop(message: Message, cell: Cell) -> str:
    _check_power(message, cell)
    cell.ask_exit(0, f"stopped by {message.origin}")
    return ""


def _child_exited(message: Message, cell: Cell) -> str:
    _check_power(message, cell)
    match message.payload:
        case {"fqcn": str() as child, "instance": int() as instance, "restarts": bool() as restarts}:
            cell.child_exited(child, instance, restarts)
            return ""
    raise InvalidRequest("child_exited takes {fqcn, instance, restarts}")


def _check_power(message: Message, cell: Cell) -> None:
    origin = message.origin
    above = tree_is_below(cell.fqcn, origin, cell.root) or origin == cell.fqcn
    own = FQCN.is_parent(cell.fqcn, origin) and FQCN.split(origin)[-1].startswith(COMMAND_LINE)
    if not above and not own and not FQCN.is_ancestor(cell.root, origin):
        raise AuthenticationError(
            f"{origin} may not {message.topic} {cell.fqcn}: only itself, a cell above it, or the root's own"
        )


_ANSWERS: dict[str, Callable[..., Any]] = {
    "info": _info,
    "cells": _cells,
    "peers": _peers,
    "echo": _echo,
    "hop": _hop,
    "transfers": _transfers,
    "speed": _speed,
    "stop": _stop,
    "child_exited": _child_exited,
}


def measure(cell: Cell, target: str, tries: int, size: int) -> dict[str, Any]:
    """Round trips of `tries` echoes of `size` bytes, one after another: {min, p50, p99, max} in seconds, `failed`."""
    body, times, failed = bytes(size), [], ""
    for _ in range(tries):
        begin = time.perf_counter()
        reply = cell.request(target, CHANNEL, "echo", body, SUB_TIMEOUT).reply()
        if not reply.ok:
            failed = f"{reply.return_code}: {reply.error}"
            break
        times.append(time.perf_counter() - begin)
    times.sort()
    if not times:
        return {"tries": 0, "failed": failed}
    marks = {"min": times[0], "p50": times[len(times) // 2], "p99": times[int(len(times) * 0.99)], "max": times[-1]}
    return {"tries": len(times), "size": size, "failed": failed, **marks}


class NetAgent:
    """Asks the questions of the module from one cell. Never raises for what happens elsewhere: it gives error texts."""

    def __init__(self, cell: Cell, timeout: float = SUB_TIMEOUT) -> None:
        self.cell = cell
        self.timeout = timeout

    def request_cells_info(self) -> tuple[str, list[list[str]]]:
        """(error, [[fqcn, parent, state], ...]) of the whole tree, as the root knows it."""
        return self._ask(self.cell.root, "cells", float(self.timeout), [])

    def get_peers(self, fqcn: str) -> tuple[str, list[dict[str, Any]]]:
        """(error, neighbours) of a cell."""
        return self._ask(fqcn, "peers", None, [])

    def get_info(self, fqcn: str) -> tuple[str, dict[str, Any]]:
        """(error, statistics) of a cell."""
        return self._ask(fqcn, "info", None, {})

    def get_route_info(self, fqcn: str) -> tuple[str, list[str]]:
        """(error, cells from here to `fqcn`): those that names and links would lead a message through."""
        path = [self.cell.fqcn]
        while path[-1] != fqcn:
            error, hop = self._ask(path[-1], "hop", fqcn, "")
            if error or not hop:
                return error or f"{path[-1]} has no route to {fqcn}", path
            if hop in path:
                return f"the route goes in circles at {hop}", path
            path.append(hop)
        return self._ask(fqcn, "echo", None, None)[0], path

    def speed_test(self, from_fqcn: str, to_fqcn: str, tries: int = 100, size: int = 1000) -> dict[str, Any]:
        """Round trips from one cell to another, or {error}."""
        question = {"to": to_fqcn, "tries": tries, "size": size}
        error, times = self._ask(from_fqcn, "speed", question, {}, self.timeout + tries)
        return {"error": error} if error else times

    def start_stress_test(
        self, targets: Iterable[str], num_rounds: int = 10, timeout: float = SUB_TIMEOUT
    ) -> dict[str, str]:
        """Ask each target `num_rounds` times, all at once; per target "" or the first error."""
        errors = dict.fromkeys(targets, "")
        handles = [self.cell.broadcast(errors, CHANNEL, "echo", number, timeout) for number in range(num_rounds)]
        for number, handle in enumerate(handles):
            for target, reply in handle.result().items():
                if not errors[target] and not (reply.ok and reply.payload == number):
                    errors[target] = f"{reply.return_code}: {reply.error}"
        return errors

    def get_transfers(self, fqcn: str) -> tuple[str, list[dict[str, Any]]]:
        """(error, transfers) of a cell."""
        return self._ask(fqcn, "transfers", None, [])

    def get_msg_stats(self, fqcn: str) -> tuple[str, dict[str, int]]:
        """(error, counters) of a cell."""
        error, info = self.get_info(fqcn)
        return error, info.get("counters", {})

    def stop_cell(self, fqcn: str) -> str:
        """Stop a cell; "" or an error text."""
        return self._ask(fqcn, "stop", None, "")[0]

    def _ask(self, fqcn: str, topic: str, payload: Any, empty: Any, timeout: float = 0.0) -> tuple[str, Any]:
        timeout = timeout or self.timeout
        reply = self.cell.request(fqcn, CHANNEL, topic, payload, timeout, deadline=timeout).reply()
        return ("", reply.payload) if reply.ok else (f"{fqcn}: {reply.return_code}: {reply.error}", empty)
