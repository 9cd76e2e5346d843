"""The program of a host: a cell in a process of its own, told what to do by lines of JSON.

    python -m tests.net.site '{"fqcn": "site-1", "parent": "tcp://10.77.0.11:8102", "config": {...}}' --setup mod:fun

Settings: `fqcn`, `listen`, `parent`, `keys` (a folder), `config` (fields of CellConfig); without keys the network is
trusted. When the cell is started it writes {"event": "started", "url", "pid"}. Then each line on standard input is a
command, {"id": 1, "do": NAME, ...} with its arguments beside. Commands run at once, each in a thread of its own, and
are answered in the order in which they end: {"id": 1, "value": ...} or {"id": 1, "error": text, "kind": its class}.
It ends with its standard input, so it never outlives its test.

    echo        value                   the same: the process is alive
    connected   timeout                 whether the parent has bound the cell within so many seconds
    links                               neighbour -> its state
    counters                            the counters of the cell's statistics
    executed                            how often the handlers `count` and `swallow` ran, per number
    request     target, number, size, topic, timeout, deadline
                                        asks for an echo; see `Outcome`
    requests    target, numbers, ...    that many at once; a list of the same

The cell serves, on channel `test`: `count` (payload {"number", "body"}: gives it back), `swallow` (gives only the
number back, so that a big request is no big reply) and `held` (never replies).

`--setup module:function`, as often as needed, calls `function(cell, commands)` with the started cell before that line
is written; it may register handlers, and put commands into `commands`: name -> a function, which is called with the
arguments of the line by name, may wait, and returns what JSON can say.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypedDict

from zmqfl import Cell, CellConfig, Message, RequestHandle

Commands = dict[str, Callable[..., Any]]
"""Name -> what a line with that name does."""

MOST_COMMANDS = 64
"""Commands that run at once."""

_writing = threading.Lock()


class Outcome(TypedDict):
    """How a request ended."""

    number: int
    code: str
    error: str
    ends: int
    """How often its handle ended: 1."""
    intact: bool
    """Whether what came back is what was sent."""


class Work:
    """The handlers of a cell, and its commands."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.ran: Counter[int] = Counter()
        self._lock = threading.Lock()
        cell.register_request_cb("test", "count", self._count)
        cell.register_request_cb("test", "swallow", lambda message: self._count(message)["number"])
        cell.register_request_cb("test", "held", lambda message: None)

    @property
    def commands(self) -> Commands:
        """Those that every site knows."""
        return {
            "echo": lambda value=None: value,
            "connected": lambda timeout: self.cell.wait_connected(timeout),
            "links": lambda: {link.fqcn: link.state for link in self.cell.statistics().links},
            "counters": lambda: dict(self.cell.statistics().counters),
            "executed": lambda: {str(number): times for number, times in self.ran.items()},
            "request": lambda target, number, **how: self._requests(target, [number], **how)[0],
            "requests": self._requests,
        }

    def _count(self, message: Message) -> Any:
        with self._lock:
            self.ran[message.payload["number"]] += 1
        return message.payload

    def _requests(
        self,
        target: str,
        numbers: list[int],
        size: int = 0,
        topic: str = "count",
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> list[Outcome]:
        ends: Counter[int] = Counter()
        handles = []
        for number in numbers:
            payload = {"number": number, "body": os.urandom(size)}
            handle = self.cell.request(target, "test", topic, payload, timeout, deadline=deadline)
            handle.add_done_callback(partial(_count_end, ends, number))
            handles.append((payload, handle))
        outcomes = [_outcome(payload, handle) for payload, handle in handles]
        for outcome in outcomes:
            outcome["ends"] = ends[outcome["number"]]
        return outcomes


def _count_end(ends: Counter[int], number: int, _: object) -> None:
    ends[number] += 1


def _outcome(payload: dict[str, Any], handle: RequestHandle) -> Outcome:
    reply = handle.reply()
    intact = reply.payload in (payload, payload["number"])
    return Outcome(number=payload["number"], code=str(reply.return_code), error=reply.error, ends=0, intact=intact)


def say(**line: Any) -> None:
    with _writing:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def obey(commands: Commands, line: dict[str, Any]) -> None:
    """Run one command, and answer it."""
    id, name = line.pop("id"), line.pop("do")
    try:
        say(id=id, value=commands[name](**line))
    except Exception as error:  # noqa: BLE001  whatever it is, the test must hear of it
        say(id=id, error=f"{name}: {error}", kind=type(error).__name__)


def cell_of(settings: dict[str, Any]) -> Cell:
    keys = settings.get("keys")
    return Cell(
        settings["fqcn"],
        listen=settings.get("listen"),
        parent=settings.get("parent"),
        keys=keys,
        config=CellConfig(**settings.get("config", {})),
        trusted_network=keys is None,
        on_exit=lambda status, reason: say(event="exit", status=status, reason=reason),
    )


def hook(name: str) -> Callable[[Cell, Commands], object]:
    """What `--setup` names."""
    module, _, function = name.partition(":")
    found: Callable[[Cell, Commands], object] = getattr(importlib.import_module(module), function)
    return found


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("--setup", type=hook, action="append", default=[])
    options = parser.parse_args(arguments)
    cell = cell_of(options.settings)
    commands = Work(cell).commands
    cell.start()
    for setup in options.setup:
        setup(cell, commands)
    say(event="started", url=cell.urls[0] if cell.urls else "", pid=os.getpid())
    pool = ThreadPoolExecutor(MOST_COMMANDS)
    for line in sys.stdin:
        pool.submit(obey, commands, json.loads(line))
    cell.close(drain=0)  # ends what the commands still wait for
    pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main(sys.argv[1:])
