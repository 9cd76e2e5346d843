"""Figures as bars: `python -m tests.bench.plot FOLDER`, results as JSON on standard input.

Writes one picture per benchmark of `PICTURES` that is among the results. Runs where matplotlib is installed.
"""

from __future__ import annotations

import json
import sys
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found]
from matplotlib.figure import Figure  # type: ignore[import-not-found]

mpl.rcParams["svg.hashsalt"] = "zmqfl"  # the same bytes for the same figures
mpl.rcParams["svg.fonttype"] = "none"

PICTURES = {"requests": (100, 1_000_000), "transfers": (10, 5_000)}
"""Name of a benchmark -> the lowest and highest figure of its axes, the same for all, so that they can be compared."""


def main(folder: str) -> None:
    for result in json.load(sys.stdin):
        if result["name"] in PICTURES:
            draw(result["tables"], PICTURES[result["name"]], Path(folder) / f"{result['name']}.svg")


def draw(tables: list[dict[str, Any]], limits: tuple[int, int], file: Path) -> None:
    tables = [table for table in tables if table["figures"][0]["unit"] in ("requests/s", "MB/s")]
    picture: Any = Figure(figsize=(10, 3.25 * ceil(len(tables) / 2)), layout="constrained")
    grid = list(picture.subplots(ceil(len(tables) / 2), 2, squeeze=False).flat)
    for axes, table in zip(grid, tables, strict=False):
        names = [figure["name"] for figure in table["figures"]][::-1]
        rounds = [sorted(figure["rounds"]) for figure in table["figures"]][::-1]
        medians = [values[len(values) // 2] for values in rounds]
        below = [values[len(values) // 2] - values[0] for values in rounds]
        above = [values[-1] - values[len(values) // 2] for values in rounds]
        colours = ["tab:orange" if name.startswith("zmqfl") else "tab:gray" for name in names]
        axes.barh(names, medians, xerr=[below, above], color=colours, ecolor="black", error_kw={"elinewidth": 0.8})
        axes.set_title(table["title"], fontsize=10)
        unit = table["figures"][0]["unit"]
        axes.set_xlabel(f"{unit}, logarithmic; median, lowest and highest round", fontsize=8)
        axes.set_xscale("log")
        axes.set_xlim(*limits)
        axes.tick_params(labelsize=8)
    for axes in grid[len(tables) :]:
        axes.set_visible(False)
    picture.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
