"""What a site has asked others to stream to it, and waits for.

    waiting     a chunk arrives                  waiting    its time begins anew
    waiting     everything is there              ending     the time does not count any more: the rest is done here
    waiting     no progress for the time-out     over       TIMEOUT
    waiting     the run is aborted               over       TASK_ABORTED
    waiting     refused, or failed elsewhere     over       the code of the other site
    ending      the result is there              over       the code and the result of the stream

A stream is admitted only once, and only from the cell that was asked. What comes for a retrieval that is over is
refused, so nothing of it stays here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from zmqfl.cell.handles import Handle
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable
from zmqfl.errors import AbortRun, InvalidRequest

ID_KEY: Final = "_rtr_tx_id_"
"""Where the request and the context of its stream hold the id (reference "flare" 3.4)."""

_UNSURE: Final = (ReturnCode.TIMEOUT, ReturnCode.COMMUNICATION_ERROR)
"""After these the other site may nevertheless have begun."""
_CODES: Final = frozenset(str(code) for code in ReturnCode)

Taken = Callable[[int], object]
"""Told how many bytes each chunk has, in the worker that takes it."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """How a retrieval ended."""

    rc: ReturnCode
    data: Any = None
    """What was retrieved; None unless `rc` is OK."""
    reason: str = ""
    """What went wrong, as the site says where it did."""


class Retrieval(Handle[Retrieved]):
    """One request under way; see the module. `cell`: the one that was asked.

    It ends with a `Retrieved` whatever happens, and fails only for what the caller did wrong.
    """

    def __init__(
        self, id: str, cell: str, taken: Taken | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(on_cancel=lambda: None, on_reactor=lambda: False)
        self.id = id
        self.cell = cell
        self.is_streaming = False
        """Whether its stream has begun."""
        self.is_given_up = False
        """Whether it ended here, without the other site."""
        self.failure: tuple[ReturnCode, str] | None = None
        """How its stream ended and why, where the cell that ended it said so."""
        self._taken = taken
        self._clock = clock
        self._deciding = threading.Lock()
        self._is_ending = False
        self._moved = clock()

    def wait(self, timeout: float) -> Retrieved:
        """Wait for the end; it comes after `timeout` seconds without progress at the latest.

        Raises what the caller did wrong, and as `Handle.result` does.
        """
        while True:
            left = self._moved + timeout - self._clock()
            try:
                return self.result(max(left, 0.0) if not self._is_ending else None)
            except TimeoutError:
                if self._moved + timeout <= self._clock():
                    self.give_up(ReturnCode.TIMEOUT, f"nothing has come from {self.cell} for {timeout:g} s")

    def check_may_wait(self) -> None:
        """Raises `WouldDeadlockError` where `wait` would, before anybody is asked."""
        self._check_may_wait()

    def touch(self, size: int | None = None) -> None:
        """There is progress; with `size`, a chunk of so many bytes."""
        self._moved = self._clock()
        if size is not None and self._taken is not None:
            self._taken(size)

    def check(self) -> None:
        """Raises `AbortRun` when nobody waits for it any more."""
        if self.done():
            raise AbortRun("nobody waits for it any more")

    def begin_end(self) -> bool:
        """Everything is there, and from now on only the rest here is waited for. False: it is over already."""
        with self._deciding:
            self._is_ending = not self.done()
        return self._is_ending

    def give_up(self, rc: ReturnCode, reason: str) -> None:
        """Wait for it no longer, unless everything is there."""
        with self._deciding:
            if not self._is_ending and not self.done():
                self.is_given_up = True
                self._finish(Retrieved(rc, reason=reason))

    def refuse(self, rc: ReturnCode, reason: str) -> None:
        """The other site says that it will not come."""
        with self._deciding:
            if not self._is_ending:
                self._finish(Retrieved(rc, reason=reason))

    def answered(self, reply: object) -> None:
        """The site has replied to the request. Once its stream has begun, that is the better answer."""
        if not isinstance(reply, Shareable):
            self.refuse(ReturnCode.EXECUTION_EXCEPTION, f"{self.cell} has given no reply")
        elif (rc := reply.get_return_code()) == ReturnCode.OK:
            self.touch()
        elif not self.is_streaming:
            end = self.give_up if rc in _UNSURE else self.refuse
            end(known(rc), str(reply.get_header(ReservedHeaderKey.ERROR, "")))

    def fail(self, error: BaseException) -> None:
        """It could not even be asked for."""
        with self._deciding:
            self._fail(error)

    def end(self, rc: ReturnCode, data: Any) -> None:
        """Its stream has ended."""
        reason = ""
        if rc != ReturnCode.OK:
            data = None
            failed, reason = self.failure or (rc, "")
            if rc == ReturnCode.TASK_ABORTED:  # so a stream ends here that failed elsewhere
                rc = failed
        with self._deciding:
            self._finish(Retrieved(rc, data, reason))

    def _about(self) -> str:
        return f" {self.id} from {self.cell}"


class Retrievals:
    """All of one retriever."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_id: dict[str, Retrieval] = {}
        self._lock = threading.Lock()

    def begin(self, cell: str, taken: Taken | None = None) -> Retrieval:
        """A new one; call `forget` when it is over."""
        retrieval = Retrieval(str(uuid4()), cell, taken, self._clock)
        with self._lock:
            self._by_id[retrieval.id] = retrieval
        return retrieval

    def forget(self, retrieval: Retrieval) -> None:
        """It is over."""
        with self._lock:
            self._by_id.pop(retrieval.id, None)

    def find(self, id: object, origin: str) -> Retrieval | None:
        """The one of this id, if `origin` was asked for it."""
        retrieval = self._by_id.get(id) if isinstance(id, str) else None
        return retrieval if retrieval is not None and retrieval.cell == origin else None

    def admit(self, id: object, origin: str) -> Retrieval:
        """The one that a stream of `origin` is for. Raises `InvalidRequest` for a stream that nobody here asked for."""
        retrieval = self.find(id, origin)
        with self._lock:
            if retrieval is None or retrieval.done() or retrieval.is_streaming:
                raise InvalidRequest(f"nobody here waits for this stream of {origin}; it is over, or was never asked")
            retrieval.is_streaming = True
        retrieval.touch()
        return retrieval

    def __len__(self) -> int:
        return len(self._by_id)

    def __repr__(self) -> str:
        return f"<Retrievals {', '.join(self._by_id) or 'none'}>"


def known(rc: object) -> ReturnCode:
    """`rc` as one of ours; ERROR where it is none, or is False."""
    if rc is True:
        return ReturnCode.OK
    return ReturnCode(rc) if isinstance(rc, str) and rc in _CODES else ReturnCode.ERROR
