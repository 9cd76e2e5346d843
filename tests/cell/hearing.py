"""A watcher that keeps what it hears, and can be waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from tests.system.federation import LONG

T = TypeVar("T")


class Heard(Generic[T]):
    """Call it with what happens. `held`: each call waits until `go` is called."""

    def __init__(self, held: bool = False) -> None:
        self.items: list[T] = []
        self.threads: set[str] = set()
        self._changed = threading.Condition()
        self._go = threading.Event()
        if not held:
            self._go.set()

    def __call__(self, item: T) -> None:
        with self._changed:
            self.items.append(item)
            self.threads.add(threading.current_thread().name)
            self._changed.notify_all()
        assert self._go.wait(LONG), "nobody let it go on"

    def go(self) -> None:
        self._go.set()

    def wait(self, number: int) -> list[T]:
        """All, when so many have come."""
        return self.wait_for(lambda items: len(items) >= number)

    def wait_for(self, condition: Callable[[list[T]], bool]) -> list[T]:
        """All, when they are as they should be."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.items), LONG), f"it heard {self.items}"
            return list(self.items)
