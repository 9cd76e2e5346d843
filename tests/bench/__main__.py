"""`python -m tests.bench [NAME...] [--quick] [--json] [--size MIB]`: run all benchmarks or those named.

A full run of all writes docs/benchmarks.md, and a plot where matplotlib is installed in .venv-bench.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from functools import partial

from tests.bench import channels, codecs, idle, jobs, lanes, objects, plane, requests, rpc, sealed, transfers, up
from tests.bench.report import text_of, write

BENCHMARKS = {
    "requests": requests.run,
    "rpc": rpc.run,
    "lanes": lanes.run,
    "transfers": transfers.run,
    "objects": objects.run,
    "codecs": codecs.run,
    "sealed": sealed.run,
    "plane": plane.run,
    "channels": channels.run,
    "idle": idle.run,
    "up": up.run,
    "jobs": jobs.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure zmqfl beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all without")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: a look, not a measurement")
    parser.add_argument("--json", action="store_true", help="print all rounds as JSON")
    parser.add_argument("--size", type=int, metavar="MIB", help="of the file that transfers move")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    runs = BENCHMARKS | {"transfers": partial(transfers.run, size=options.size)}
    load = os.getloadavg()[0]
    results = []
    for name in options.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        results.append(runs[name](options.quick))
    print(json.dumps([asdict(result) for result in results]) if options.json else text_of(results))
    if not options.names and not options.quick:
        write(results, load)
    return 0


if __name__ == "__main__":
    sys.exit(main())
