"""The ends of a fan-out benchmark, the same for every peer. Standard library only.

A broker prints where it listens, as JSON, and lives until its standard input ends. A reader prints `"ready"`, then
reads one round per line, `[items, bytes of each]`; it prints `"begun"` when it reads, and `"done"` when it has got them
all. A writer prints `"ready"`, reads the same line, and prints `"done"` when it has put them all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator


def rounds() -> Iterator[tuple[int, int]]:
    """The rounds that come in: (items, bytes of each)."""
    say("ready")
    for line in sys.stdin:
        count, size = json.loads(line)
        yield count, size


def say(what: object) -> None:
    """A line for who has started this."""
    print(json.dumps(what), flush=True)


def read(take: Callable[[], bytes]) -> None:
    """Play the rounds of a reader: `take` gives the next item."""
    for count, size in rounds():
        say("begun")
        for _ in range(count):
            if len(take()) != size:
                raise ValueError("this is not the item")
        say("done")


def write(put: Callable[[bytes], object], flush: Callable[[], object]) -> None:
    """Play the rounds of a writer."""
    for count, size in rounds():
        item = bytes(size)
        for _ in range(count):
            put(item)
        flush()
        say("done")
