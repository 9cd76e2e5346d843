"""How a client talks with the server of its run, through breaks of the network and restarts of the server.

    begin     ask to begin; whenever that fails, again: when the server says that it is ready, or after a pause
              from then on the server is watched over: when it is gone, ask to begin again, whatever is done meanwhile
    get       ask for a task; the reply comes when there is one. A failure leads back to `begin`
    submit    is it still wanted? then send it; a failure leads back to the question, a lost server to `begin`

Every wait ends with the abort signal. Source: seed 003, reference "flare" 6.3.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Final

from zmqfl.cell.cell import Cell
from zmqfl.cell.handles import RequestHandle
from zmqfl.cell.message import Message
from zmqfl.cell.workers import blocked
from zmqfl.context.aux_payload import unpack
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import SpecialTaskName
from zmqfl.context.peer_context import peer_context_of, public_props_of
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_reply
from zmqfl.context.signal import Signal
from zmqfl.errors import CellReturnCode, ClosedError, DecodeError, EncodeError
from zmqfl.fl.run_messages import CHANNEL, CHECK, FOREVER, GET, LEAVE, PRESENCE, SUBMIT, SYNC, packed
from zmqfl.fl.run_settings import RunSettings

log = logging.getLogger("zmqfl.fl")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two attempts to reach a server: no event tells that a cell which is no neighbour is back."""
MARGIN: Final = 30.0
"""Seconds beyond `poll` after which the reply to a question for a task counts as lost."""
REFUSED: Final = (CellReturnCode.AUTHENTICATION_ERROR, CellReturnCode.ABORT_RUN)
"""Codes after which asking again is of no use."""
_UNSENDABLE: Final = (
    CellReturnCode.PROCESS_EXCEPTION,
    CellReturnCode.INVALID_REQUEST,
    CellReturnCode.MSG_TOO_BIG,
    CellReturnCode.FILTER_ERROR,
)
"""Codes of a result that will not be taken however often it is sent."""


