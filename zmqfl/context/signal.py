"""A flag that many look at and some wait for, such as "this run is aborted".

    event            own flag   callbacks and waiters
    trigger(value)   set        each is called, or woken, once, and then forgotten; so are those of the signals below
    reset(value)     unset      those that still wait go on waiting

A signal counts as triggered when it is, or any of its ancestors. Source: reference "flare" 6.11; FLARE polls, and
`add_callback` and `wait` are there so that nothing has to.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from zmqfl.cell.workers import blocked

log = logging.getLogger("zmqfl.context")


class Signal:
    """See the module. `parent`: a signal that triggers this one too."""

    def __init__(self, parent: Signal | None = None) -> None:
        self.parent = parent
        self._lock = threading.Lock()
        self._triggered = False
        self._value: Any = None
        self._trigger_time: float | None = None
        self._waiting: dict[_Once, None] = {}

    def trigger(self, value: Any = True) -> None:
        """Set the flag and the value; then call the callbacks, in this thread. What they raise goes to the log."""
        with self._lock:
            self._value, old = value, self._value  # the old one goes when the lock is free: it may be a user's object
            self._triggered, self._trigger_time = True, time.time()
        del old
        for once in self._snapshot():
            once(self)

    def reset(self, value: Any = None) -> None:
        """Unset the own flag; the value is `value` again. The ancestors stay as they are."""
        with self._lock:
            self._value, old = value, self._value
            self._triggered, self._trigger_time = False, None
        del old

    @property
    def triggered(self) -> bool:
        """Whether this signal or one of its ancestors is triggered."""
        return self._triggered or (self.parent is not None and self.parent.triggered)

    @property
    def value(self) -> Any:
        """What this signal itself was triggered or reset with; None before."""
        return self._value

    @property
    def trigger_time(self) -> float | None:
        """When this signal itself was triggered, in seconds since the epoch; None while it is not."""
        return self._trigger_time

    def add_callback(self, fn: Callable[[Signal], object]) -> None:
        """Have `fn(self)` called, once, when this signal counts as triggered; at once when it does.

        It runs in the thread that triggers and must be quick.
        """
        once = _Once(fn, self, self._forget)
        with self._lock:
            self._waiting[once] = None
        if self.parent is not None:
            self.parent.add_callback(once)
        if self.triggered:  # perhaps since before it was added
            once(self)
        if once.is_over:  # perhaps before it was added everywhere
            self._forget(once)

    def remove_callback(self, fn: Callable[[Signal], object]) -> None:
        """Forget `fn`, if it was added here and not called yet."""
        for once in self._snapshot():
            if once.fn == fn:
                self._forget(once)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until this signal counts as triggered, at most `timeout` seconds (None: for ever); whether it does."""
        woken = threading.Event()

        def wake(signal: Signal) -> None:
            woken.set()

        self.add_callback(wake)
        try:
            with blocked():
                return woken.wait(timeout)
        finally:
            self.remove_callback(wake)

    def _snapshot(self) -> list[_Once]:
        with self._lock:
            return list(self._waiting)

    def _forget(self, once: _Once) -> None:
        with self._lock:
            self._waiting.pop(once, None)
        if self.parent is not None:
            self.parent.remove_callback(once)

    def __repr__(self) -> str:
        return f"<Signal {'triggered' if self.triggered else 'quiet'} value {self._value!r}>"


class _Once:
    """A callback that waits at a signal and, being a callback itself, at its parent; the first of them calls it."""

    def __init__(self, fn: Callable[[Signal], object], signal: Signal, forget: Callable[[_Once], None]) -> None:
        self.fn = fn
        self._signal = signal
        self._forget = forget
        self._taken = threading.Lock()

    @property
    def is_over(self) -> bool:
        return self._taken.locked()

    def __call__(self, _: Signal) -> None:
        if not self._taken.acquire(blocking=False):
            return
        self._forget(self)
        try:
            self.fn(self._signal)
        except Exception:  # it must not stop who triggers, nor the other callbacks
            log.exception("a callback of %r failed", self._signal)
