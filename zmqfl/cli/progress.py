"""Bars of what is moved, one per receiver, on standard error; nothing where that is no terminal."""

from __future__ import annotations

import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from zmqfl.cell.handles import Handle
from zmqfl.cell.progress import TransferProgress

if TYPE_CHECKING:
    from rich.progress import Progress

REFRESH: Final = 0.1
"""Seconds between two looks at the progress."""
RECENT: Final = 30
"""Looks that the shown rate is the mean of."""
UNITS: Final = ("B", "kB", "MB", "GB", "TB")

Show = Callable[[Mapping[str, TransferProgress]], None]
"""Draws the progress of each receiver."""


class Recent:
    """How fast it goes now. What was there at the begin was not moved, so the mean since then would say nothing."""

    def __init__(self) -> None:
        self._seen: deque[TransferProgress] = deque(maxlen=RECENT)

    def add(self, each: TransferProgress) -> TransferProgress:
        """A look at the progress; returns what has happened in the last looks, and what is left to do."""
        if each.done:
            self._seen.append(each)
        first = self._seen[0] if self._seen else each
        return TransferProgress(
            each.done - first.done, each.total - first.done if each.total else 0, each.seconds - first.seconds
        )


@contextmanager
def bars(wanted: bool) -> Iterator[Show | None]:
    """What draws within the block; None where nobody would see it."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    with _made() as progress:
        tasks: dict[str, Any] = {}
        recent: defaultdict[str, Recent] = defaultdict(Recent)

        def show(receivers: Mapping[str, TransferProgress]) -> None:
            for name, each in receivers.items():
                if name not in tasks:
                    tasks[name] = progress.add_task(name, total=None, moved="", rate="", eta="")
                lately = recent[name].add(each)
                fields: dict[str, Any] = {"moved": moved(each), "rate": rate(lately), "eta": eta(lately)}
                progress.update(tasks[name], total=each.total or None, completed=each.done, **fields)
            progress.refresh()

        yield show


def wait(handle: Handle[Any], show: Show | None, look: Callable[[], Mapping[str, TransferProgress]]) -> None:
    """Return when the handle has ended, and draw until then."""
    if show is None:
        handle.exception()
        return
    while not handle.done():
        show(look())
        with suppress(TimeoutError):
            handle.exception(REFRESH)
    show(look())


def size(number: float) -> str:
    """Bytes, in the unit that gives three figures: 12 B, 1.23 kB, 45.6 MB."""
    power = 0
    while number >= 999.5 and power < len(UNITS) - 1:
        number, power = number / 1000, power + 1
    places = 0 if power == 0 or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{places}f} {UNITS[power]}"


def moved(each: TransferProgress) -> str:
    """Bytes that are there, of all."""
    return f"{size(each.done)} of {size(each.total)}" if each.total else ""


def rate(each: TransferProgress) -> str:
    """Bytes per second."""
    return f"{size(each.rate)}/s" if each.done else ""


def eta(each: TransferProgress) -> str:
    """The time that is left."""
    if each.eta is None:
        return ""
    whole = round(each.eta)
    hours = f"{whole // 3600}:{whole % 3600 // 60:02d}" if whole >= 3600 else f"{whole // 60}"
    return f"{hours}:{whole % 60:02d}"


def _made() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        *(TextColumn(f"{{task.fields[{name}]}}", justify="right") for name in ("moved", "rate", "eta")),
        console=Console(stderr=True, highlight=False),
        auto_refresh=False,
        transient=True,
    )
