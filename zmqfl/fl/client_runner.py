"""One run at a client: ask for a task, do it, submit the result, until the server says that the run has ended.

    begin       wait for the server's START_RUN; then ABOUT_TO_START_RUN, START_RUN
    each task   one context: BEFORE_PULL_TASK; the task; AFTER_PULL_TASK; the peer context, TASK_NAME, TASK_ID,
                TASK_DATA; filters, execution, TASK_RESULT, filters; BEFORE_SEND_TASK_RESULT; sent;
                AFTER_SEND_TASK_RESULT; finalised
    abort       ABORT_TASK, and the abort signal of the task that runs
    end         ABOUT_TO_END_RUN, CHECK_END_RUN_READINESS until nobody objects, END_RUN; the server is told

Source: seed 003, reference "flare" 6.1, 6.3.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from zmqfl.cell.cell import Cell
from zmqfl.cell.message import Message
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey, ProcessType, SpecialTaskName
from zmqfl.context.shareable import ReservedHeaderKey, Shareable
from zmqfl.context.signal import Signal
from zmqfl.context.workspace import Workspace
from zmqfl.errors import AuthenticationError
from zmqfl.fl.executor import Executor
from zmqfl.fl.fed_events import FedEvents
from zmqfl.fl.run_end import wait_ready
from zmqfl.fl.run_engine import SERVER, ClientEngine
from zmqfl.fl.run_messages import CHANNEL, END, PRESENCE, READY, packed, read
from zmqfl.fl.run_props import described
from zmqfl.fl.run_settings import RunSettings
from zmqfl.fl.runner import Runner
from zmqfl.fl.task_exchange import TaskExchange
from zmqfl.fl.task_execution import TaskExecution
from zmqfl.fl.task_filters import FilterChain, TaskFilters
from zmqfl.fl.task_router import TaskRouter

log = logging.getLogger("zmqfl.fl")


class ClientRunner(Runner):
    """See the module.

    `name`: of this site in the run. `server`: the name of the server's cell. `clients`: name of a client -> name of its
    cell, for messages between clients. `executors`: names and patterns of tasks, and who does them.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        name: str,
        job_id: str,
        server: str,
        components: Mapping[str, Any],
        executors: Sequence[tuple[Sequence[str], Executor]],
        clients: Mapping[str, str] | None = None,
        task_data_filters: Sequence[TaskFilters] = (),
        task_result_filters: Sequence[TaskFilters] = (),
        workspace: Workspace | None = None,
        args: Mapping[str, Any] | None = None,
        job_meta: Mapping[str, Any] | None = None,
        client_config: Mapping[str, Any] | None = None,
        simulate: bool = False,
        secure: bool = False,
        settings: RunSettings | None = None,
    ) -> None:
        super().__init__("client")
        self.settings = settings or RunSettings()
        self.engine = ClientEngine(cell, name, job_id, {SERVER: server, name: cell.fqcn, **(clients or {})}, workspace)
        self._server = server
        self._job_id = job_id
        self._name = name
        self._lock = threading.Lock()
        self._has_ended = False
        """The server has said that the run has ended."""
        self._has_asked_last = False
        self._leaving: Future[list[Any]] = Future()
        """The reply to the server's question for our presence."""
        self._over = Signal(self.engine.abort_signal)
        """Ends what is done for the server: the run was aborted, or has ended."""
        self._task: Signal | None = None
        """The abort signal of the task that runs."""
        self._abort_is_told = False
        """Whether ABORT_TASK was fired."""
        for id, component in components.items():
            self.engine.add_component(id, component)
        data, results = FilterChain(task_data_filters, "in"), FilterChain(task_result_filters, "out")
        router = TaskRouter(executors)
        for each in (*data.all_filters(), *results.all_filters(), *router.executors()):
            self.engine.add_listener(each)
        self.engine.on_fatal = self.abort
        public, private = described(
            job_id, workspace, ProcessType.CLIENT_JOB, args, job_meta, simulate, secure, self
        )  # fmt: skip
        public |= {FLContextKey.CLIENT_NAME: name, FLContextKey.FQSN: name, FLContextKey.IS_LEAF: True}
        self.engine.note(public, {**private, FLContextKey.CLIENT_CONFIG: dict(client_config or {})})
        self._execution = TaskExecution(self.engine, router, data, results)
        self._exchange = TaskExchange(cell, server, self.settings, self._over, secure, self._end)
        self.fed_events = FedEvents(self.engine, self.settings.aux_timeout)
        cell.register_request_cb(CHANNEL, PRESENCE, self._be_present)
        cell.register_request_cb(CHANNEL, READY, self._hear_ready)
        cell.register_request_cb(CHANNEL, END, self._hear_end)

    # -- the run -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if not self._begin():
            return
        with self.engine.new_context() as fl_ctx:
            self.engine.fire_event(EventType.ABOUT_TO_START_RUN, fl_ctx)
            self.engine.fire_event(EventType.START_RUN, fl_ctx)
        while not self._has_asked_last and not self.is_aborted:
            with self.engine.new_context() as fl_ctx:
                self._do_next(fl_ctx)

    def _stop(self, reason: str) -> None:
        self._abort_task()
        self.engine.abort_signal.trigger(reason)

    def _begin(self) -> bool:
        if self._exchange.begin():
            return True
        if not self._over.triggered:
            self.abort(f"server {self._server} does not let {self._name} begin: {self._exchange.problem}")
        return False

    def _do_next(self, fl_ctx: FLContext) -> None:
        """One iteration: at most one task. It begins alike, whether or not the server has told of the end by now."""
        self.engine.fire_event(EventType.BEFORE_PULL_TASK, fl_ctx)
        found = None if self._over.triggered else self._exchange.get(fl_ctx)
        if found is None:
            if self._over.triggered or not self._begin():
                self._has_asked_last = True
            return
        task, peer = found
        match task.get_header(ReservedHeaderKey.TASK_NAME):
            case SpecialTaskName.END_RUN:
                self._has_asked_last = True
                self._end(task)
            case SpecialTaskName.TRY_AGAIN:
                return
            case _:
                self.engine.fire_event(EventType.AFTER_PULL_TASK, fl_ctx)
                self._do(task, peer, fl_ctx)

    def _do(self, task: Shareable, peer: FLContext | None, fl_ctx: FLContext) -> None:
        with self._lock:
            self._task = Signal(self._over)
        try:
            result = self._execution.run(task, peer, fl_ctx, self._task)
        finally:
            with self._lock:
                self._task = None
        self.engine.fire_event(EventType.BEFORE_SEND_TASK_RESULT, fl_ctx)
        self._exchange.submit(result, fl_ctx)
        self.engine.fire_event(EventType.AFTER_SEND_TASK_RESULT, fl_ctx)

    # -- what the server says ----------------------------------------------------------------------------------------

    def _hear_ready(self, message: Message) -> None:
        self._check_server(message)
        self._exchange.server_is_ready()

    def _be_present(self, message: Message) -> Future[list[Any]]:
        self._check_server(message)
        return self._leaving

    def _hear_end(self, message: Message) -> None:
        self._check_server(message)
        task, _ = read(message)
        self._end(task)

    def _end(self, task: Shareable) -> None:
        """The run has ended at the server."""
        if reason := task.get_header(ReservedHeaderKey.ERROR, ""):
            self.abort(f"by the server: {reason}")
            return
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
        self._abort_task()
        self._over.trigger()

    def _abort_task(self) -> None:
        """Tell the components that nobody wants the task any more, once."""
        with self._lock:
            is_told, self._abort_is_told = self._abort_is_told, self._abort_is_told or self._task is not None
            is_busy = self._task is not None
        if is_busy and not is_told:
            with self.engine.new_context() as fl_ctx:
                self.engine.fire_event(EventType.ABORT_TASK, fl_ctx)

    def _check_server(self, message: Message) -> None:
        if message.origin != self._server:
            raise AuthenticationError(f"{message.origin} is not the server of this run")

    # -- the end -----------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        patience = self.settings.end_patience
        with self.engine.new_context() as fl_ctx:
            if self.is_aborted and not self._abort_is_told:
                self.engine.fire_event(EventType.ABORT_TASK, fl_ctx)
            self.engine.fire_event(EventType.ABOUT_TO_END_RUN, fl_ctx)
            wait_ready(self.engine, self.fed_events, fl_ctx, patience)
            self.engine.fire_event(EventType.END_RUN, fl_ctx)
            self.fed_events.drain_outgoing(patience)
            self._exchange.leave()
        if not self._leaving.done():
            self._leaving.set_result(packed(Shareable()))
        self.engine.shutdown_streamer()
        self.fed_events.close(patience)

    def __repr__(self) -> str:
        state = f"aborted: {self._reason}" if self.is_aborted else "ended" if self._has_ended else "running"
        return f"<ClientRunner {self._name} of job {self._job_id}, {state}>"
