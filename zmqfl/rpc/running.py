"""The call that runs now, as the method sees it.

def rpc_train(self, rounds):
    call = current_call()
    for number in range(rounds):
        call.check()            # raises CallCancelled when nobody waits any more
        ...

event                                    signal      a coroutine
the caller cancels, or its time is over  triggered   is cancelled
the caller's cell is gone, or new        triggered   is cancelled
the cell that serves the call closes     triggered   is cancelled
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Final

from zmqfl.context.signal import Signal
from zmqfl.errors import UsageError


class CallCancelled(UsageError):
    """Nobody waits for what the running method does. Raised by `RunningCall.check`."""


class RunningCall:
    """One call while it runs. `signal` is triggered, with the reason, when nobody waits for it any more."""

    def __init__(self, method: str, caller: str, *, sealed: bool = False, expects_reply: bool = True) -> None:
        self.method = method
        self.caller = caller
        """FQCN of the cell that calls, as the network vouches for it."""
        self.sealed = sealed
        """Whether it came with `secure=True`, so that the caller itself has proved its name."""
        self.expects_reply = expects_reply
        self.signal = Signal()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits any more."""
        return self.signal.triggered

    def check(self) -> None:
        """Raises `CallCancelled` when nobody waits any more."""
        if self.signal.triggered:
            raise CallCancelled(f"{self.method} of {self.caller}: {self.signal.value}")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds for the cancellation; whether it came."""
        return self.signal.wait(timeout)

    def cancel(self, reason: str) -> None:
        """Nobody waits any more."""
        if not self.signal.triggered:
            self.signal.trigger(reason)

    def __repr__(self) -> str:
        return f"<RunningCall {self.method} of {self.caller}{' cancelled' if self.cancelled else ''}>"


_current: Final[ContextVar[RunningCall]] = ContextVar("zmqfl_rpc_call")


def current_call() -> RunningCall:
    """The call that this method serves, in threads and coroutines of its own only with a copied context.

    Raises `UsageError` outside of a call.
    """
    try:
        return _current.get()
    except LookupError:
        raise UsageError("no rpc_ method runs here; call this inside one") from None


class _Current(AbstractContextManager[None]):
    """A class, as each call goes through it: it costs a third of a generator."""

    __slots__ = ("_call", "_token")

    def __init__(self, call: RunningCall) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._token = _current.set(self._call)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def running(call: RunningCall) -> AbstractContextManager[None]:
    """Make it the current call, for the length of a `with`."""
    return _Current(call)
