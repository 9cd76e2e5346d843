"""The site that is asked: it validates requests, and streams what they want, each on a worker of its own.

request    malformed, unknown, not valid          the code and the reason, at once
           valid, and a worker is to be had       OK; the stream begins
           valid, and none is                     SERVICE_UNAVAILABLE
stream     fails                                  `failed` tells who asked, with the code and the reason
           who asked has given up (`give up`)     its abort signal is triggered; nobody is told
           the run is aborted                     the same, and `failed` tells who asked
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from zmqfl.cell.workers import Workers
from zmqfl.context.aux_payload import failed
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey, ReservedKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_reply
from zmqfl.context.signal import Signal
from zmqfl.errors import told
from zmqfl.streaming.retrieval_watch import origin_of
from zmqfl.streaming.retrievals import ID_KEY, known

if TYPE_CHECKING:
    from zmqfl.streaming.object_retriever import ObjectRetriever

MAX_STREAMS: Final = 256
"""Streams of one retriever that are under way at once."""
IDLE: Final = 0.1
"""Seconds after which a worker without work ends."""
NOTICE_TIMEOUT: Final = 10.0
"""Seconds for telling who asked that a stream has failed."""
KIND: Final = "retrieval"
"""Header that says what a message is about; a request has none."""
GIVE_UP: Final = "give up"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a cell has asked for."""

    id: str
    origin: str
    request: Shareable
    data: Any
    """What `validate_request` made of the request."""
    peer: FLContext | None
    signal: Signal
    """Ends its stream."""


class RetrievalService:
    """See the module. `retriever`: validates and streams. `topic`: that of the messages."""

    def __init__(self, retriever: ObjectRetriever, topic: str) -> None:
        self._retriever = retriever
        self._topic = topic
        self._wishes: dict[tuple[str, str], Wish] = {}
        self._lock = threading.Lock()
        self._workers = make_workers(f"zmqfl-streams:{topic}")

    def answer(self, request: Shareable, fl_ctx: FLContext) -> Shareable:
        """Begin what is asked for. The reply says OK, or why not."""
        id, origin = request.get(ID_KEY), origin_of(fl_ctx)
        if not isinstance(id, str) or not id:
            return failed(ReturnCode.BAD_REQUEST_DATA, f"the request has no {ID_KEY!r}, a str that is not empty")
        if not origin:
            return failed(ReturnCode.BAD_REQUEST_DATA, "the request does not say who asks")
        try:
            rc, data = self._retriever.validate_request(request, fl_ctx)
        except Exception as error:  # noqa: BLE001  who asks must learn of it
            self._retriever.log_exception(fl_ctx, f"the request of {origin} cannot be validated")
            return failed(ReturnCode.EXECUTION_EXCEPTION, told(error))
        if rc != ReturnCode.OK:
            return failed(known(rc), data if isinstance(data, str) else f"{origin} cannot have that")
        signal = Signal(parent=fl_ctx.get_run_abort_signal())
        return self._begin(Wish(id, origin, request, data, fl_ctx.get_peer_context(), signal), fl_ctx.get_engine())

    def give_up(self, request: Shareable, fl_ctx: FLContext) -> None:
        """Who asked waits no longer."""
        with self._lock:
            wish = self._wishes.get((origin_of(fl_ctx), str(request.get(ID_KEY))))
        if wish is not None:
            wish.signal.trigger()

    def _begin(self, wish: Wish, engine: Any) -> Shareable:
        key = wish.origin, wish.id
        with self._lock:
            if key in self._wishes:
                return failed(ReturnCode.BAD_REQUEST_DATA, f"{wish.id} was asked for before")
            self._wishes[key] = wish
        refused = partial(self._refused, wish, engine)
        if self._workers.submit(partial(self._run, wish, engine), 0, refused):
            return make_reply(ReturnCode.OK)
        self._forget(wish)
        return failed(ReturnCode.SERVICE_UNAVAILABLE, _TOO_MANY)

    # -- workers -------------------------------------------------------------------------------------------------------

    def _run(self, wish: Wish, engine: Any) -> None:
        with engine.new_context() as fl_ctx:
            fl_ctx.set_peer_context(wish.peer)
            fl_ctx.put(FLContextKey.PEER_FQCN, wish.origin, private=True, sticky=False)
            fl_ctx.put(ReservedKey.RUN_ABORT_SIGNAL, wish.signal, private=True, sticky=False)
            rc, reason = self._stream(wish, fl_ctx)
        self._forget(wish)
        if rc != ReturnCode.OK and not wish.signal.value:  # its own value: who asked has given up
            self._tell(wish, engine, rc, reason)

    def _stream(self, wish: Wish, fl_ctx: FLContext) -> tuple[ReturnCode, str]:
        if wish.signal.triggered:
            return ReturnCode.TASK_ABORTED, _ABORTED
        try:
            answer = self._retriever.do_stream(wish.origin, wish.request, fl_ctx, {ID_KEY: wish.id}, wish.data)
        except Exception as error:  # noqa: BLE001  as above
            self._retriever.log_exception(fl_ctx, f"the stream to {wish.origin} failed")
            return ReturnCode.EXECUTION_EXCEPTION, told(error)
        rc = known(answer[0] if isinstance(answer, tuple) else ReturnCode.OK if answer is None else answer)
        return rc, _ABORTED if rc == ReturnCode.TASK_ABORTED else "the stream failed; the log there says why"

    def _refused(self, wish: Wish, engine: Any) -> None:
        """All workers have begun to wait before it was its turn."""
        self._forget(wish)
        self._tell(wish, engine, ReturnCode.SERVICE_UNAVAILABLE, _TOO_MANY)

    def _tell(self, wish: Wish, engine: Any, rc: ReturnCode, reason: str) -> None:
        notice = Shareable({ID_KEY: wish.id})
        notice.set_header(KIND, FAILED)
        notice.set_header(ReservedHeaderKey.RC, rc)
        notice.set_header(ReservedHeaderKey.ERROR, reason)
        with engine.new_context() as fl_ctx:
            engine.send_aux_request([wish.origin], self._topic, notice, NOTICE_TIMEOUT, fl_ctx, optional=True)

    def _forget(self, wish: Wish) -> None:
        with self._lock:
            self._wishes.pop((wish.origin, wish.id), None)

    def __repr__(self) -> str:
        return f"<RetrievalService {self._topic}, {len(self._wishes)} streams>"


_TOO_MANY = f"{MAX_STREAMS} streams are under way; ask again later"
_ABORTED = "the run was aborted there"


def make_workers(name: str) -> Workers:
    """Threads that exist only while they have work."""
    return Workers(name, keep=0, most=MAX_STREAMS, cap=MAX_STREAMS, queue_bytes=0, idle_after=IDLE)
