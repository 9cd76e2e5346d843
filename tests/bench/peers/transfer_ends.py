"""The two ends of a transfer benchmark, the same for every peer. Standard library only.

    source ARGUMENT...            prints its address, `[url, ...]`, then answers
        ["push", file, sinks, window]   when every sink holds the file under its name: null
        ["offer", file, sinks]          what the sinks need to pull it
    sink NAME ADDRESS FOLDER      prints "ready" when it is connected, then answers
        ["pull", offer]                 when the file is in its folder, under whatever name: null

`sinks` are names, the window is in chunks of 1 MiB. A peer answers what it can do, and lives until its standard input
ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

CHUNK = 1 << 20
PATIENCE = 600.0
"""Seconds that one transfer may take."""

Verbs = dict[str, Callable[..., Any]]


def play(address: object, verbs: Verbs) -> None:
    """Say that this end is ready, and do what is asked."""
    _say(address)
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        _say(verbs[verb](*arguments))


def run(source: Callable[..., None], sink: Callable[[str, Any, str], None]) -> None:
    """Be the end that the command line names."""
    role, *arguments = sys.argv[1:]
    if role == "source":
        source(*arguments)
    else:
        name, address, folder = arguments
        sink(name, json.loads(address), folder)


def _say(value: object) -> None:
    print(json.dumps(value), flush=True)
