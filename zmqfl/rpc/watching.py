"""Obeys `CallerWatch`: asks cells that call, and answers those that are called from here."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from functools import partial
from typing import Final, Protocol

from zmqfl.cell.cell import Cell
from zmqfl.cell.handles import RequestHandle
from zmqfl.cell.message import Message
from zmqfl.cell.timer import Timer
from zmqfl.errors import CellReturnCode, ClosedError
from zmqfl.rpc.caller_watch import Caller, CallerWatch, Cancel, Command, Unwatch, Wake, Watch
from zmqfl.rpc.names import ASKS

QUESTION: Final = 3600.0
"""Seconds after which an unanswered question is asked anew."""


class Cancellable(Hashable, Protocol):
    """What is watched."""

    def cancel(self, reason: str) -> None:
        """Nobody waits any more."""


class Watching:
    """See the module. It ends with the cell."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._machine = CallerWatch(cell.config.heartbeat)
        self._lock = threading.RLock()  # a request may fail while it is made
        self._questions: dict[Caller, RequestHandle] = {}
        self._asked: set[tuple[str, int]] = set()
        """Questions of cells that are called from here: (origin, request id)."""
        self._timer = Timer(f"zmqfl-rpc:{cell.fqcn}", time.monotonic, self._look)
        cell.register_request_cb(ASKS, "watch", self._watched)
        cell.on_close(self.close)

    def begin(self, caller: Caller, call: Cancellable) -> None:
        """A call of `caller` has begun; it is cancelled when that is gone."""
        with self._lock:
            commands = self._machine.begin(caller, call, time.monotonic())
        self._obey(commands)

    def end(self, caller: Caller, call: Cancellable) -> None:
        """It has ended."""
        with self._lock:
            commands = self._machine.end(caller, call)
        if commands:
            self._obey(commands)

    def close(self) -> None:
        """Cancel what runs, and tell those who ask that nobody waits here."""
        with self._lock:
            is_waiting = self._machine.deadline is not None
            commands = self._machine.close()
            asked, self._asked = self._asked, set()
        self._obey(commands)
        if is_waiting:
            self._timer.wake()
        for origin, id in asked:
            self._cell.send_reply(Message(payload="closes"), origin, [id])

    def _watched(self, message: Message) -> Message | None:
        """A cell that is called from here asks: answered when this start of the cell ends, or was another."""
        question = message.origin, message.req_id
        with self._lock:
            if message.payload != self._cell.instance or self._machine.closed:
                return Message(payload="is another start, or closes")
            self._asked.add(question)
        self._cell.when_cancelled(message, partial(self._asked.discard, question))
        return None

    def _look(self, now: float) -> float | None:
        with self._lock:
            deadline = self._machine.deadline
            commands = self._machine.handle_timeout(now) if deadline is not None and deadline <= now else []
        self._obey(commands)
        with self._lock:
            return self._machine.deadline

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Wake():
                    self._timer.wake()
                case Watch(caller):
                    self._ask(caller)
                case Unwatch(caller):
                    self._forget(caller)
                case Cancel(call, reason):
                    call.cancel(reason)  # type: ignore[attr-defined]

    def _ask(self, caller: Caller) -> None:
        target, instance = caller
        try:
            question = self._cell.request(target, ASKS, "watch", instance, QUESTION)
        except ClosedError:
            return  # what runs is cancelled by the close
        with self._lock:
            self._questions[caller] = question
            still = self._machine.watches(caller)
        if not still:  # its last call has ended meanwhile
            self._forget(caller)
        question.add_done_callback(partial(self._answered, caller))

    def _forget(self, caller: Caller) -> None:
        with self._lock:
            question = self._questions.pop(caller, None)
        if question is not None:
            question.cancel()

    def _answered(self, caller: Caller, question: RequestHandle) -> None:
        if question.cancelled():
            return
        try:
            reply = question.reply()
            timed_out, reason = reply.return_code is CellReturnCode.TIMEOUT, reply.error or f"{caller[0]} is gone"
        except ClosedError as error:
            timed_out, reason = False, str(error)
        with self._lock:
            if self._questions.get(caller) is question:
                del self._questions[caller]
            commands = self._machine.answered(caller, timed_out, reason)
        self._obey(commands)
