"""Which federation a verb is about, and how it comes into its network: as a cell below a local one."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zmqfl.cli.exits import NotRunning
from zmqfl.config import CellConfig
from zmqfl.errors import UserError
from zmqfl.launch import run_state
from zmqfl.launch.run_state import RunState

if TYPE_CHECKING:
    from zmqfl.cell.cell import Cell

ATTACH: Final = 5.0
"""Seconds for a cell of the command line to be connected."""
HIDDEN: Final = ("admin-", "supervisor-")
"""How the last parts of the names of cells begin that stand for a person, not for a site."""


def choose(name: str | None) -> RunState:
    """The federation that `-t` names (or the topology file of which it gives), or the only one that there is."""
    states = run_state.running()
    if name is not None:
        wanted = name_of(name)
        for state in states:
            if state.name == wanted:
                return state
        raise NotRunning(f"federation {wanted!r} does not run here; {_remedy(wanted, states)}")
    if len(states) == 1:
        return states[0]
    if not states:
        raise NotRunning("no federation runs here; start one by `zmqfl up FILE`")
    raise UserError(f"several run: {_names(states)}", field="-t", remedy=f"say which, as in `-t {states[0].name}`")


def name_of(name: str) -> str:
    """The name of a federation; of a topology file, the one inside."""
    if not name.endswith((".yaml", ".yml")):
        return name
    from zmqfl.topology import load

    return load(name).name


def check_site(state: RunState, site: str) -> str:
    """`site`, if there is one of that name. Raises `UserError` with the nearest."""
    names = [each.fqcn for each in state.sites]
    if site not in names:
        from zmqfl.topology.checks import near

        raise UserError(f"federation {state.name!r} has no site {site!r} here", remedy=near(site, names))
    return site


@contextmanager
def attached(state: RunState, timeout: float = ATTACH) -> Iterator[Cell]:
    """A cell in the network of a federation, for as long as the block runs. Raises `NotRunning`."""
    from zmqfl.cell.cell import Cell

    above, url = state.door
    config = CellConfig(reconnect_min=0.02, reconnect_max=0.5, calls_min=1)
    cell = Cell(f"{above}.admin-{os.getpid()}", parent=url, config=replace(config, drain=1.0))
    try:
        cell.start()
        if not cell.wait_connected(timeout):
            reason = cell.refusal or "it does not answer"
            raise NotRunning(f"cannot reach {above!r} of {state.name!r}: {reason}; look at `zmqfl ps` and `zmqfl logs`")
        yield cell
    finally:
        cell.close(0)


def order(state: RunState, **what: Any) -> str:
    """Have the supervisor do something; returns its error text when it is done. Raises `NotRunning`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(run_state.orders_socket(Path(state.run_dir))))
            connection.sendall(json.dumps(what).encode() + b"\n")
            with connection.makefile() as replies:
                line = replies.readline()
        except OSError as error:
            text = f"the supervisor of {state.name!r} does not answer ({error.strerror}); clean up by `zmqfl down`"
            raise NotRunning(text) from None
    return str(json.loads(line)["error"]) if line else ""


def is_hidden(fqcn: str) -> bool:
    """Whether a cell stands for a person at a command line."""
    return fqcn.rpartition(".")[2].startswith(HIDDEN)


def _remedy(wanted: str, states: list[RunState]) -> str:
    return f"there runs: {_names(states)}" if states else f"start it by `zmqfl up` with its file ({wanted!r})"


def _names(states: list[RunState]) -> str:
    return ", ".join(state.name for state in states)
