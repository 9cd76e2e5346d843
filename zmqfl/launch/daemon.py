"""The supervisor in the background: a fork of the command line, in a session of its own.

A fork, and not a new interpreter: all is imported already, and `up -d` is a third quicker. It must happen before any
thread or cell exists.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from zmqfl.errors import UserError
from zmqfl.launch.ending import USER_MISTAKE, StartFailed
from zmqfl.launch.lookout import Links
from zmqfl.launch.plan import Plan
from zmqfl.launch.run_state import make_private, supervisor_log
from zmqfl.launch.supervisor import Supervisor


def start_in_background(plan: Plan, topology: str, wait: float) -> Links:
    """Supervise the plan in another process; returns what was seen of the network when the federation is up.

    Raises `StartFailed`, `UserError`.
    """
    run_dir = Path(plan.run_dir)
    make_private(run_dir)
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if not (pid := os.fork()):
        os.close(reader)
        _be_daemon(writer, Supervisor(plan, topology), wait)
    os.close(writer)
    try:
        with open(reader) as pipe:
            line = pipe.readline()
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    news: dict[str, Any] = json.loads(line) if line else {"status": 1, "lines": [_crash(run_dir)]}
    if "lines" in news:
        os.waitpid(pid, 0)
        raise StartFailed(news["lines"], news["status"])
    return {fqcn: (state, parent) for fqcn, (state, parent) in news["up"].items()}


def _be_daemon(writer: int, supervisor: Supervisor, wait: float) -> NoReturn:
    """The other process; it never returns into the command line."""
    status = 1
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        status = asyncio.run(_supervise(writer, supervisor, wait))
    except BaseException:  # noqa: BLE001  there is nobody to raise it to
        with supervisor_log(supervisor.run_dir).open("a") as log:
            traceback.print_exc(file=log)
    finally:
        os._exit(status)


async def _supervise(writer: int, supervisor: Supervisor, wait: float) -> int:
    with open(writer, "w") as pipe:  # noqa: ASYNC230  a pipe that is read, one line

        def tell(**news: object) -> None:
            """The first news is what the command line waits for; then it goes on by itself."""
            if not pipe.closed:
                pipe.write(json.dumps(news) + "\n")
                pipe.close()

        try:
            status = await supervisor.run(wait, lambda: tell(up=supervisor.links))
            lines = [f"federation {supervisor.plan.name!r} ended before all of its cells were seen connected"]
        except StartFailed as error:
            status, lines = error.status, list(error.lines)
        except UserError as error:
            status, lines = USER_MISTAKE, [error.line()]
        tell(status=status, lines=lines)
        return status


def _crash(run_dir: Path) -> str:
    return f"the supervisor has crashed; its last words are in {supervisor_log(run_dir)}"
