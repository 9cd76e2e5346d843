"""`zmqfl up` of a server and eight sites on this machine, until every cell is connected."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.bench.processes import ROOT
from tests.bench.results import Bar, Result, compare

TOPOLOGY = """version: 1
name: {name}
sites:
  server: {{}}
  site: {{parent: server, count: 8}}
"""


def run(quick: bool) -> Result:
    """Up and down again."""
    count = 2 if quick else 5
    took: dict[str, list[float]] = {"from zmqfl import Cell": [], "zmqfl up": [], "zmqfl down": []}
    name = f"bench-{os.getpid()}"
    with TemporaryDirectory() as folder:
        environ = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        file = Path(folder) / f"{name}.yaml"
        file.write_text(TOPOLOGY.format(name=name))
        for number in range(-1, count):  # one more round, to compile the modules
            try:
                imported = _timed(environ, "-c", "from zmqfl import Cell")
                up = _timed(environ, "-m", "zmqfl", "up", str(file), "--detach")
            finally:
                down = _timed(environ, "-m", "zmqfl", "down", "-t", name)
            if number >= 0:
                for verb, seconds in zip(took, (imported, up, down), strict=True):
                    took[verb].append(seconds)
    how = (
        f"`zmqfl up --detach` returns when all nine cells are connected; {count} times, the files warm and the modules "
        "compiled, as an installation has them. "
        "Each of the nine is a Python process of its own, beside the supervisor."
    )
    tables = [compare("1 + 8 sites", "s", took, "")]
    bars = [Bar("zmqfl up, 1 + 8 sites until connected", 3, tables[0].figures[1].value, " s", at_most=True)]
    return Result("up", "Start of a federation", how, tables, bars)


def _timed(environ: dict[str, str], *command: str) -> float:
    start = perf_counter()
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return perf_counter() - start
