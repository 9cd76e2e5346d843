"""What a run's server answers to its clients: who may begin, what is to be done, when the run has ended.

    sync       the client is there from now on, and watched over; answered once the run has started
    get_task   answered when there is a task, in a context (peer: the client): BEFORE_PROCESS_TASK_REQUEST,
               before_task_sent_cb, after_task_sent_cb, AFTER_PROCESS_TASK_REQUEST, BEFORE_ and AFTER_TASK_DATA_FILTER
    leave      the client has ended its run
    results    see `result_intake`

The context of a question for a task is made when there is a task and not when it comes, so that it knows what has
become sticky meanwhile. A client is known by its cell, as the network proves it. Source: seed 003, reference "flare"
6.1, 6.4.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from zmqfl.cell.cell import Cell
from zmqfl.cell.message import Message
from zmqfl.cell.workers import blocked
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey, SpecialTaskName
from zmqfl.context.peer_context import public_props_of
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_reply
from zmqfl.errors import AuthenticationError, ClosedError, EncodeError
from zmqfl.fl.communicator import Communicator, TaskFailed
from zmqfl.fl.presence import Presence
from zmqfl.fl.result_intake import ResultIntake, describe
from zmqfl.fl.run_engine import ServerEngine
from zmqfl.fl.run_messages import CHANNEL, END, GET, LEAVE, PRESENCE, READY, SYNC, packed, read
from zmqfl.fl.task import ClientTask, TaskCompletionStatus
from zmqfl.fl.task_filters import FilterChain
from zmqfl.wire import payload

log = logging.getLogger("zmqfl.fl")


@dataclass(frozen=True, slots=True)
class _Ask:
    """A client's question for a task, as it waits."""

    origin: str
    req_id: int
    peer: FLContext
    sealed: bool


