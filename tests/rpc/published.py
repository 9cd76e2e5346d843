"""Objects that tests publish."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tests.system.federation import LONG
from zmqfl import Cell, Rpc
from zmqfl.rpc.running import RunningCall, current_call


class Trigonometry:
    def rpc_half(self, x: float) -> float:
        """Half of it."""
        return x / 2


class Calculator:
    """Seed 002's kind of object: methods, a part, and things that must not be reached."""

    secret = "hunter2"

    def __init__(self) -> None:
        self.rpc_trig = Trigonometry()
        self.rpc_version = None
        self.called: list[Any] = []

    class rpc_made:  # noqa: N801  a class is made when it is needed
        def rpc_name(self) -> str:
            return type(self).__name__

    def rpc_add(self, a: int, b: int = 3) -> int:
        """Add two numbers.

        `b`: 3 unless it is given.
        """
        self.called.append((a, b))
        return a + b

    def rpc_my_echo(self, data: Any) -> tuple[str, Any]:
        return "MY ECHO", data

    def rpc_anything(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    def rpc_keyword(self, *, name: str, tto: float = 1.0) -> tuple[str, float]:
        return name, tto

    def rpc_none(self) -> None:
        self.called.append(None)

    def rpc_who(self) -> tuple[str, str]:
        call = current_call()
        return call.method, call.caller

    def rpc_divide(self, a: float, b: float) -> float:
        return a / b

    async def rpc_later(self, data: Any) -> tuple[str, Any]:
        await asyncio.sleep(0)
        return current_call().caller, data

    def rpc_count(self, n: int) -> Iterator[int]:
        yield from range(n)

    async def rpc_acount(self, n: int) -> AsyncIterator[int]:
        for number in range(n):
            await asyncio.sleep(0)
            yield number

    def add(self, a: int, b: int) -> int:
        raise AssertionError("this is not published")


class Held:
    """Methods that run until they are cancelled or let go; `ended` says how each ended."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.ended: list[str] = []
        self.over = threading.Semaphore(0)
        self.call: RunningCall | None = None

    def wait_begun(self) -> None:
        assert self.begun.acquire(timeout=LONG), "it has not begun"

    def wait_over(self) -> str:
        assert self.over.acquire(timeout=LONG), "it does not end"
        return self.ended[-1]

    def rpc_hold(self) -> str:
        """Until it is cancelled."""
        call = self.call = current_call()
        self.begun.release()
        was_cancelled = call.wait(LONG)
        self._note(str(call.signal.value) if was_cancelled else "let go")
        return "held"

    async def rpc_ahold(self) -> str:
        """The same, as a coroutine."""
        self.begun.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self._note("cancelled")
            raise
        self._note("let go")
        return "held"

    def rpc_gate(self) -> str:
        """Until `let_go` is set."""
        self.begun.release()
        assert self.let_go.wait(LONG)
        self._note("let go")
        return "through"

    def rpc_items(self) -> Iterator[int]:
        """Without end."""
        number = 0
        self.begun.release()
        try:
            while True:
                yield number
                number += 1
        finally:
            self._note(f"closed at {number}")

    async def rpc_aitems(self) -> AsyncIterator[int]:
        """Without end; the second never comes."""
        self.begun.release()
        try:
            yield 0
            await asyncio.Event().wait()
        finally:
            self._note("closed")

    def rpc_slow_items(self) -> Iterator[int]:
        """The first at once; the next when `let_go` is set, or the call is cancelled."""
        try:
            yield 0
            self.begun.release()
            while not self.let_go.is_set() and not current_call().wait(0.01):
                pass
            yield 1
        finally:
            self._note("closed")

    def _note(self, how: str) -> None:
        self.ended.append(how)
        self.over.release()


class Services(Calculator):
    """What `tests.system.test_rpc_cli` calls."""

    def rpc_fail(self, how: str) -> None:
        raise {"value": ValueError("no such layer"), "own": NotADecimalError("x")}[how]

    def rpc_hold(self) -> None:
        """Until it is cancelled."""
        current_call().wait()


class NotADecimalError(Exception):
    """It has no counterpart at the caller."""


def run(cell: Cell) -> None:
    """What a site runs."""
    Rpc.of(cell).publish(Services(), access={"[!s]*": "*"})
    Rpc.of(cell).publish(Trigonometry(), "trig")
