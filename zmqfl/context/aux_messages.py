"""Requests between components of a run, beside its tasks: a topic, a Shareable, and the public props of the sender.

    caller    checks its arguments                    else ArgumentError, nothing is sent
              sends [Shareable, public props]         secure or not, as asked
    callee    request or props are malformed          BAD_REQUEST_DATA, BAD_PEER_CONTEXT; without props
                                                      MISSING_PEER_CONTEXT
              no handler for the topic                TOPIC_UNKNOWN
              calls it in a new context               HANDLER_EXCEPTION when it raises, or returns no Shareable
              sends [Shareable, public props]         with the cookies of the request
    caller    one reply per target, whatever happens  else by the code of its cell: COMMUNICATION_ERROR, TIMEOUT, ...

A handler is called with `topic=`, `request=`, `fl_ctx=`. The context is a new one, with the peer's props as its peer
context and the name of the cell that asked as `FLContextKey.PEER_FQCN`; it is finalised before the reply leaves.
Source: reference "flare" 2.7, without its bugs.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from zmqfl.cell.cell import Cell
from zmqfl.cell.handles import RequestHandle
from zmqfl.cell.message import Message
from zmqfl.cell.registry import check_name, check_seconds
from zmqfl.context.aux_payload import failed, pack_request, unpack, unpack_reply
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.context.peer_context import peer_context_of, public_props_of
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_reply
from zmqfl.errors import ArgumentError, ClosedError, DecodeError

log = logging.getLogger("zmqfl.context")

CHANNEL = "aux_communication"
"""The cell channel; the topic of a message is its cell topic."""

AuxHandler = Callable[..., Shareable | None]


class AuxMessages:
    """See the module. `cell` serves the channel from now on.

    `new_context` makes the context of each request that comes. `resolve` turns the name of a target into the name of
    its cell; names of cells are themselves unless it is given.
    """

    def __init__(
        self, cell: Cell, new_context: Callable[[], FLContext], resolve: Callable[[str], str] | None = None
    ) -> None:
        self._cell = cell
        self._new_context = new_context
        self._resolve = resolve or str
        self._handlers: dict[str, AuxHandler] = {}
        self._lock = threading.Lock()
        cell.register_request_cb(CHANNEL, "*", self._serve)

    # -- callee ------------------------------------------------------------------------------------------------------

    def register_aux_message_handler(self, topic: str, message_handle_func: AuxHandler) -> None:
        """Have `message_handle_func(topic=, request=, fl_ctx=)` answer requests; its reply is a Shareable, or None: OK.

        Raises `ArgumentError` (a TypeError and a ValueError) for a topic or function that cannot be used, and for a
        topic that has a handler.
        """
        check_name(topic, "topic")
        if not callable(message_handle_func):
            raise ArgumentError(f"message_handle_func must be callable, not {type(message_handle_func).__name__}")
        if inspect.iscoroutinefunction(message_handle_func):
            raise ArgumentError(f"the handler of topic {topic!r} is a coroutine function; give a plain one")
        with self._lock:
            if topic in self._handlers:
                raise ArgumentError(f"topic {topic!r} has a handler; choose another topic")
            self._handlers[topic] = message_handle_func

    def _serve(self, message: Message) -> list[Any]:
        reply, props = self._answer(message)
        if reply.get_return_code() != ReturnCode.OK:
            log.debug("%s: aux %s of %s: %r", self._cell.fqcn, message.topic, message.origin, reply)
        return [reply.to_payload(), props]

    def _answer(self, message: Message) -> tuple[Shareable, dict[str, Any]]:
        """The reply to a message, and the public props to send with it."""
        try:
            request, props = unpack(message.payload)
        except DecodeError as error:
            return failed(ReturnCode.BAD_REQUEST_DATA, error), {}
        reply, public = self._answer_request(message, request, props)
        if (jar := request.get_cookie_jar()) is not None:
            reply = Shareable(reply)  # the handler may give the same one to everybody
            reply.set_cookie_jar(jar)
        return reply, public

    def _answer_request(self, message: Message, request: Shareable, props: Any) -> tuple[Shareable, dict[str, Any]]:
        handler = self._handlers.get(message.topic)
        if handler is None:
            text = f"no aux handler for topic {message.topic!r} at {self._cell.fqcn}"
            return failed(ReturnCode.TOPIC_UNKNOWN, text), {}
        if props is None:
            return failed(ReturnCode.MISSING_PEER_CONTEXT, "the request brought no public props"), {}
        try:
            peer = peer_context_of(props)
        except DecodeError as error:
            return failed(ReturnCode.BAD_PEER_CONTEXT, error), {}
        request.set_header(ReservedHeaderKey.TOPIC, message.topic)
        request.set_peer_props(peer.get_all_public_props())
        try:
            return self._handled(handler, message, request, peer)
        except Exception as error:  # whatever it is, the caller gets a reply
            log.exception("%s: handler of aux topic %s failed", self._cell.fqcn, message.topic)
            return failed(ReturnCode.HANDLER_EXCEPTION, f"{type(error).__name__}: {error}"), {}

    def _handled(
        self, handler: AuxHandler, message: Message, request: Shareable, peer: FLContext
    ) -> tuple[Shareable, dict[str, Any]]:
        with self._new_context() as fl_ctx:
            fl_ctx.set_peer_context(peer)
            fl_ctx.put(FLContextKey.PEER_FQCN, message.origin, private=True, sticky=False)
            reply: object = handler(topic=message.topic, request=request, fl_ctx=fl_ctx)
            public = public_props_of(fl_ctx)
        if reply is None:
            return make_reply(ReturnCode.OK), public
        if isinstance(reply, Shareable):
            return reply, public
        raise TypeError(f"the handler returned {type(reply).__name__}, not a Shareable")

    # -- caller ------------------------------------------------------------------------------------------------------

    def send_aux_request(
        self,
        targets: str | Iterable[str],
        topic: str,
        request: Shareable,
        timeout: float,
        fl_ctx: FLContext,
        optional: bool = False,
        secure: bool = False,
    ) -> dict[str, Shareable]:
        """Ask targets the same thing and wait: one reply per target, by the names given here.

        `timeout`: seconds for the handler; 0 sends without waiting and returns {}. `optional`: failures are no
        warnings in the log. What goes wrong elsewhere is the return code of the reply, its reason the header
        `ReservedHeaderKey.ERROR`. Raises `ArgumentError`, and `EncodeError` for a request that cannot travel.
        """
        if not _checked_timeout(timeout):
            self.fire_and_forget_aux_request(targets, topic, request, fl_ctx, optional, secure)
            return {}
        check_name(topic, "topic")
        cells, content = self._cells_of(targets), pack_request(request, fl_ctx)
        messages: Mapping[str, Message] = {}
        try:
            handle = self._cell.broadcast(filter(None, cells.values()), CHANNEL, topic, content, timeout, secure=secure)
            try:
                messages = handle.result()
            except ClosedError:
                messages = handle.replies()
        except ClosedError:
            pass  # before it was sent
        replies = {
            name: unpack_reply(messages[cell]) if cell in messages else self._unsent(name, cell)
            for name, cell in cells.items()
        }
        return self._reported(replies, topic, optional)

    def multicast_aux_requests(
        self,
        topic: str,
        target_requests: Mapping[str, Shareable],
        timeout: float,
        fl_ctx: FLContext,
        optional: bool = False,
        secure: bool = False,
    ) -> dict[str, Shareable]:
        """Ask each target its own thing, all at once, and wait; otherwise like `send_aux_request`."""
        if not _checked_timeout(timeout):
            for name, request in target_requests.items():
                self.fire_and_forget_aux_request(name, topic, request, fl_ctx, optional, secure)
            return {}
        check_name(topic, "topic")
        cells = self._cells_of(target_requests)
        contents = {name: pack_request(request, fl_ctx) for name, request in target_requests.items()}
        handles: dict[str, RequestHandle] = {}
        try:
            with suppress(ClosedError):  # those that are left get their reply below
                for name in filter(cells.get, cells):
                    args = cells[name], CHANNEL, topic, contents[name], timeout
                    handles[name] = self._cell.request(*args, secure=secure)
            replies = {name: self._reply_of(name, cell, handles.get(name)) for name, cell in cells.items()}
        finally:
            for handle in handles.values():
                handle.cancel()  # does something only where an error left some behind
        return self._reported(replies, topic, optional)

    def fire_and_forget_aux_request(
        self,
        targets: str | Iterable[str],
        topic: str,
        request: Shareable,
        fl_ctx: FLContext,
        optional: bool = False,
        secure: bool = False,
    ) -> dict[str, str]:
        """Send without waiting for anybody; per target "" or why it did not leave. Raises like `send_aux_request`."""
        check_name(topic, "topic")
        cells, content = self._cells_of(targets), pack_request(request, fl_ctx)
        results: dict[str, str] = {}
        with suppress(ClosedError):
            results = self._cell.fire(filter(None, cells.values()), CHANNEL, topic, content, secure=secure).result()
        errors = {name: results.get(cell, self._why_unsent(name, cell)) for name, cell in cells.items()}
        for name, text in errors.items():
            if text:
                self._report(name, topic, text, optional)
        return errors

    def _cells_of(self, targets: str | Iterable[str]) -> dict[str, str]:
        """The cells of the targets; "" for a name that nobody has."""
        names = [targets] if isinstance(targets, str) else list(targets)
        for name in names:
            if not isinstance(name, str):
                raise ArgumentError(f"a target must be a str, not {type(name).__name__}")
        return {name: self._resolve(name) for name in names}

    def _reply_of(self, name: str, cell: str, handle: RequestHandle | None) -> Shareable:
        try:
            return self._unsent(name, cell) if handle is None else unpack_reply(handle.reply())
        except ClosedError:
            return self._unsent(name, cell)

    def _unsent(self, name: str, cell: str) -> Shareable:
        return failed(ReturnCode.COMMUNICATION_ERROR if cell else ReturnCode.ERROR, self._why_unsent(name, cell))

    def _why_unsent(self, name: str, cell: str) -> str:
        return f"cell {self._cell.fqcn} is not running" if cell else f"no target is called {name!r}"

    def _reported(self, replies: dict[str, Shareable], topic: str, optional: bool) -> dict[str, Shareable]:
        for name, reply in replies.items():
            if (code := reply.get_return_code()) != ReturnCode.OK:
                self._report(name, topic, f"{code}: {reply.get_header(ReservedHeaderKey.ERROR, '')}", optional)
        return replies

    def _report(self, target: str, topic: str, text: str, optional: bool) -> None:
        level = logging.DEBUG if optional else logging.WARNING
        log.log(level, "%s: aux %s to %s: %s", self._cell.fqcn, topic, target, text)

    def __repr__(self) -> str:
        return f"<AuxMessages of {self._cell.fqcn}, topics {', '.join(self._handlers) or 'none'}>"


def _checked_timeout(timeout: object) -> float:
    seconds = check_seconds(timeout, "timeout")
    if seconds is None:
        raise ArgumentError("timeout is None; give seconds, 0 to send without waiting")
    return seconds
