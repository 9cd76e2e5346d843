"""What a cell costs that is connected and has nothing to do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter

from tests.bench.processes import Process
from tests.bench.results import Bar, Figure, Result, Table


def run(quick: bool) -> Result:
    """A root and a child in a process each, at rest."""
    seconds = 5 if quick else 20
    with (
        closing(Process("tests.bench.peers.zmqfl_cells", "server", "tcp://127.0.0.1:0")) as root,
        closing(Process("tests.bench.peers.zmqfl_cells", "client", json.dumps(root.ready))) as child,
    ):
        cells = {"root": root, "child": child}
        _stay(child, 1.0)  # what the start has left behind
        start = perf_counter()
        before = {name: _cpu(cell) for name, cell in cells.items()}
        _stay(child, seconds)
        took = perf_counter() - start
        cpu = {name: 100 * (_cpu(cell) - before[name]) / took for name, cell in cells.items()}
        resident = {name: _memory(cell, "VmRSS") for name, cell in cells.items()}
        anonymous = {name: _memory(cell, "RssAnon") for name, cell in cells.items()}
    figures = [
        figure
        for name in cells
        for figure in (
            Figure(f"{name}, CPU", "% of a core", [cpu[name]]),
            Figure(f"{name}, resident memory", "MiB", [resident[name]]),
            Figure(f"{name}, of it anonymous", "MiB", [anonymous[name]]),
        )
    ]
    how = f"A root and a bound child over loopback TCP, each in a process that has imported zmqfl, {seconds} s at rest."
    bars = [
        Bar("an idle cell, the costlier of the two", 0.2, max(cpu.values()), " % of a core", at_most=True),
        Bar("an idle cell, resident memory", 45, max(resident.values()), " MiB", at_most=True),
    ]
    return Result("idle", "An idle cell", how, [Table("At rest", figures)], bars)


def _stay(process: Process, seconds: float) -> None:
    """Let time pass; raises `RuntimeError` when the process ends meanwhile."""
    try:
        process.popen.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise RuntimeError("a cell has ended while it was idle")


def _cpu(process: Process) -> float:
    """Seconds of CPU that all its threads have used, to the nanosecond."""
    tasks: Iterator[Path] = Path(f"/proc/{process.popen.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _memory(process: Process, field: str) -> float:
    """MiB of a field of /proc/PID/status."""
    lines = Path(f"/proc/{process.popen.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) / 1024
