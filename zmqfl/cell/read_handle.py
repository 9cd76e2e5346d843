"""A request whose handle gives what its reply says, rather than the reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from zmqfl.cell.handles import Handle, RequestHandle
from zmqfl.cell.message import Message

T = TypeVar("T")

_UNREAD = object()


class ReadHandle(Handle[T]):
    """`result` and `await` give `read(reply)`, and raise what that raises.

    `read` gets the reply whatever its return code, once, in the thread that asks first: what is big is decoded there
    and not on the reactor. `cancel` cancels the request.
    """

    def __init__(self, request: RequestHandle, read: Callable[[Message], T]) -> None:
        super().__init__(on_cancel=lambda: _cancel(request), on_reactor=request._on_reactor)
        self.target = request.target
        self._read = read
        self._said: Any = _UNREAD
        self._refusal: Exception | None = None
        request.add_done_callback(self._replied)

    def _replied(self, request: RequestHandle) -> None:
        if request.cancelled():
            self.cancel()
            return
        try:
            self._finish(cast(T, request.reply()))
        except Exception as error:  # noqa: BLE001  the cell was closed: whoever waits is told
            self._fail(error)

    def _failure(self) -> BaseException | None:
        return super()._failure() or self._look()

    def _outcome(self) -> T:
        self._give(self._failure())
        return cast(T, self._said)

    def _look(self) -> Exception | None:
        """What `read` raises, if it does."""
        with self._lock:
            if self._said is _UNREAD and self._refusal is None:
                reply, self._value = cast(Message, self._value), None
                try:
                    self._said = self._read(reply)
                except Exception as error:  # noqa: BLE001  it is the outcome
                    self._refusal = error
        return self._refusal

    def _about(self) -> str:
        return f" to {self.target}"


def _cancel(request: RequestHandle) -> None:
    request.cancel()