class TaskExchange:
    """See the module.

    `server`: the name of its cell. `signal` ends all waits. `ended` is called with the reply of a server whose run has
    ended before this client could begin.
    """

    def __init__(
        self,
        cell: Cell,
        server: str,
        settings: RunSettings,
        signal: Signal,
        secure: bool,
        ended: Callable[[Shareable], object],
    ) -> None:
        self._cell = cell
        self._server = server
        self._settings = settings
        self._signal = signal
        self._secure = secure
        self._ended = ended
        self._ready = threading.Event()
        self._lock = threading.Lock()
        self._watch: RequestHandle | None = None
        """The question that ends when the server does."""
        self.problem = ""
        """Why `begin` has failed."""

    def server_is_ready(self) -> None:
        """The server has said that the run has started."""
        self._ready.set()

    def begin(self) -> bool:
        """Wait until the server lets this client begin; False when it does not, or when the run is aborted."""
        deadline = time.monotonic() + self._settings.sync_timeout
        pause = FIRST_PAUSE
        self._signal.add_callback(self._wake)
        try:
            while not self._signal.triggered:
                self._ready.clear()
                left = deadline - time.monotonic()
                reply = self._ask(SYNC, packed(Shareable()), max(left, FIRST_PAUSE))
                if reply is not None and reply.ok:
                    return self._may_begin(reply)
                self.problem = reply.error if reply is not None else "the cell is closed"
                if reply is None or reply.return_code in REFUSED or left <= 0:
                    return False
                with blocked():
                    self._ready.wait(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            self._signal.remove_callback(self._wake)
        return False

    def _may_begin(self, reply: Message) -> bool:
        try:
            said, _ = unpack(reply.payload)
        except DecodeError as error:
            self.problem = str(error)
            return False
        if said.get_header(ReservedHeaderKey.TASK_NAME) == SpecialTaskName.END_RUN:
            self._ended(said)
            return False
        self._watch_server()
        return True

    def get(self, fl_ctx: FLContext) -> tuple[Shareable, FLContext | None] | None:
        """A task, or what stands for none, and the context of the server; None when it could not be asked."""
        reply = self._ask(GET, packed(Shareable(), public_props_of(fl_ctx)), self._settings.poll + MARGIN)
        if reply is None or not reply.ok:
            if reply is not None:
                log.info("the server gives no task: %s %s", reply.return_code, reply.error)
            return None
        try:
            task, props = unpack(reply.payload)
        except DecodeError as error:
            log.warning("a task cannot be read: %s", error)
            return make_reply(ReturnCode.BAD_TASK_DATA), None
        try:
            return task, peer_context_of(props) if props else None
        except DecodeError:
            return task, FLContext()

    def submit(self, result: Shareable, fl_ctx: FLContext) -> bool:
        """Send a result until the server has it; False when nobody wants it, or the run has ended."""
        while not self._signal.triggered:
            if (is_wanted := self._is_wanted(result)) is False:
                log.info("nobody wants the result of task %s any more", result.get_header(ReservedHeaderKey.TASK_NAME))
                return False
            if is_wanted:
                try:
                    reply = self._ask(SUBMIT, packed(result, public_props_of(fl_ctx)), None)
                except EncodeError as error:
                    result = _stand_in(result, f"the result cannot travel: {error}")
                    continue
                if reply is not None and reply.ok:
                    return True
                if reply is not None and reply.return_code in _UNSENDABLE:
                    result = _stand_in(result, f"the result was refused: {reply.error}")
                    continue
            if not self.begin():
                return False
        return False

    def leave(self) -> None:
        """Tell the server that this client has ended its run, also when that was aborted."""
        with self._lock:
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
        self._ask(LEAVE, packed(Shareable()), self._settings.aux_timeout, Signal())

    def _is_wanted(self, result: Shareable) -> bool | None:
        """None: the server did not say."""
        question = Shareable()
        question.set_header(ReservedHeaderKey.TASK_ID, result.get_header(ReservedHeaderKey.TASK_ID))
        reply = self._ask(CHECK, packed(question), self._settings.aux_timeout)
        if reply is None or not reply.ok:
            return None
        try:
            return unpack(reply.payload)[0].get_return_code() == ReturnCode.OK
        except DecodeError:
            return None

    def _watch_server(self) -> None:
        """A server that starts again must hear of this client, also while a task keeps it busy."""
        try:
            handle = self._cell.request(
                self._server, CHANNEL, PRESENCE, packed(Shareable()), FOREVER, secure=self._secure
            )
        except ClosedError:
            return
        with self._lock:
            former, self._watch = self._watch, handle
        if former is not None:
            former.cancel()
        handle.add_done_callback(lambda _: self._server_is_lost(handle))

    def _server_is_lost(self, handle: RequestHandle) -> None:
        """On any thread."""
        with self._lock:
            if self._watch is not handle:
                return
            self._watch = None
        if not self._signal.triggered:
            threading.Thread(target=self.begin, name="zmqfl-run-begin", daemon=True).start()

    def _ask(
        self, topic: str, content: list[Any], timeout: float | None, signal: Signal | None = None
    ) -> Message | None:
        """The reply, whatever its code; None when the cell is closed or the run aborted. Raises `EncodeError`."""
        signal = signal or self._signal
        try:
            handle = self._cell.request(self._server, CHANNEL, topic, content, timeout, secure=self._secure)
        except ClosedError:
            return None

        def cancel(signal: Signal) -> None:
            handle.cancel()

        signal.add_callback(cancel)
        try:
            return handle.reply()
        except (ClosedError, CancelledError):
            return None
        finally:
            signal.remove_callback(cancel)
            handle.cancel()  # does something only when this thread was interrupted

    def _wake(self, signal: Signal) -> None:
        self._ready.set()


def _stand_in(result: Shareable, reason: str) -> Shareable:
    """What is sent in the place of a result that cannot be."""
    log.error("%s", reason)
    reply = make_reply(ReturnCode.EXECUTION_RESULT_ERROR, {ReservedHeaderKey.ERROR: reason})
    for key in ReservedHeaderKey.TASK_NAME, ReservedHeaderKey.TASK_ID:
        reply.set_header(key, result.get_header(key))
    return reply
