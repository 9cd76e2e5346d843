"""Asks the owner of an object for its chunks, and waits; a signal ends the waiting at once."""

from __future__ import annotations

import logging
import secrets
from concurrent.futures import CancelledError
from typing import Any, Final

from zmqfl.cell.cell import Cell
from zmqfl.cell.handles import RequestHandle
from zmqfl.cell.message import Message
from zmqfl.cell.registry import check_name
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError, CellReturnCode
from zmqfl.streaming.download_messages import CHANNEL, CHUNK, DONE, ChunkQuestion, Done
from zmqfl.streaming.downloadable import DownloadStatus
from zmqfl.streaming.file_streamer import checked_timeout

log = logging.getLogger("zmqfl.streaming")

FIRST_PAUSE: Final = 2.0
"""Seconds between a time-out and the next attempt; they double."""
MAX_PAUSE: Final = 60.0
"""Seconds between two attempts at most."""


class Stopped(Exception):
    """The signal was triggered."""


class ChunkAsking:
    """Asks one owner for the chunks of one object. `stop`: a signal of its own, which the given one triggers too."""

    def __init__(
        self,
        owner: str,
        ref_id: str,
        timeout: float,
        cell: Cell,
        secure: bool,
        abort_signal: Signal | None,
        max_retries: int,
    ) -> None:
        if not isinstance(cell, Cell):
            raise ArgumentError(f"cell must be a Cell, not {type(cell).__name__}")
        self.owner = owner
        self.ref_id = check_name(ref_id, "ref_id")
        self.cell = cell
        self.stop = Signal(abort_signal)
        self.abort_signal = abort_signal
        self.download = secrets.token_hex(8)
        self._timeout = checked_timeout(timeout, "per_request_timeout")
        self._secure = secure
        self._max_retries = max_retries

    def ask(self, state: dict[str, Any]) -> RequestHandle:
        """Ask for a chunk, without waiting. Raises `ClosedError`."""
        question = ChunkQuestion(self.ref_id, self.download, state).payload()
        return self.cell.request(self.owner, CHANNEL, CHUNK, question, self._timeout, secure=self._secure)

    def tell(self, status: DownloadStatus, nonce: str = "", reason: str = "") -> RequestHandle:
        """Tell the owner how it ended, without waiting. Raises `ClosedError`."""
        done = Done(self.ref_id, self.download, status, nonce, reason).payload()
        return self.cell.request(self.owner, CHANNEL, DONE, done, self._timeout, secure=self._secure)

    def reply(self, handle: RequestHandle) -> Message:
        """Wait for a reply. Raises `Stopped` as soon as the signal is triggered."""

        def cancel(_: Signal) -> None:
            handle.cancel()

        self.stop.add_callback(cancel)
        try:
            return handle.reply()
        except CancelledError:
            raise Stopped from None
        except BaseException:  # interrupted, or this thread may not wait
            handle.cancel()
            raise
        finally:
            self.stop.remove_callback(cancel)

    def answer(self, state: dict[str, Any], handle: RequestHandle) -> Message:
        """The reply to `handle`, which asked for `state`; time-outs are tried again."""
        reply, pause = self.reply(handle), FIRST_PAUSE
        for _ in range(self._max_retries):
            if reply.return_code is not CellReturnCode.TIMEOUT:
                break
            log.info("%s: no chunk of %s from %s in time, asked again", self.cell.fqcn, self.ref_id, self.owner)
            if self.stop.wait(min(pause, MAX_PAUSE)):
                raise Stopped
            pause *= 2
            reply = self.reply(self.ask(state))
        return reply


def request_download_chunk(
    from_fqcn: str,
    ref_id: str,
    state: dict[str, Any],
    per_request_timeout: float,
    cell: Cell,
    secure: bool = False,
    abort_signal: Signal | None = None,
) -> Message:
    """Ask once for the chunk that belongs to `state` ({}: the first), and wait for the reply, whatever its return code;
    `zmqfl.streaming.download_messages` says what its payload is. For those who bring their own loop."""
    asking = ChunkAsking(from_fqcn, ref_id, per_request_timeout, cell, secure, abort_signal, 0)
    return asking.reply(asking.ask(state))
