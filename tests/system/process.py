"""A cell in a process of its own, for tests that kill, stop and restart it.

    python -m tests.system.process '{"fqcn": "site-1", "parent": "tcp://127.0.0.1:8102", "counts": "/tmp/x", ...}'

It writes a line of JSON when it listens and, if it has a parent, is bound: {"pid", "url"}. It serves, on channel
`test`:

    echo      the payload
    sum       the sum of an array
    count     appends the payload and the id of the process to the file `counts`, then the payload; it kills itself
              at the payload `die_before` before that, and at `die_after` after that, before the reply
    held      nothing, until the process ends

With `die_forwarding` = n it kills itself when it would pass on the n-th request. It ends when its standard input does:
so it never outlives its test. Status 75: another start holds the name; it is written as a line {"exit": 75} before.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
from typing import Any

from zmqfl import Cell, CellConfig, Message
from zmqfl.protocol.commands import Command
from zmqfl.protocol.plane.updates import CHANNEL as PLANE
from zmqfl.wire.codec import decode_header
from zmqfl.wire.messages import Conn, Packet, Request


def say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()  # not a step further


def main(settings: dict[str, Any]) -> int:
    if "nofile" in settings:
        resource.setrlimit(resource.RLIMIT_NOFILE, (settings["nofile"], settings["nofile"]))
    ended = threading.Event()
    status = [0]

    def end(code: int, reason: str) -> None:
        status[0] = code
        say(exit=code)
        ended.set()

    cell = Cell(
        settings["fqcn"],
        listen=settings.get("listen"),
        parent=settings.get("parent"),
        config=CellConfig(**settings["config"]),
        on_exit=end,
    )

    def count(message: Message) -> Any:
        if message.payload == settings.get("die_before"):
            die()
        with open(settings["counts"], "a") as file:
            file.write(f"{message.payload} {os.getpid()}\n")
        if message.payload == settings.get("die_after"):
            die()
        return message.payload

    cell.register_request_cb("test", "echo", lambda message: message.payload)
    cell.register_request_cb("test", "sum", lambda message: float(message.payload.sum()))
    cell.register_request_cb("test", "count", count)
    cell.register_request_cb("test", "held", lambda message: None)
    if "die_forwarding" in settings:
        die_at(cell, settings["die_forwarding"])

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    cell.start()
    threading.Thread(target=wait_for_the_end, daemon=True).start()
    cell.connected().add_done_callback(lambda _: say(pid=os.getpid(), url=cell.urls[0] if cell.urls else ""))
    ended.wait()
    cell.close(drain=0)
    return status[0]


def is_of_plane(packet: Packet) -> bool:
    message = decode_header(packet.kind, packet.header)
    return isinstance(message, Request) and message.channel == PLANE


def die_at(cell: Cell, number: int) -> None:
    """Die when the `number`-th request for another cell comes in."""
    receive = cell._node.receive
    seen = [0]

    def counting(conn: Conn, packet: Packet, now: float, user: str | None = None) -> list[Command]:
        if packet.kind == Request.KIND and packet.targets != (cell.fqcn,) and not is_of_plane(packet):
            seen[0] += 1
            if seen[0] == number:
                die()
        return receive(conn, packet, now, user)

    cell._node.receive = counting  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
