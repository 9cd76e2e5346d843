"""Wakes the one thread that polls the sockets, from any other thread or a signal handler."""

from __future__ import annotations

import os
import threading


class Wakeup:
    """An eventfd that any thread sets and the polling thread clears.

    The order makes it safe: who has work appends it *before* `set`; the polling thread calls `clear` *before* it
    looks for work. Work appended after `clear` has read the descriptor is then either still seen in this pass, or
    finds the flag down and sets it again; a wake-up too many costs one empty pass, one too few would hang.
    """

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """To be polled for input."""
        self._is_set = False
        # Reentrant, because a signal handler may interrupt `set` in the same thread to call it again.
        self._lock = threading.RLock()

    def set(self) -> None:
        """Make `fd` readable. Only the first call after a `clear` costs a system call; none after `close` does."""
        if self._is_set:
            return
        with self._lock:  # `close` must not come between the test and the write: the number may be somebody else's then
            if not self._is_set:
                self._is_set = True
                os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        """Make `fd` unreadable."""
        if self._is_set:
            with self._lock:  # the flag may be up before the descriptor is written
                os.eventfd_read(self.fd)
                self._is_set = False

    def close(self) -> None:
        """Close the descriptor; again does nothing. Only for the polling thread."""
        with self._lock:
            self._is_set = True  # for good: `set` has nothing to wake any more
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    def __repr__(self) -> str:
        state = "closed" if self.fd < 0 else "set" if self._is_set else "clear"
        return f"<Wakeup {state}>"
