"""What people see: tables, trees and log lines; plain text where there is no terminal, or NO_COLOR is set."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from zmqfl.launch.log_stream import LogLine

COLORS: Final = ("cyan", "green", "yellow", "blue", "magenta", "bright_cyan", "bright_green", "bright_blue")
GOOD: Final = {"up", "running", "done"}
BAD: Final = {"failed", "gone", "missing", "lost", "replaced", "stalled", "suspected", "restarting"}
MOST_WIDTH: Final = 200
"""Columns of a table where the width is not a terminal's: lines are for grep there, and are not broken."""


def console() -> Console:
    """Standard output as it is now."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=MOST_WIDTH)


def print_json(value: Any) -> None:
    """For programs."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def print_json_line(value: Any) -> None:
    """For programs that read a stream."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns aligned, no frame; known states in colour. A column name that begins with > is for numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell, style_of(cell)) for cell in row))
    console().print(table)


def style_of(word: str) -> str:
    """The colour of a state."""
    return "green" if word in GOOD else "red" if word in BAD else ""


class LogPrinter:
    """Prints lines of several sites, each with its time and its site in a colour of its own."""

    def __init__(self, names: Sequence[str]) -> None:
        self._console = console()
        self._width = max(map(len, names), default=0)
        self._styles = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}

    def print(self, line: LogLine) -> None:
        """One line."""
        text = Text(f"{line.time[11:19]:8} ", "dim")
        text.append(f"{line.fqcn:{self._width}} | ", self._styles.get(line.fqcn, "bold"))
        level, _, rest = line.text.partition(" ")
        if level == "INFO":
            text.append(rest)
        else:
            style = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}.get(level, "")
            text.append(line.text, style)
        self._console.print(text, soft_wrap=True)


def ago(seconds: float) -> str:
    """A duration in one unit, two where that says little: 12s, 3m, 2h05m, 4d."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole}s"
    if whole < 7200:
        return f"{whole // 60}m"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m" if whole < 172800 else f"{whole // 86400}d"


def ms(seconds: float | None) -> str:
    """A time as milliseconds."""
    return "" if seconds is None else f"{seconds * 1000:.2f} ms"
