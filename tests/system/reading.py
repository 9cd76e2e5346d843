"""A reader of a channel in a process of its own, for tests that stop and kill it.

    python -m tests.system.reading '{"fqcn": "site-1", "parent": URL, "config": {}, "subscribe": {"name": "c", ...}}'

With `"create"` it makes that channel first. It writes `"ready"` when it reads. With `"paced": true` it takes an item
for each line of its standard input that says `take`; else all that comes. A line `report` is answered by what it has
got: {"got", "ordered", "first", "last", "decimated", "dropped", "missing", "end"}. It ends when its input does.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from zmqfl import Cell, CellConfig, ChannelReader
from zmqfl.errors import ChannelEndedError, ClosedError


def say(what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Taker:
    """Takes items, and remembers their numbers."""

    def __init__(self, reader: ChannelReader) -> None:
        self.reader = reader
        self.numbers: list[int] = []

    def take(self) -> bool:
        try:
            self.numbers.append(self.reader.get().result().number)
        except (ChannelEndedError, ClosedError):
            return False
        return True

    def take_all(self) -> None:
        while self.take():
            pass

    def report(self) -> dict[str, Any]:
        counts, numbers = self.reader.statistics(), list(self.numbers)
        return {
            "got": len(numbers), "ordered": numbers == sorted(set(numbers)), "first": numbers[0] if numbers else 0,
            "last": numbers[-1] if numbers else 0, "decimated": counts.decimated, "dropped": counts.dropped,
            "missing": counts.missing, "end": self.reader.end,
        }  # fmt: skip


def main(settings: dict[str, Any]) -> None:
    cell = Cell(settings["fqcn"], parent=settings["parent"], config=CellConfig(**settings["config"]))
    with cell:
        cell.wait_connected(30)
        if "create" in settings:
            cell.create_channel(settings["create"]).result(30)
        taker = Taker(cell.subscribe(**settings["subscribe"]).result(30))
        if not settings.get("paced"):
            threading.Thread(target=taker.take_all, daemon=True).start()
        say("ready")
        for line in sys.stdin:
            if line.strip() == "report":
                say(taker.report())
            else:
                taker.take()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