class TaskService:
    """See the module. It serves the cell from now on; clients wait until `open`."""

    def __init__(
        self,
        cell: Cell,
        engine: ServerEngine,
        communicator: Communicator,
        data_filters: FilterChain,
        result_filters: FilterChain,
    ) -> None:
        self._cell = cell
        self._engine = engine
        self._communicator = communicator
        self._data_filters = data_filters
        self.results = ResultIntake(cell, engine, communicator, result_filters, self._client_of)
        self.presence = Presence(cell, self._lost)
        self._changed = threading.Condition()
        self._is_open = self._is_over = False
        self._syncs: list[tuple[str, int]] = []
        """Clients that want to begin: origin and number of the request."""
        self._ending: Future[list[Any]] = Future()
        """The reply to who asks for our presence."""
        self._asks: dict[str, _Ask] = {}
        self._left: set[str] = set()
        self.end_reason = ""
        """Why the run was aborted; "" when it was not."""
        communicator.answers = self
        for client in engine.get_clients():  # until it comes; before it can, for who is lost waits for no answer
            communicator.lose(client.name)
        for topic, serve in ((SYNC, self._sync), (GET, self._get), (LEAVE, self._leave), (PRESENCE, self._be_present)):
            cell.register_request_cb(CHANNEL, topic, serve)

    # -- life --------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """The run has started: let the clients begin."""
        with self._changed:
            self._is_open = True
            syncs, self._syncs = self._syncs, []
        for origin, req_id in syncs:
            self._begin(origin)
            self._reply(origin, req_id, make_reply(ReturnCode.OK))
        self._tell_all(READY, Shareable())

    def tell_end(self) -> None:
        """Tell all clients that the run has ended: those that are at work, and those that have not begun."""
        with self._changed:
            self._is_over = True
            syncs, self._syncs = self._syncs, []
        for origin, req_id in syncs:
            self._reply(origin, req_id, self._end_reply())
        self._tell_all(END, self._end_reply())
        if not self._ending.done():
            self._ending.set_result(packed(self._end_reply()))

    def wait_left(self, patience: float) -> None:
        """Wait until all clients that are there have ended their runs."""
        with blocked(), self._changed:
            self._changed.wait_for(lambda: self.presence.present() <= self._left, patience)

    def _tell_all(self, topic: str, what: Shareable) -> None:
        cells = [client.get_fqcn() for client in self._engine.get_clients()]
        if cells:
            with suppress(ClosedError):  # then the network tells them
                self._cell.fire(cells, CHANNEL, topic, packed(what)).result()

    # -- clients come and go -----------------------------------------------------------------------------------------

    def _sync(self, message: Message) -> Any:
        self._client_of(message)
        with self._changed:
            if self._is_over:
                return packed(self._end_reply())
            if not self._is_open:
                self._syncs.append((message.origin, message.req_id))
                return None
        self._begin(message.origin)
        return packed(make_reply(ReturnCode.OK))

    def _begin(self, origin: str) -> None:
        name = self._engine.site_at(origin)
        assert name is not None  # `_sync` has looked
        with self._changed:
            self._left.discard(name)
        self.presence.watch(name, origin)
        self._communicator.find(name)

    def _be_present(self, message: Message) -> Future[list[Any]]:
        self._client_of(message)
        return self._ending

    def _leave(self, message: Message) -> Any:
        name = self._client_of(message)
        with self._changed:
            self._left.add(name)
            self._changed.notify_all()
        self.presence.forget(name)
        self._communicator.leave(name)
        return packed(make_reply(ReturnCode.OK))

    def _lost(self, client: str) -> None:
        """The network lost a client. If it was the network's mistake, it asks again at once, and is there again."""
        self._communicator.lose(client)
        self.try_again(client)
        with self._changed:  # nobody waits for it at the end
            self._changed.notify_all()

    def _client_of(self, message: Message) -> str:
        name = self._engine.site_at(message.origin)
        if name is None:
            raise AuthenticationError(f"{message.origin} is no client of this run")
        return name

    # -- tasks out ---------------------------------------------------------------------------------------------------

    def _get(self, message: Message) -> None:
        """Answered by `send_reply`, later."""
        client = self._client_of(message)
        _, peer = read(message)
        if not self._is_over and client not in self.presence.present():
            self.presence.watch(client, message.origin)
        with self._changed:
            former = self._asks.get(client)
            self._asks[client] = _Ask(message.origin, message.req_id, peer, message.sealed)
        if former is not None:
            self._reply(former.origin, former.req_id, _special(SpecialTaskName.TRY_AGAIN))
        self._communicator.ask(client)

    def give(self, client_task: ClientTask, resend: bool) -> None:
        """Give a task to a client; see the module. On a worker."""
        with self._changed:
            ask = self._asks.get(client_task.client.name)
        if ask is None:
            self._communicator.unsent(client_task)
            return
        status = TaskCompletionStatus.ERROR
        problem: BaseException | None = None
        try:
            data, props = self._prepared(client_task, ask, resend)
            payload.encode(packed(data, props), copy=False)  # what cannot travel must end the task, here
            if client_task.task.secure and not ask.sealed:
                raise EncodeError("the task is secure, and its client does not ask by secure messages")
        except TaskFailed as error:
            log.info("%s", error)
        except EncodeError as error:
            problem = error
        except (Exception, SystemExit) as error:  # a filter of the user
            status, problem = TaskCompletionStatus.CANCELLED, error
            log.exception("a data filter of task %s failed", client_task.task.name)
        else:
            self._communicator.sent(client_task)
            self._answer(client_task.client.name, data, props)
            return
        if problem is not None:
            log.error("task %s cannot be sent to %s: %s", client_task.task.name, client_task.client.name, problem)
        self._communicator.failed(client_task, status, problem)
        self.try_again(client_task.client.name)

    def _prepared(self, client_task: ClientTask, ask: _Ask, resend: bool) -> tuple[Shareable, dict[str, Any]]:
        """What a client is to get: the data of the task, and the public props of its context."""
        name = client_task.task.name
        with self._engine.new_context() as fl_ctx:
            describe(fl_ctx, ask.peer, ask.origin, name, client_task.id)
            fl_ctx.put(FLContextKey.CLIENT_NAME, client_task.client.name, private=False, sticky=False)
            if resend:
                fl_ctx.put(FLContextKey.IS_CLIENT_TASK_RESEND, True, private=True, sticky=False)
            self._engine.fire_event(EventType.BEFORE_PROCESS_TASK_REQUEST, fl_ctx)
            is_filtered = bool(self._data_filters.filters_of(name))
            data = self._communicator.prepare(client_task, fl_ctx, is_filtered)
            self._engine.fire_event(EventType.AFTER_PROCESS_TASK_REQUEST, fl_ctx)
            fl_ctx.put(FLContextKey.TASK_DATA, data, private=True, sticky=False)
            self._engine.fire_event(EventType.BEFORE_TASK_DATA_FILTER, fl_ctx)
            headers = data.to_payload()[ReservedHeaderKey.HEADERS]
            data = self._data_filters.process(name, data, fl_ctx)
            for key in (ReservedHeaderKey.TASK_NAME, ReservedHeaderKey.TASK_ID):  # a filter may make a new Shareable
                data.set_header(key, headers[key])
            fl_ctx.put(FLContextKey.TASK_DATA, data, private=True, sticky=False)
            self._engine.fire_event(EventType.AFTER_TASK_DATA_FILTER, fl_ctx)
            return data, public_props_of(fl_ctx)

    def try_again(self, client: str) -> None:
        """There is nothing to do now."""
        self._answer(client, _special(SpecialTaskName.TRY_AGAIN), {})

    def end_run(self, client: str) -> None:
        """The run has ended."""
        self._answer(client, self._end_reply(), {})

    def _end_reply(self) -> Shareable:
        reply = _special(SpecialTaskName.END_RUN)
        if self.end_reason:
            reply.set_header(ReservedHeaderKey.ERROR, self.end_reason)
        return reply

    def _answer(self, client: str, what: Shareable, props: dict[str, Any]) -> None:
        with self._changed:
            ask = self._asks.pop(client, None)
        if ask is not None:
            self._reply(ask.origin, ask.req_id, what, props)

    def _reply(self, origin: str, req_id: int, what: Shareable, props: dict[str, Any] | None = None) -> None:
        late = self._cell.send_reply(packed(what, props), origin, [req_id])
        if late:
            log.debug("%s", late)


def _special(name: str) -> Shareable:
    reply = Shareable()
    reply.set_header(ReservedHeaderKey.TASK_NAME, name)
    return reply
