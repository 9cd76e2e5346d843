"""A minimal job by `zmqfl simulator`: one client, one task that does nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.bench.processes import ROOT
from tests.bench.results import Bar, Result, compare
from tests.fl.jobs.sample_jobs import write_job


def run(quick: bool) -> Result:
    """From the command line to its end."""
    took: dict[str, list[float]] = {"zmqfl simulator -n 1": [], "zmqfl simulator -n 8 -t 8": []}
    with TemporaryDirectory() as folder:
        environ = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        job = str(write_job(Path(folder)))
        for number in range(-1, 2 if quick else 5):  # one more round, to compile the modules
            for name, seconds in took.items():
                one = _timed(environ, *name.split()[1:], "-q", "-w", f"{folder}/workspace", job)
                if number >= 0:
                    seconds.append(one)
    how = (
        "One task for each client, which does nothing but two short waits of 0.05 s. The server and each client are "
        "processes of their own; the files are warm and the modules compiled. FLARE 2.9.0 needs 11.6 s for such a job "
        "with one client, on the machine of the bars."
    )
    tables = [compare("a minimal job", "s", took, "")]
    bars = [Bar("zmqfl simulator, a minimal job of one client", 3, tables[0].figures[0].value, " s", at_most=True)]
    return Result("jobs", "A minimal job", how, tables, bars)


def _timed(environ: dict[str, str], *arguments: str) -> float:
    start = perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "zmqfl", *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return perf_counter() - start
