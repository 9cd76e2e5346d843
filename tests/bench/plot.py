"""Requests per second as bars: `python -m tests.bench.plot FILE`, results as JSON on standard input.

Runs where matplotlib is installed.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]
from matplotlib.figure import Figure  # type: ignore[import-not-found]

mpl.rcParams["svg.hashsalt"] = "zmqfl"  # the same bytes for the same figures
mpl.rcParams["svg.fonttype"] = "none"


def main(file: str) -> None:
    tables = [table for result in json.load(sys.stdin) if result["name"] == "requests" for table in result["tables"]]
    picture: Any = Figure(figsize=(10, 6.5), layout="constrained")
    for axes, table in zip(picture.subplots(2, 2).flat, tables, strict=True):
        names = [figure["name"] for figure in table["figures"]][::-1]
        rounds = [sorted(figure["rounds"]) for figure in table["figures"]][::-1]
        medians = [values[len(values) // 2] for values in rounds]
        below = [values[len(values) // 2] - values[0] for values in rounds]
        above = [values[-1] - values[len(values) // 2] for values in rounds]
        colours = ["tab:orange" if name.startswith("zmqfl") else "tab:gray" for name in names]
        axes.barh(names, medians, xerr=[below, above], color=colours, ecolor="black", error_kw={"elinewidth": 0.8})
        axes.set_title(table["title"], fontsize=10)
        axes.set_xlabel("requests/s, logarithmic; median, lowest and highest round", fontsize=8)
        axes.set_xscale("log")
        axes.set_xlim(100, 1_000_000)  # the same for all, so that they can be compared
        axes.tick_params(labelsize=8)
    picture.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
