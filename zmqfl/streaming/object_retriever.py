"""Retrieve: ask another site for an object, and wait until it has been streamed here.

    class Scores(ObjectRetriever):       # the same component at both sites
        ...
    engine.add_component("scores", Scores())
    engine.fire_event(EventType.START_RUN, fl_ctx)
    rc, data = scores.retrieve("site-1", fl_ctx, 10.0, round=3)

    asks       retrieve          ->  validate_request    is asked, and refuses or accepts at once
    receives   the stream        <-  do_stream           on a worker of its own
    asks       get_result        gives what `retrieve` returns

The stream goes to the cell that asked, so the server may ask its clients, and clients the server or each other; only
the cell that was asked can answer. Source: seed 001; reference "flare" 3.4, whose bugs are not copied.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from zmqfl.cell.registry import check_name
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import ReservedKey
from zmqfl.context.peer_context import public_props_of
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_reply
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError, PayloadError, UsageError, ZmqflError, told
from zmqfl.streaming.contracts import StreamableEngine, StreamContext
from zmqfl.streaming.file_streamer import checked_timeout
from zmqfl.streaming.retrieval_service import FAILED, GIVE_UP, KIND, RetrievalService, make_workers
from zmqfl.streaming.retrieval_watch import origin_of, watched
from zmqfl.streaming.retrievals import ID_KEY, Retrieval, Retrievals, Retrieved, Taken, known


class ObjectRetriever(FLComponent, ABC):
    """See the module. Subclasses say what an object is, and how it is streamed.

    `topic`: that of the streams; the name of the class unless given. Two retrievers of one class at a site need two
    topics. The channel is the name of the class.
    """

    is_secure = False
    """Whether requests are sealed for the site that is asked."""

    def __init__(self, topic: str | None = None) -> None:
        self.channel = type(self).__name__
        self.topic = self.channel if topic is None else check_name(topic, "topic")
        self._aux_topic = f"{self.channel}:{self.topic}"
        self._retrievals = Retrievals()
        self._service = RetrievalService(self, self._aux_topic)
        self._asking = make_workers(f"zmqfl-retrievals:{self._aux_topic}")
        self._engine: Any = None
        self._problem: Exception | None = None

    # -- what a subclass says ------------------------------------------------------------------------------------------

    @abstractmethod
    def register_stream_processing(
        self, channel: str, topic: str, fl_ctx: FLContext, stream_done_cb: Any, **kwargs: Any
    ) -> None:
        """Receive the objects of (channel, topic) by the streamer that sends them; it calls `stream_done_cb`."""

    @abstractmethod
    def validate_request(self, request: Shareable, fl_ctx: FLContext) -> tuple[str, Any]:
        """Look at a request, which holds the attributes given to `retrieve`, at the site that is asked.

        Returns (OK, what `do_stream` needs), or (another code, why: a text for who asks).
        """

    @abstractmethod
    def do_stream(
        self, target: str, request: Shareable, fl_ctx: FLContext, stream_ctx: StreamContext, validated_data: Any
    ) -> Any:
        """Stream what is wanted to `target`, with this context, and wait for the end.

        Returns what the streamer does: a code, or a tuple that begins with one; None counts as OK. The abort signal of
        `fl_ctx` is triggered too when `target` waits no longer.
        """

    @abstractmethod
    def get_result(self, stream_ctx: StreamContext) -> tuple[str, Any]:
        """(code, the object) of a stream that has ended here."""

    # -- who asks ------------------------------------------------------------------------------------------------------

    def retrieve(self, from_site: str, fl_ctx: FLContext, timeout: float, **obj_attrs: Any) -> tuple[ReturnCode, Any]:
        """Ask a site for the object that `obj_attrs` describe, and wait. Returns (code, the object or None).

        `timeout`: seconds without progress; an object that keeps coming may take longer.

            OK                                   it is here
            BAD_REQUEST_DATA, ...                the site has refused, as its `validate_request` says
            TOPIC_UNKNOWN                        it has no such retriever
            COMMUNICATION_ERROR, ERROR           it cannot be reached, or is gone
            TIMEOUT                              nothing has come for the time-out
            TASK_ABORTED                         the run was aborted, here or there
            SERVICE_UNAVAILABLE                  too many are under way
            EXECUTION_EXCEPTION                  streaming has failed; the log says where, and why

        Raises `ArgumentError`, `EncodeError` for attributes that cannot travel, `WouldDeadlockError` inside a running
        event loop, and `RuntimeError` where the retriever was not started or has no engine that streams.
        """
        retrieved = self.fetch(from_site, fl_ctx, timeout, obj_attrs)
        if retrieved.rc != ReturnCode.OK:
            text = f"{self.channel} {self.topic}: nothing from {from_site}: {retrieved.rc}: {retrieved.reason}"
            self.log_warning(fl_ctx, text, fire_event=False)
        return retrieved.rc, retrieved.data

    def fetch(
        self,
        from_site: str,
        fl_ctx: FLContext,
        timeout: float,
        obj_attrs: Mapping[str, Any],
        taken: Taken | None = None,
    ) -> Retrieved:
        """Like `retrieve`, and the reason of a failure as well. `taken(bytes)` hears of each chunk."""
        seconds = checked_timeout(timeout, "timeout")
        engine = self._checked(from_site, fl_ctx)
        if ID_KEY in obj_attrs:
            raise ArgumentError(f"{ID_KEY!r} is no name for an attribute; the retriever uses it")
        if (signal := fl_ctx.get_run_abort_signal()) is not None and signal.triggered:
            return Retrieved(ReturnCode.TASK_ABORTED, reason="the run is aborted")
        retrieval = self._retrievals.begin(cell_of(engine, from_site), taken)
        try:
            retrieval.check_may_wait()
            request = Shareable({**obj_attrs, ID_KEY: retrieval.id})
            self._ask(retrieval, from_site, request, seconds, fl_ctx)
            return self._wait(retrieval, seconds, signal)
        except BaseException as error:
            retrieval.give_up(ReturnCode.EXECUTION_EXCEPTION, told(error))
            raise
        finally:
            self._retrievals.forget(retrieval)
            if retrieval.is_given_up:
                self._give_up(retrieval, from_site, fl_ctx)

    def _ask(self, retrieval: Retrieval, site: str, request: Shareable, timeout: float, fl_ctx: FLContext) -> None:
        """Have the request sent by a worker: the abort of the run must not have to wait for the reply."""
        engine = fl_ctx.get_engine()
        own: FLContext = engine.new_context()
        for key, value in public_props_of(fl_ctx).items():
            own.put(key, value, private=False, sticky=False)

        def ask() -> None:
            try:
                replies = engine.send_aux_request(
                    [site], self._aux_topic, request, timeout, own, optional=True, secure=self.is_secure
                )
                retrieval.answered(replies.get(site))
            except (UsageError, PayloadError) as error:
                retrieval.fail(error)
            except Exception as error:  # noqa: BLE001  who waits must learn of it
                self.log_exception(own, f"{site} cannot be asked")
                retrieval.refuse(ReturnCode.EXECUTION_EXCEPTION, told(error))

        def refused() -> None:
            retrieval.refuse(ReturnCode.SERVICE_UNAVAILABLE, "too many are being asked; ask again later")

        if not self._asking.submit(ask, 0, refused):
            refused()

    @staticmethod
    def _wait(retrieval: Retrieval, timeout: float, signal: Signal | None) -> Retrieved:
        def abort(_: Signal) -> None:
            retrieval.give_up(ReturnCode.TASK_ABORTED, "the run was aborted")

        if signal is not None:
            signal.add_callback(abort)
        try:
            return retrieval.wait(timeout)
        finally:
            if signal is not None:
                signal.remove_callback(abort)

    def _give_up(self, retrieval: Retrieval, site: str, fl_ctx: FLContext) -> None:
        """Tell the site, as far as that is possible: should this be lost, its stream is refused here."""
        notice = Shareable({ID_KEY: retrieval.id})
        notice.set_header(KIND, GIVE_UP)
        try:
            fl_ctx.get_engine().send_aux_request([site], self._aux_topic, notice, 0.0, fl_ctx, optional=True)
        except ZmqflError:
            self.log_debug(fl_ctx, f"{site} was not told that nobody waits for it")

    # -- both sides ----------------------------------------------------------------------------------------------------

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Take requests and streams from START_RUN on."""
        if event_type == EventType.START_RUN:
            try:
                self.register(fl_ctx)
            except Exception as error:
                self.system_panic(f"{self.name}: {error}", fl_ctx)  # else only the log would ever say so
                raise

    def register(self, fl_ctx: FLContext) -> None:
        """Take requests and streams from now on: for programs that have no START_RUN. Again: does nothing.

        Raises `ArgumentError` (a ValueError) when another retriever has the topic, and `RuntimeError` where the engine
        of the context does not stream. `retrieve` raises the same from then on.
        """
        engine = fl_ctx.get_engine()
        if engine is not None and engine is self._engine:
            return
        try:
            self._register(engine, fl_ctx)
        except Exception as error:
            self._problem = error
            raise
        self._engine, self._problem = engine, None

    def _register(self, engine: Any, fl_ctx: FLContext) -> None:
        if not isinstance(engine, StreamableEngine) or not hasattr(engine, "register_aux_message_handler"):
            what = "no engine" if engine is None else f"a {type(engine).__name__}"
            raise RuntimeError(f"this context has {what}, and a retriever needs one that streams and has aux messages")
        try:
            engine.register_aux_message_handler(self._aux_topic, self._heard)
        except ValueError as error:
            text = f"a {self.channel} with topic {self.topic!r} is at this site already; give each a topic of its own"
            raise ArgumentError(f"{text}, the same at both ends") from error
        own = fl_ctx.clone()
        own.put(ReservedKey.ENGINE, watched(engine, self._retrievals), private=True, sticky=False)
        self.register_stream_processing(self.channel, self.topic, own, self._done)

    def _heard(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        match request.get_header(KIND):
            case None:
                return self._service.answer(request, fl_ctx)
            case kind if kind == GIVE_UP:
                self._service.give_up(request, fl_ctx)
            case kind if kind == FAILED:
                retrieval = self._retrievals.find(request.get(ID_KEY), origin_of(fl_ctx))
                if retrieval is not None:
                    reason = str(request.get_header(ReservedHeaderKey.ERROR, ""))
                    retrieval.refuse(known(request.get_return_code(ReturnCode.ERROR)), reason)
        return make_reply(ReturnCode.OK)

    def _done(self, stream_ctx: StreamContext, fl_ctx: FLContext, **kwargs: Any) -> None:
        """A stream has ended here."""
        retrieval = self._retrievals.find(stream_ctx.get(ID_KEY), origin_of(fl_ctx))
        if retrieval is None:
            self.log_debug(fl_ctx, "a stream has ended that nobody waits for any more")
            return
        try:
            rc, data = self.get_result(stream_ctx)
        except Exception as error:  # noqa: BLE001  as above
            self.log_exception(fl_ctx, "the result cannot be had")
            retrieval.failure = ReturnCode.EXECUTION_EXCEPTION, told(error)
            rc, data = ReturnCode.EXECUTION_EXCEPTION, None
        retrieval.end(known(rc), data)

    def _checked(self, from_site: object, fl_ctx: object) -> Any:
        if not isinstance(from_site, str) or not from_site:
            raise ArgumentError(f"from_site must be the name of a site, not {from_site!r}")
        if not isinstance(fl_ctx, FLContext):
            raise ArgumentError(f"fl_ctx must be an FLContext, not {type(fl_ctx).__name__}")
        if self._problem is not None:
            raise self._problem.with_traceback(None)
        engine = fl_ctx.get_engine()
        if self._engine is None or engine is not self._engine:
            raise RuntimeError(f"{self.name} was not started at this site: add it to the engine and fire START_RUN")
        return engine


def cell_of(engine: Any, site: str) -> str:
    """The cell of a site, from which its stream will come."""
    resolve = getattr(engine, "cell_of", None)
    cell: str = site if resolve is None else resolve(site)
    return cell
