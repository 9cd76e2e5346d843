"""The callee's side of a cell: from a call that the node invokes to the outcome that it is told.

    reactor   invoke         -> a worker, or refused
    worker    what is sealed is opened first; a reply to it is sealed for the caller, and so is what went wrong
    worker    a payload by reference is pulled first; the rest follows, on a worker, when it is there
    worker    decode, filters, handler
    handler   returns        a value or Message            -> the reply
                             a future or Handle            -> the reply when it ends
                             None                          -> the reply comes by `send_reply`, or the time-out
              is a coroutine                               -> runs on the loop that registered it
              raises         ServiceUnavailable and kin    -> their code; anything else: process_exception
    any       filters, encode -> node.reply

A handler that nobody waits for any more is cancelled if it is a coroutine; a thread runs to its end, unheard.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zmqfl.cell import filters
from zmqfl.cell.filters import Filters
from zmqfl.cell.handles import Handle
from zmqfl.cell.identity import no_card
from zmqfl.cell.message import Message, MessageHeaderKey, strip_reserved, user_headers
from zmqfl.cell.references import References
from zmqfl.cell.registry import Registry
from zmqfl.cell.workers import Workers
from zmqfl.config import CellConfig
from zmqfl.errors import ArgumentError, CellReturnCode, DecodeError, EncodeError, InvalidSession, RequestFailed
from zmqfl.protocol.commands import Call, Outcome
from zmqfl.protocol.responder import MAX_ERROR
from zmqfl.protocol.transfers import INTERNAL
from zmqfl.wire import payload
from zmqfl.wire.codecs import PAYLOAD_CODEC, REFERENCE, SEALED
from zmqfl.wire.messages import Buffer
from zmqfl.wire.references import Table, place_refs

if TYPE_CHECKING:
    from zmqfl.cell.sealed_calls import SealedCalls

log = logging.getLogger("zmqfl.cell")


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered callback."""

    cb: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    loop: asyncio.AbstractEventLoop | None
    """Where its coroutines run; None: on the worker itself."""
    passes_through: bool = False
    """It gets a `LargeObjectRef` for each piece of a large payload, and not the piece."""


