"""Which process is which: a process id alone may have been given to another one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ENDED: Final[tuple[list[str], ...]] = (["Z"], ["X"], [])
"""Beginnings of `_stat` of a process that has ended, whether or not its parent knows."""


def mark_of(pid: int) -> str:
    """What tells a process from all others that had or will have its id; "" when there is none."""
    stat = _stat(pid)
    return f"{_boot()}:{stat[19]}" if stat else ""


def is_alive(pid: int, mark: str) -> bool:
    """Whether the process that had this mark runs."""
    return bool(mark) and mark_of(pid) == mark and _stat(pid)[:1] not in _ENDED


def session_members(pid: int, mark: str) -> list[int]:
    """The living processes of the session that a process leads or has led.

    The kernel does not give the id of a session away while it has members: if there is a process of that id with
    another mark, then the session that was meant is gone.
    """
    if not mark.startswith(_boot()) or mark_of(pid) not in ("", mark):
        return []
    return [each for each in _pids() if (stat := _stat(each)) and stat[3] == str(pid) and stat[:1] not in _ENDED]


def signal_session(pid: int, mark: str, number: signal.Signals) -> None:
    """Send a signal to all of `session_members`."""
    for each in session_members(pid, mark):
        try:
            os.kill(each, number)
        except ProcessLookupError:
            continue  # it has just ended


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdecimal())


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state (number 3) on; [] when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()  # the name before it may hold blanks and brackets


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
