"""One thread that waits for one deadline. There is none while nothing has a deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Timer:
    """Calls `act(now)` when its deadline has come; that does what is due and returns the next deadline.

    The thread begins with `wake`, and ends when `act` returns None. `act` is called by this thread only, and must not
    raise. `clock`: where deadlines and `now` come from.
    """

    def __init__(self, name: str, clock: Callable[[], float], act: Callable[[float], float | None]) -> None:
        self._name = name
        self._clock = clock
        self._act = act
        self._changed = threading.Condition()
        self._woken = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """There may be an earlier deadline: look at once. Any thread; never waits."""
        with self._changed:
            self._woken = True
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._woken = False
            deadline = self._act(self._clock())
            with self._changed:
                if self._woken:
                    continue
                if deadline is None:
                    self._thread = None
                    return
                self._changed.wait(min(max(0.0, deadline - self._clock()), threading.TIMEOUT_MAX))

    def __repr__(self) -> str:
        return f"<Timer {self._name} {'idle' if self._thread is None else 'waiting'}>"
