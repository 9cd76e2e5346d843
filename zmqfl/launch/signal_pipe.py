"""How the main thread waits without losing a signal.

A lock, or `Event.wait`, can: a signal that comes just before the thread goes to sleep sets Python's flag and wakes
nobody. So Python writes each signal to a pipe as well (`signal.set_wakeup_fd`), and the thread sleeps on the pipe.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
from contextlib import suppress
from typing import NoReturn

from zmqfl.cell.handles import Handle


class SignalPipe:
    """See the module. Only for the main thread; Python's handlers run, and may raise, inside the waits."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def wait(self) -> NoReturn:
        """Wait until a handler raises."""
        while True:
            self._sleep()

    def wait_for(self, handle: Handle[bool]) -> bool:
        """Wait until a handle has ended, or a handler raises."""
        handle.add_done_callback(lambda _: self._wake())
        while not handle.done():
            self._sleep()
        return handle.result()

    def watch_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have signals wake an event loop, for as long as it runs."""
        loop.add_reader(self._reader, self._clear)

    def close(self) -> None:
        """Let go of the signals."""
        signal.set_wakeup_fd(-1)
        for descriptor in (self._reader, self._writer):
            os.close(descriptor)

    def _sleep(self) -> None:
        select.select([self._reader], [], [])
        self._clear()

    def _clear(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # full: it wakes as it is
            os.write(self._writer, b"\0")
