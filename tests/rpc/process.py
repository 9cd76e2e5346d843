"""A cell with an Rpc in a process of its own, which others kill.

    python -m tests.rpc.process '{"fqcn": "site-1", "parent": "tcp://...", "config": {...}, "call": ["site-2", "hold"]}'

It publishes `Held` and `die`, writes {"url"} when it is bound, makes the call if it is to, and ends with its standard
input.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import Any

from tests.rpc.published import Held
from tests.system.federation import LONG, QUICK, ROOT, Process
from zmqfl import Cell, CellConfig
from zmqfl.rpc.rpc import Rpc


class Mortal(Held):
    def rpc_die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()


class RpcProcess(Process):
    """See the module."""

    def __init__(self, fqcn: str, config: CellConfig = QUICK, **settings: Any) -> None:
        arguments = json.dumps({"fqcn": fqcn, "config": asdict(config), **settings})
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.rpc.process", arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.url = self.line()["url"]


def main(settings: dict[str, Any]) -> None:
    cell = Cell(
        settings["fqcn"],
        listen=settings.get("listen"),
        parent=settings.get("parent"),
        config=CellConfig(**settings["config"]),
    )
    cell.start()
    assert cell.wait_connected(LONG)
    rpc = Rpc(cell)
    rpc.publish(Mortal())
    handle = None
    if "call" in settings:
        target, method = settings["call"]
        handle = getattr(rpc.proxy(target).result(LONG), method).submit(tto=LONG)
    sys.stdout.write(json.dumps({"url": cell.urls[0] if cell.urls else ""}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    cell.close(drain=0)
    del handle


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
