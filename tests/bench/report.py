"""Results as text, and docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict

from tests.bench.processes import ROOT, missing
from tests.bench.results import Bar, Result, Table

PAGE = ROOT / "docs" / "benchmarks.md"
PLOTTED = ("requests", "transfers")
PLOTTING = ".venv-bench"
QUIET = 0.3
"""Load of a machine that has nothing else to do."""

HEAD = """# Benchmarks

Written by `make bench`; do not edit. Absolute figures drift with the machine and with what else it does, so compare
ratios: each is the median of the ratios of rounds that were measured one right after the other.
"""


def text_of(results: list[Result]) -> str:
    """The results as Markdown."""
    return "\n".join([_promises(results), *(_section(result) for result in results)])


def write(results: list[Result], load: float) -> None:
    """Write docs/benchmarks.md, and the plot where matplotlib is to be had. `load`: of the machine, before."""
    why = missing(PLOTTING, "matplotlib")
    if why:
        print(f"no plot: {why}", file=sys.stderr)
        for name in PLOTTED:
            PAGE.with_name(f"{name}.svg").unlink(missing_ok=True)
    else:
        python = ROOT / PLOTTING / "bin" / "python"
        data = json.dumps([asdict(result) for result in results])
        subprocess.run([python, "-m", "tests.bench.plot", PAGE.parent], input=data, text=True, cwd=ROOT, check=True)
    machine = f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}. "
    others = f"{load:.1f} threads of others ran on it before" + (": read with care." if load > QUIET else ".") + "\n"
    plots = [] if why else [f"![{name}]({name}.svg)\n" for name in PLOTTED]
    PAGE.write_text("\n".join([HEAD, machine + others, *plots, text_of(results)]))


def _promises(results: list[Result]) -> str:
    lines = ["## Bars", "", "| bar | wanted | measured | met |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *(_bar(bar) for result in results for bar in result.bars), ""])


def _bar(bar: Bar) -> str:
    sign = "<=" if bar.at_most else ">="
    return f"| {bar.text} | {sign} {bar.wanted:g}{bar.unit} | {bar.measured:.2f}{bar.unit} | {_yes(bar.is_met)} |"


def _section(result: Result) -> str:
    lines = [f"## {result.title}", "", result.how, ""]
    for table in result.tables:
        lines += [*_table(table), ""]
    lines += [f"Skipped: {line}.\n" for line in result.skipped]
    return "\n".join(lines)


def _table(table: Table) -> list[str]:
    lines = [f"### {table.title}", ""]
    head = ["", "median", "lowest", "highest", *([f"times {table.base}"] if table.base else [])]
    lines += [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for figure in table.figures:
        cells = [
            figure.name,
            f"{_number(figure.value)} {figure.unit}",
            _number(min(figure.rounds)),
            _number(max(figure.rounds)),
        ]
        lines.append(_row([*cells, *([f"{figure.ratio:.2f}"] if figure.ratio is not None else [])]))
    return lines


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"
