"""What sealing from end to end costs: requests, pushes and pulls with `secure=True` beside the same without."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.party import Party, Peer, sink_names
from tests.bench.results import Result, compare
from tests.bench.transfers import in_memory, make_file
from zmqfl.launch.provision import not_after, provision
from zmqfl.transport.authority import Authority

MIB = 1 << 20
FULL, QUICK = 96, 16
"""MiB of the file."""
SIZES = {"100 B": 100, "1 MiB": MIB}
CLEAR = "clear"
HOW = (CLEAR, "secure")


def run(quick: bool) -> Result:
    """Alternating rounds of two pairs of cells."""
    count, seconds, size = (2, 0.3, QUICK) if quick else (5, 0.6, FULL)
    rates: dict[str, dict[str, list[float]]] = {}
    with TemporaryDirectory(dir=in_memory(4 * size)) as folder, ExitStack() as stack:
        file = make_file(Path(folder, "file"), size)
        keys = _keys(Path(folder, "keys"))
        arguments = ("tcp://127.0.0.1:0", str(keys))
        parties = {
            how: stack.enter_context(Party(Peer(how, "zmqfl_sealed", (*arguments, how)), 1, Path(folder, how)))
            for how in HOW
        }
        for number in range(-1, count):
            for how in HOW if number % 2 else reversed(HOW):
                for title, rate in _measure(parties[how], file, seconds).items():
                    if number >= 0:
                        rates.setdefault(title, {each: [] for each in HOW})[how].append(rate)
    how = (
        f"Two cells over CURVE with cards, {count} rounds, the two ways in turn within each, and one before. Requests "
        f"one after the other for {seconds:g} s; a file of {size} MiB in memory, chunks of 1 MiB, not compressed, "
        "until it is there under its name."
    )
    units = {title: "MB/s" if title.startswith("pu") else "requests/s" for title in rates}
    tables = [compare(f"{title[0].upper()}{title[1:]}", units[title], found, CLEAR) for title, found in rates.items()]
    return Result("sealed", "secure=True", how, tables)


def _measure(party: Party, file: Path, seconds: float) -> dict[str, float]:
    """Rates by what was done, of one round."""
    (sink,) = party.sinks
    with party.bounded():
        found: dict[str, float] = {
            f"requests of {title}": sink.ask(["rate", size, seconds]) for title, size in SIZES.items()
        }
    for window, title in ((1, "push, lockstep"), (8, "push, window 8")):
        found[title] = file.stat().st_size / party.push(file, window) / 1e6
        party.take(file, compare=True)
    found["pull"] = file.stat().st_size / party.pull(file) / 1e6
    party.take(file, compare=True)
    return found


def _keys(folder: Path) -> Path:
    """Keys and cards of a server and one site."""
    sites = {"server": sink_names(1), **{name: ["server"] for name in sink_names(1)}}
    authority = Authority(folder / "authority", os.urandom(32))
    provision(sites, lambda fqcn: folder / fqcn, authority, not_after(time.time(), 1), os.urandom)
    return folder
