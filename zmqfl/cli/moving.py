"""What the verbs that move files have in common: options, errors in one line, how an interrupted transfer ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from typer import Option

from zmqfl.cell.cell import Cell
from zmqfl.cell.message import Message
from zmqfl.cell.net_agent import CHANNEL
from zmqfl.cell.pulling import PullHandle
from zmqfl.cell.pushing import PushHandle
from zmqfl.cell.user_proof import proof_of_user
from zmqfl.cli import progress
from zmqfl.cli.exits import NotRunning
from zmqfl.cli.network import ASK, UNREACHABLE
from zmqfl.errors import CellReturnCode, ZmqflError
from zmqfl.launch.run_state import RunState

ABORTED: Final = 5.0
"""Seconds at most that an interrupted verb waits for the other side to have cleaned up."""

To = Annotated[list[str] | None, Option("--to", help="A receiver, as often as there are; or A,B.", metavar="SITE")]
Timeout = Annotated[float, Option(help="Seconds without progress after which it fails.", min=0.001)]


def asked(cell: Cell, site: str, topic: str, payload: Any) -> Any:
    """The reply of a site to a question about files. Raises the error that fits."""
    reply: Message = cell.request(site, CHANNEL, topic, payload, ASK, deadline=ASK).reply()
    if reply.ok:
        return reply.payload
    if "no callback" in reply.error:
        raise ZmqflError(f"{site}: it is no launched site, and serves nobody; ask one that `zmqfl up` has started")
    raise problem_of(site, "", CellReturnCode(reply.return_code), reply.error, "look at `zmqfl cells`")


def proven(cell: Cell, state: RunState, site: str, topic: str, question: Mapping[str, Any]) -> Any:
    """The reply of a local site to what only its user may ask. Raises the error that fits."""
    try:
        with proof_of_user(Path(state.run_dir)) as proof:
            return asked(cell, site, topic, {**question, "proof": proof})
    except OSError as error:
        raise ZmqflError(f"cannot write in the run folder {state.run_dir}: {error.strerror}") from None


def problem_of(site: str, file: str, code: CellReturnCode, reason: str, remedy: str) -> ZmqflError:
    """What went wrong at a site, as one line: where, which file, what, and what to do."""
    where = ": ".join(filter(None, [site, file]))
    text = line_of(reason).removeprefix(f"{site}: ") or str(code)
    line = f"{where}: {text}" if ";" in text else f"{where}: {text}; {remedy}"
    return NotRunning(line) if code in UNREACHABLE else ZmqflError(line)


def line_of(text: str) -> str:
    """A text of another cell as one line that does nothing to a terminal."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def pace(result: Mapping[str, Any]) -> tuple[str, str]:
    """The time and the rate of `size` bytes in `seconds`, as text."""
    seconds = result["seconds"]
    return f"{seconds:.2f} s", f"{progress.size(result['size'] / seconds)}/s" if seconds else ""


def aborted(handle: PushHandle | PullHandle, end: Callable[[float], Any]) -> Any:
    """Have a transfer end on both sides; what `end` gives then, or None when that takes too long."""
    handle.abort()
    try:
        return end(ABORTED)
    except TimeoutError:
        return None


def interrupted(what: str) -> None:
    """Say what became of an interrupted transfer."""
    sys.stderr.write(f"zmqfl: interrupted: {what}\n")
