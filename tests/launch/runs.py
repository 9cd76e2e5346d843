"""What sites of tests run."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Any

from zmqfl import Cell, CellAgent


def double(cell: Cell) -> None:
    cell.register_request_cb("math", "double", lambda message: message.payload * 2)


def hold(cell: Cell) -> None:
    """Handlers that never end: whoever asks waits."""
    cell.register_request_cb("test", "hold", lambda message: threading.Event().wait())


async def double_in_loop(cell: Cell, *args: str) -> None:
    async def serve(message: Any) -> Any:
        await asyncio.sleep(0)
        return [message.payload * 2, *args]

    cell.register_request_cb("math", "double", serve)


def tell(cell: Cell, *args: str) -> None:
    answer = {"args": list(args), "A": os.environ.get("A"), "SECRET": os.environ.get("SECRET")}
    cell.register_request_cb("test", "tell", lambda message: answer)


def tell_folder(cell: Cell) -> None:
    cell.register_request_cb("test", "folder", lambda message: os.environ["ZMQFL_WORK"])


def take_slowly(cell: Cell) -> None:
    """The second chunk of what is pushed is taken when a request says so."""
    go = threading.Event()

    def let_go(message: Any) -> str:
        go.set()
        return "gone"

    cell.register_request_cb("test", "go", let_go)
    inbox = Path(os.environ["ZMQFL_WORK"], "inbox")
    inbox.mkdir(parents=True)
    cell.consume(to=inbox, chunk_taken=lambda index, size: index < 1 or go.wait(60))


def train(cell: Cell, rounds: str) -> int:
    """A root's work: ask a site, and be done."""
    connected = threading.Event()

    def look(agent: CellAgent) -> None:
        if agent.fqcn == "site-1":
            connected.set()

    cell.set_cell_connected_cb(look)
    if not cell.is_cell_connected("site-1"):
        connected.wait(20)
    reply = cell.request("site-1", "math", "double", int(rounds), timeout=20, deadline=20).result()
    sys.stdout.write(f"result {reply.payload}\n")
    return 0 if reply.payload == 2 * int(rounds) else 9


def fail(cell: Cell) -> None:
    raise RuntimeError("this run has failed")


def end_with_5(cell: Cell) -> int:
    return 5


def return_text(cell: Cell) -> str:
    return "done"


def leave_a_child(cell: Cell) -> None:
    """A process that does not care for its parent."""
    import subprocess

    subprocess.Popen(["sleep", "1000"])


def block(cell: Cell) -> None:
    """The main thread is in user code when the stop comes."""
    try:
        threading.Event().wait()
    finally:
        sys.stdout.write("cleaned up\n")


async def block_in_loop(cell: Cell) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        sys.stdout.write("cleaned up\n")


not_callable = 5


if __name__ == "__main__":
    from zmqfl.launch.site import cell_from_environment

    with cell_from_environment() as own:
        own.register_request_cb("test", "argv", lambda message: sys.argv[1:])
        threading.Event().wait()
