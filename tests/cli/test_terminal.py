"""What people see, as text."""

from __future__ import annotations

import pytest

from zmqfl.cli.terminal import LogPrinter, ago, ms, print_table
from zmqfl.launch.log_stream import LogLine


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7500, "2h05m"), (172799, "47h59m"), (4e5, "4d")],
)
def test_ago(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_ms() -> None:
    assert (ms(None), ms(0.0012345)) == ("", "1.23 ms")


def test_tables_and_lines_are_plain_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("SITE", ">PID"), [("server", "1"), ("[red]x", "22")])
    printer = LogPrinter(["server", "a"])
    printer.print(LogLine("server", "2026-01-02T03:04:05.678", "INFO hello"))
    printer.print(LogLine("a", "", "WARNING [bold]" + "x" * 300))
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == [
        "SITE     PID",
        "server     1",
        "[red]x    22",
        "03:04:05 server | hello",
        "         a      | WARNING [bold]" + "x" * 300,
    ]
