"""Bars, and the numbers beside them."""

from __future__ import annotations

import io
import sys

import pytest

from zmqfl.cell.handles import Handle
from zmqfl.cell.progress import TransferProgress
from zmqfl.cli.progress import Recent, bars, eta, moved, rate, size, wait


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (9994, "9.99 kB"), (9995, "10.0 kB"), (99_949, "99.9 kB"),
        (123_456, "123 kB"), (999_500, "1.00 MB"), (45.6e6, "45.6 MB"), (1.5e9, "1.50 GB"), (2e15, "2000 TB"),
    ],
)  # fmt: skip
def test_size(number: float, text: str) -> None:
    assert size(number) == text


def test_numbers_of_a_transfer() -> None:
    each = TransferProgress(10_000_000, 30_000_000, 2.0)
    assert (moved(each), rate(each), eta(each)) == ("10.0 MB of 30.0 MB", "5.00 MB/s", "0:04")
    nothing = TransferProgress(0, 0, 2.0)
    assert (moved(nothing), rate(nothing), eta(nothing)) == ("", "", "")
    assert eta(TransferProgress(1, 3_725, 1.0)) == "1:02:04"


def test_what_was_there_at_the_begin_is_not_counted_as_speed() -> None:
    recent = Recent()
    assert recent.add(TransferProgress(0, 0, 0.1)).rate == 0
    assert recent.add(TransferProgress(900, 1000, 1.0)).rate == 0
    lately = recent.add(TransferProgress(950, 1000, 2.0))
    assert (lately.rate, lately.eta) == (50, 1.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with bars(True) as show:
        assert show is None  # pytest is no terminal
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with bars(False) as show:
        assert show is None
    with bars(True) as show:
        assert show is not None
        show({"site-1": TransferProgress(0, 0, 0.0), "[b]site-2": TransferProgress(0, 0, 0.0)})
        show({"site-1": TransferProgress(5_000_000, 10_000_000, 1.0), "[b]site-2": TransferProgress(0, 0, 1.0)})
    shown = terminal.getvalue()
    assert "site-1" in shown
    assert "[b]site-2" in shown  # a name is no markup
    assert "5.00 MB of 10.0 MB" in shown


def test_wait_draws_until_the_end() -> None:
    handle: Handle[int] = Handle(on_cancel=lambda: None, on_reactor=lambda: False)
    shown: list[int] = []

    def look() -> dict[str, TransferProgress]:
        if len(shown) == 2:
            handle._finish(1)
        return {"a": TransferProgress(len(shown), 0, 0.0)}

    wait(handle, lambda receivers: shown.append(receivers["a"].done), look)
    assert shown[:3] == [0, 1, 2]
    wait(handle, None, look)