class Serving:
    """See the module. `reply` takes an outcome to the node; `clock` is the node's."""

    def __init__(
        self,
        fqcn: str,
        config: CellConfig,
        workers: Workers,
        call_filters: Filters,
        references: References,
        reply: Callable[[Call, Outcome], None],
        clock: Callable[[], float],
        seals: SealedCalls | None,
    ) -> None:
        self.handlers: Registry[Handler] = Registry()
        self._fqcn = fqcn
        self._config = config
        self._workers = workers
        self._filters = call_filters
        self._references = references
        self._reply = reply
        self._clock = clock
        self._seals = seals
        self._reply_keys: dict[Call, bytes] = {}
        """Calls that came sealed, and what their replies are sealed by."""
        self._deferred: dict[tuple[str, int], Call] = {}
        self._cancels: dict[Call, Callable[[], object]] = {}
        """How to cancel what serves a call."""

    def register(
        self,
        channel: str,
        topic: str,
        cb: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        passes_through: bool = False,
    ) -> None:
        """Serve (channel, topic) by `cb` from now on, in place of who did."""
        if str(channel).startswith(INTERNAL):
            raise ArgumentError(
                f"channel {channel!r} is the cells' own; choose a name that does not begin with {INTERNAL!r}"
            )
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        self.handlers.set(channel, topic, Handler(cb, args, kwargs, loop, passes_through))

    # -- the reactor's thread --------------------------------------------------------------------------------------

    def invoke(self, call: Call) -> bool:
        """Have a worker run it; False when none can."""

        def refused() -> None:
            text = f"{self._fqcn}: all workers are blocked"
            self._end(call, Outcome(CellReturnCode.SERVICE_UNAVAILABLE, text))

        return self._workers.submit(lambda: self._serve(call), call.size, refused)

    def revoke(self, call: Call) -> None:
        """Nobody waits for it any more."""
        call.revoked = True
        self._undefer(call)
        self._reply_keys.pop(call, None)
        if (cancel := self._cancels.pop(call, None)) is not None:
            cancel()

    # -- workers ---------------------------------------------------------------------------------------------------

    def _serve(self, call: Call) -> None:
        if call.revoked:
            return
        if call.expects_reply:
            self._deferred[call.origin, call.id] = call
        try:
            if call.codec == SEALED:
                self._unseal(call)
            elif call.codec == REFERENCE:
                self._follow(call, self._table(call))
            else:
                self._run(call, self._value(call))
        except BaseException as error:  # noqa: BLE001  SystemExit too: the caller must not wait for its time-out
            self._failed(call, error)

    def _unseal(self, call: Call) -> None:
        if self._seals is None:
            raise RequestFailed(no_card(self._fqcn), code=CellReturnCode.COMM_ERROR)
        try:
            opened = self._seals.open_call(call)
        except InvalidSession as error:  # nothing is executed, and the caller makes a new session
            self._end(call, self._seals.forgotten(call, error))
            return
        call.headers, call.codec, call.bodies = opened.headers, opened.codec, opened.bodies
        self._reply_keys[call] = opened.reply_key
        try:
            self._run(call, self._value(call))
        finally:
            if not call.expects_reply:
                self._reply_keys.pop(call, None)

    def _follow(self, call: Call, table: Table) -> None:
        handler = self.handlers.find(call.channel, call.topic)
        if handler is not None and handler.passes_through:
            self._run(call, place_refs(call.bodies[1], table))
        else:
            self._fetch(call, table)

    def _fetch(self, call: Call, table: Table) -> None:
        """Pull the payload, unless a filter that looks at headers only answers. No worker waits meanwhile."""
        if chain := self._filters.early_chain(call.channel, call.topic):
            answer = filters.run(chain, self._received(call, place_refs(call.bodies[1], table)))
            if answer is not None:
                self._answered(call, answer)
                return

        def done(frames: list[Buffer], error: Exception | None) -> None:
            self._cancels.pop(call, None)

            def go_on() -> None:
                self._fetched(call, frames, error)

            def refused() -> None:
                self._end(call, Outcome(CellReturnCode.SERVICE_UNAVAILABLE, f"{self._fqcn}: all workers are blocked"))

            if not self._workers.submit(go_on, 0, refused):
                refused()

        fetch = self._references.fetch(call.bodies, table, done)
        self._cancels[call] = fetch.abort
        if call.revoked or fetch.is_over:  # between the look at the top and now
            self._cancels.pop(call, None)
            fetch.abort()

    def _fetched(self, call: Call, frames: list[Buffer], error: Exception | None) -> None:
        if call.revoked:
            return
        try:
            if error is not None:
                raise error
            value = payload.decode(frames, adopt=True, most=len(frames))
        except BaseException as failure:  # noqa: BLE001  as above
            if not call.expects_reply:
                log.warning("%s: %s:%s of %s is lost: %s", self._fqcn, call.channel, call.topic, call.origin, failure)
            self._failed(call, failure)
        else:
            call.bodies = ()
            self._run(call, value, headers_seen=True)

    def _run(self, call: Call, value: Any, headers_seen: bool = False) -> None:
        """Filters and handler. The time-out of the request begins here."""
        call.started = self._clock()
        try:
            request = self._received(call, value)
            answer = self._filters.on_request(request, call.channel, call.topic, headers_seen)
            if answer is None:
                answer = self._handle(call, request)
        except BaseException as error:  # noqa: BLE001  as above
            self._failed(call, error)
        else:
            self._answered(call, answer)

    def _value(self, call: Call) -> Any:
        if call.codec != PAYLOAD_CODEC:
            raise DecodeError(f"payload codec {call.codec} is not known to {self._fqcn}")
        value = payload.decode(call.bodies)
        call.bodies = ()  # the value has its own memory now
        return value

    def _table(self, call: Call) -> Table:
        passes = bool(call.headers.get(MessageHeaderKey.PASS_THROUGH))
        return self._references.read(call.bodies, call.origin, passes)

    def _received(self, call: Call, value: Any) -> Message:
        headers = strip_reserved(call.headers)
        headers[MessageHeaderKey.MSG_TYPE] = "req"
        headers[MessageHeaderKey.ORIGIN] = call.origin
        headers[MessageHeaderKey.DESTINATION] = self._fqcn
        headers[MessageHeaderKey.CHANNEL] = call.channel
        headers[MessageHeaderKey.TOPIC] = call.topic
        headers[MessageHeaderKey.REQ_ID] = call.id
        headers[MessageHeaderKey.REPLY_EXPECTED] = call.expects_reply
        if call in self._reply_keys:
            headers[MessageHeaderKey.SECURE] = True
        return Message(headers, value)

    def _handle(self, call: Call, request: Message) -> Any:
        handler = self.handlers.find(call.channel, call.topic)
        if handler is None:
            text = f"no callback is registered for {call.channel}:{call.topic} at {self._fqcn}"
            raise RequestFailed(text, code=CellReturnCode.PROCESS_EXCEPTION)
        answer = handler.cb(request, *handler.args, **handler.kwargs)
        if not inspect.iscoroutine(answer):
            return answer
        if handler.loop is None or handler.loop.is_closed():
            return asyncio.run(self._run_here(call, answer))
        task = asyncio.run_coroutine_threadsafe(answer, handler.loop)
        self._cancels[call] = task.cancel
        if call.revoked:  # between the look at the top and now
            task.cancel()
        return task

    async def _run_here(self, call: Call, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """On a loop that lives as long as the call, in the worker."""
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(coroutine)

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has just ended
                loop.call_soon_threadsafe(task.cancel)

        self._cancels[call] = cancel
        if call.revoked:
            task.cancel()
        try:
            return await task
        finally:
            self._cancels.pop(call, None)

    def _answered(self, call: Call, answer: Any) -> None:
        match answer:
            case None:  # `send_reply` will come, or the time-out
                return
            case concurrent.futures.Future() | Handle():
                answer.add_done_callback(lambda future: self._resume(call, future))
            case asyncio.Future():
                loop = answer.get_loop()
                loop.call_soon_threadsafe(answer.add_done_callback, lambda future: self._resume(call, future))
            case _:
                self.finish(call, answer)

    def _resume(self, call: Call, future: Any) -> None:
        """In the thread that ended it, which may be the reactor or a loop: encoding is for a worker, if one is free."""

        def here() -> None:
            self._ended(call, future)

        if not self._workers.submit(here, 0, here):
            here()  # the handler has run: a reply must not depend on a worker

    def _ended(self, call: Call, future: Any) -> None:
        """A future that a handler returned, or its coroutine, has ended."""
        self._cancels.pop(call, None)
        try:
            answer = future.result()
        except BaseException as error:  # noqa: BLE001  as above
            self._failed(call, error)
        else:
            self._answered(call, answer)

    def finish(self, call: Call, answer: Any) -> None:
        """Reply with a value or a Message."""
        reply = answer if isinstance(answer, Message) else Message(payload=answer)
        try:
            chain = self._filters.outgoing_reply.matching(call.channel, call.topic)
            reply = filters.run(chain, reply) or reply
            outcome = self._outcome(call, reply)
        except BaseException as error:  # noqa: BLE001  as above
            self._failed(call, error)
        else:
            self._end(call, outcome)

    def deferred(self, origin: str, id: int) -> Call | None:
        """The call that waits for a `send_reply`, if there is one."""
        return self._deferred.get((origin, id))

    def when_revoked(self, origin: str, id: int, cb: Callable[[], object]) -> None:
        """Have `cb` called when nobody waits for the reply any more; now, when that is so already. (A handler.)"""
        call = self._deferred.get((origin, id))
        if call is not None:
            self._cancels[call] = cb
        if call is None or (call.revoked and self._cancels.pop(call, None) is not None):
            cb()

    def _outcome(self, call: Call, reply: Message) -> Outcome:
        headers = user_headers(reply)
        is_sealed = call in self._reply_keys
        takers = (call.origin,) if call.expects_reply and not call.revoked and not is_sealed else ()
        encoded = self._references.encode(reply.payload, "reply", takers, asks=False)
        if is_sealed and encoded.codec == REFERENCE:
            raise RequestFailed("a sealed request gets no reference for a reply; send the payload itself")
        if encoded.passes:
            headers[MessageHeaderKey.PASS_THROUGH] = True
        outcome = Outcome(reply.return_code, _text(reply.error), encoded.codec, headers, encoded.bodies)
        if call.revoked:  # meanwhile
            encoded.free()
        return outcome

    def _failed(self, call: Call, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError | concurrent.futures.CancelledError):
            code, text = CellReturnCode.PROCESS_EXCEPTION, "the handler was cancelled"
        elif isinstance(error, RequestFailed):
            code, text = error.code, error.reason
        elif isinstance(error, DecodeError):
            code, text = CellReturnCode.INVALID_REQUEST, str(error)
        elif isinstance(error, EncodeError):
            code, text = CellReturnCode.PROCESS_EXCEPTION, f"the reply cannot travel: {error}"
        else:
            code, text = CellReturnCode.PROCESS_EXCEPTION, f"{type(error).__name__}: {error}"
            log.warning("%s: handler of %s:%s failed", self._fqcn, call.channel, call.topic, exc_info=error)
        self._end(call, Outcome(code, _text(text)))

    def _end(self, call: Call, outcome: Outcome) -> None:
        self._undefer(call)
        self._cancels.pop(call, None)
        if (key := self._reply_keys.pop(call, None)) is not None and self._seals is not None:
            outcome = self._seals.seal_outcome(call, key, outcome)
        if call.expects_reply and not call.revoked:
            self._reply(call, outcome)

    def _undefer(self, call: Call) -> None:
        if self._deferred.get((call.origin, call.id)) is call:  # else a newer start of the caller has the number
            self._deferred.pop((call.origin, call.id), None)

    def is_sealed(self, call: Call) -> bool:
        """Whether it came sealed, so that its reply is."""
        return call in self._reply_keys


def _text(error: object) -> str:
    """An error text that can travel: not too long, and lone surrogates, as in names of files, as escapes."""
    return str(error)[:MAX_ERROR].encode(errors="backslashreplace").decode()
