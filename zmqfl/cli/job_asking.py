"""What the verbs about jobs have in common: how they ask the server of a federation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from zmqfl.cell.cell import Cell
from zmqfl.cell.message import Message
from zmqfl.cell.net_agent import CHANNEL
from zmqfl.cell.user_proof import proof_of_user
from zmqfl.cli.exits import NotRunning
from zmqfl.cli.moving import line_of
from zmqfl.cli.network import UNREACHABLE
from zmqfl.errors import CellReturnCode, ZmqflError
from zmqfl.launch.run_state import RunState

ASK: Final = 180.0
"""Seconds for the server to spread a job over its sites."""
OVER: Final = 7 * 86400.0
"""Seconds that a job may take while somebody waits for its end."""


def ask_server(cell: Cell, topic: str, payload: Any, *, until_over: bool = False) -> Any:
    """The reply of the federation's root to a question about jobs. Raises the error that fits."""
    timeout = OVER if until_over else ASK
    reply: Message = cell.request(cell.root, CHANNEL, topic, payload, timeout, deadline=timeout).reply()
    if reply.ok:
        return reply.payload
    if "no callback" in reply.error:
        raise ZmqflError(
            f"{cell.root} takes no jobs; set `jobs: true` under `defaults` of the topology, and start again"
        )
    text = line_of(reply.error) or str(reply.return_code)
    if CellReturnCode(reply.return_code) in UNREACHABLE:
        raise NotRunning(f"{cell.root}: {text}; look at `zmqfl cells`")
    raise ZmqflError(f"{cell.root}: {text}")


@contextmanager
def with_proof(state: RunState) -> Iterator[str]:
    """A proof that the user of the server asks, valid within the block."""
    try:
        with proof_of_user(Path(state.run_dir)) as proof:
            yield proof
    except OSError as error:
        raise ZmqflError(f"cannot write in the run folder {state.run_dir}: {error.strerror}") from None


def describe_end(job: dict[str, Any]) -> str:
    """How a job ended, in a line."""
    reason = f": {line_of(job['reason'])}" if job["reason"] else ""
    lasted = f" after {job['ended'] - job['started']:.1f} s" if job["started"] and job["ended"] else ""
    return f"{job['state']}{lasted}{reason}"
