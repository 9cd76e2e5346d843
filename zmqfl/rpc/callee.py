"""The callee's side: from a request to a method, and from what it does to a reply.

    a request comes                 the object, the rule, the method, its signature: each may refuse it
    the method returns   a value       the reply
                         a coroutine   runs on the loop that published it; cancelled with the call
                         a generator   the reply names it, and its caller asks for items: `generators`
               raises    a RequestFailed and kin of zmqfl   its code is that of the reply
                         anything else                      process_exception, told by `remote_errors`
    nobody waits any more           `RunningCall.signal` is triggered: cancel, time-out, or the death of the caller

A method that is called without a reply (`fire`) runs all the same; what it returns is dropped, what it raises logged.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from zmqfl.cell.cell import Cell
from zmqfl.cell.message import Message, MessageHeaderKey, make_reply
from zmqfl.errors import (
    AuthenticationError,
    CellReturnCode,
    InvalidRequest,
    NoSuchMethod,
    RequestFailed,
    SignatureError,
)
from zmqfl.rpc.caller_watch import Caller
from zmqfl.rpc.generators import Ask, OpenGenerator, OpenGenerators
from zmqfl.rpc.names import ASKS, CALLS, STREAM, split_topic
from zmqfl.rpc.publication import Method, Publication, is_stream
from zmqfl.rpc.remote_errors import chooses_code, tell, tell_mistake
from zmqfl.rpc.running import RunningCall, running
from zmqfl.rpc.watching import Watching

log = logging.getLogger("zmqfl.rpc")


class Callee:
    """See the module. `tracebacks`: callers get to know the lines where a method failed."""

    def __init__(self, cell: Cell, watching: Watching, tracebacks: bool) -> None:
        self.publications: dict[str, Publication] = {}
        self.generators = OpenGenerators()
        self._cell = cell
        self._watching = watching
        self._tracebacks = tracebacks
        cell.register_request_cb(CALLS, "*", self._serve)
        for topic, answer in {
            "describe": self._describe, "statistics": self._statistics, "ping": _ping, "more": self._more,
            "close": self._close,
        }.items():  # fmt: skip
            cell.register_request_cb(ASKS, topic, answer)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _serve(self, message: Message) -> Any:
        service, path = split_topic(message.topic)
        try:
            publication = self._publication(service, path, message)
            method, description = publication.find(path)
            args, kwargs, instance = _arguments(message.payload)
            description.check(args, kwargs)
        except Exception as error:  # noqa: BLE001  it is the reply; nothing has run
            return self._refused(message, error)
        return _Run(self, publication, path, message, instance).run(method, args, kwargs)

    def _publication(self, service: str, path: str, message: Message) -> Publication:
        publication = self.publications.get(service)
        if publication is None:
            about = f"service {service!r}" if service else "methods"
            raise NoSuchMethod(f"{self._cell.fqcn} publishes no {about}")
        self._check_seal(publication, message)
        if not publication.may_call(path, message.origin):
            raise AuthenticationError(f"{message.origin} may not call {message.topic} of {self._cell.fqcn}")
        return publication

    def _check_seal(self, publication: Publication, message: Message) -> None:
        if publication.secure and not message.sealed:
            raise AuthenticationError(f"{self._cell.fqcn} takes sealed calls only; get the proxy with secure=True")

    def _refused(self, message: Message, error: Exception) -> Message:
        if not message.get_header(MessageHeaderKey.REPLY_EXPECTED):
            log.warning("%s: %s of %s was refused: %s", self._cell.fqcn, message.topic, message.origin, error)
        if isinstance(error, SignatureError | NoSuchMethod):
            return make_reply(CellReturnCode.INVALID_REQUEST, str(error), tell_mistake(error))
        return self.reply_of(error)

    def reply_of(self, error: BaseException) -> Message:
        """What the caller is told of what a method raised."""
        if isinstance(error, RequestFailed) and chooses_code(error):
            return make_reply(error.code, error.reason)
        text = f"{type(error).__name__}: {error}"
        return make_reply(CellReturnCode.PROCESS_EXCEPTION, text, tell(error, self._tracebacks))

    # -- questions ---------------------------------------------------------------------------------------------------

    def _describe(self, message: Message) -> list[Any]:
        publication = self._asked(message)
        found = publication.describe(message.origin)
        if not found and next(publication.methods(), None) is not None:
            raise AuthenticationError(f"{message.origin} may call nothing of {self._cell.fqcn}")
        return [each.to_payload() for each in found]

    def _statistics(self, message: Message) -> dict[str, Any]:
        publication = self._asked(message)
        snapshot = publication.statistics.snapshot()
        return {path: s.to_dict() for path, s in snapshot.items() if publication.may_call(path, message.origin)}

    def _asked(self, message: Message) -> Publication:
        service = message.payload
        if not isinstance(service, str) or (publication := self.publications.get(service)) is None:
            raise InvalidRequest(f"{self._cell.fqcn} publishes nothing under the name {service!r}")
        self._check_seal(publication, message)
        return publication

    # -- generators --------------------------------------------------------------------------------------------------

    def _more(self, message: Message) -> None:
        match message.payload:
            case [str(id), int(credit)]:
                pass
            case _:
                raise InvalidRequest("ask for [generator, number of items]")
        generator = self._generator(id, message)
        self._cell.when_cancelled(message, partial(generator.call.cancel, "its reader waits no longer"))
        generator.more((message.origin, message.req_id), credit)

    def _generator(self, id: Any, message: Message) -> OpenGenerator:
        """That which the sender reads from; one that was opened by a sealed call, by sealed messages only."""
        generator = self.generators.get(id, message.origin)
        if generator.call.sealed and not message.sealed:
            raise AuthenticationError("the generator was opened by a sealed call; ask for its items likewise")
        return generator

    def answer(self, ask: Ask, items: list[Any], is_ended: bool, error: BaseException | None) -> None:
        """Reply to who has asked for items."""
        origin, id = ask
        reply = Message(payload=[items, is_ended]) if error is None else self.reply_of(error)
        self._cell.send_reply(reply, origin, [id])

    def _close(self, message: Message) -> None:
        generator = self._generator(message.payload, message)
        generator.call.cancel("its reader has closed it")
        generator.close()

    # -- for calls -----------------------------------------------------------------------------------------------------

    def begin(self, call: RunningCall, caller: Caller, message: Message) -> None:
        """A call has begun."""
        if call.expects_reply:
            self._cell.when_cancelled(message, partial(call.cancel, "its caller waits no longer"))
            self._watching.begin(caller, call)

    def run(self, job: Callable[[], None]) -> None:
        """Have a worker do what the thread that cancels must not wait for."""
        self._cell.run_on_worker(job)

    def end(self, call: RunningCall, caller: Caller) -> None:
        """It has ended."""
        if call.expects_reply:
            self._watching.end(caller, call)


class _Run:
    """One call, from its method to its end."""

    def __init__(self, callee: Callee, publication: Publication, path: str, message: Message, instance: int) -> None:
        expects_reply = bool(message.get_header(MessageHeaderKey.REPLY_EXPECTED))
        self._callee = callee
        self._publication = publication
        self._path = path
        self._message = message
        self._caller: Caller = (message.origin, instance)
        self._call = RunningCall(path, message.origin, sealed=message.sealed, expects_reply=expects_reply)
        self._began = time.monotonic()

    def run(self, method: Method, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What the cell is to do with the request: a Message, a coroutine, or a future of one."""
        self._publication.statistics.begin(self._path)
        self._callee.begin(self._call, self._caller, self._message)
        try:
            with running(self._call):
                value = method(*args, **kwargs)
            if is_stream(value):
                return self._opened(value)
        except BaseException as error:  # noqa: BLE001  SystemExit too: it ends the call, not the process
            return self._failed(error)
        if inspect.iscoroutine(value):
            return self._awaited(value)
        self._end()
        return Message(payload=value)

    def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """On the loop that published it; without one, the cell runs it in this worker."""
        loop = self._publication.loop
        if loop is None or loop.is_closed():
            return self._await(coroutine)
        return asyncio.run_coroutine_threadsafe(self._await(coroutine), loop)

    async def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Message:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel(_: object) -> None:
            loop.call_soon_threadsafe(task.cancel)

        self._call.signal.add_callback(cancel)
        try:
            with running(self._call):
                value = await coroutine
        except BaseException as error:  # noqa: BLE001  CancelledError too: it is how a call ends that nobody waits for
            if isinstance(error, asyncio.CancelledError):
                self._call.cancel("its coroutine was cancelled")
            return self._failed(error)
        finally:
            self._call.signal.remove_callback(cancel)
        self._end()
        return Message(payload=value)

    def _opened(self, generator: Any) -> Message:
        callee = self._callee
        forget = callee.generators.remove
        opened = OpenGenerator(generator, self._call, self._publication.loop, callee.answer, self._end, forget)
        if self._call.expects_reply:
            self._callee.generators.add(opened)
            self._call.signal.add_callback(lambda signal: self._callee.run(opened.close))
        else:
            opened.close()
        return Message({STREAM: opened.id})

    def _failed(self, error: BaseException) -> Message:
        self._end(f"{type(error).__name__}: {error}", self._call.cancelled)
        level = logging.DEBUG if self._call.expects_reply else logging.WARNING
        log.log(level, "%s of %s failed", self._path, self._call.caller, exc_info=error)
        return self._callee.reply_of(error)

    def _end(self, error: str = "", cancelled: bool = False) -> None:
        self._callee.end(self._call, self._caller)
        self._publication.statistics.end(self._path, time.monotonic() - self._began, error, cancelled)


def _arguments(payload: Any) -> tuple[list[Any], dict[str, Any], int]:
    match payload:
        case [list(args), dict(kwargs), int(instance)] if all(isinstance(name, str) for name in kwargs):
            return args, kwargs, instance
    raise InvalidRequest("a call is [arguments, named arguments, instance of the caller]")


def _ping(message: Message) -> Message:
    return Message(payload=message.payload)
