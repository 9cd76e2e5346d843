"""What the sites of the demo do: pull a file when they are asked to, and tell the digest of what they have.

What is pushed to them arrives in the inbox that every launched site has; nothing is needed here for that.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

from zmqfl import Cell, Message

CHANNEL = "demo"


def serve(cell: Cell) -> None:
    cell.register_request_cb(CHANNEL, "pull", pull, cell)
    cell.register_request_cb(CHANNEL, "digest", digest)


def work_folder() -> Path:
    return Path(os.environ["ZMQFL_WORK"])


def pull(message: Message, cell: Cell) -> dict[str, Any]:
    """Pull into `pulled`; a part that an earlier process of this site has left is used."""
    folder = work_folder() / "pulled"
    folder.mkdir(parents=True, exist_ok=True)
    handle = cell.pull(message.payload["rid"], message.payload["owner"], folder, on_exists="replace", resume=True)
    path = handle.result()
    return {"path": f"pulled/{path.name}", "fetched": handle.fetched, "seconds": handle.progress.seconds}


def digest(message: Message) -> str:
    with (work_folder() / message.payload).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
