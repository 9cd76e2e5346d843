"""One run at its server, from START_RUN to END_RUN.

    START_RUN; the clients may begin
    each workflow: start_controller, START_WORKFLOW, control_flow, stop_controller, END_WORKFLOW
    ABOUT_TO_END_RUN; the clients are told, and end; CHECK_END_RUN_READINESS until nobody objects; END_RUN

An exception in a control flow, `system_panic` and `abort` abort the run: later workflows are left out, and the events
of the end come nevertheless. Source: reference "flare" 6.1, 6.4.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zmqfl.cell.cell import Cell
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey, ProcessType
from zmqfl.context.workspace import Workspace
from zmqfl.errors import ZmqflError
from zmqfl.fl.communicator import Communicator
from zmqfl.fl.controller import Controller
from zmqfl.fl.fed_events import FedEvents
from zmqfl.fl.run_end import wait_ready
from zmqfl.fl.run_engine import SERVER, ServerEngine
from zmqfl.fl.run_props import described
from zmqfl.fl.run_settings import RunSettings
from zmqfl.fl.runner import Runner
from zmqfl.fl.snapshot import FILE, RunSnapshot
from zmqfl.fl.task import TaskCompletionStatus
from zmqfl.fl.task_filters import FilterChain, TaskFilters
from zmqfl.fl.task_service import TaskService

log = logging.getLogger("zmqfl.fl")


class ServerRunner(Runner):
    """See the module.

    `clients`: name of a client -> name of its cell. `components`, `workflows` by their ids, in their order. `name`: the
    identity of this site. `workspace`: where its files are; with one, `persist_components` writes a snapshot there, and
    a run that finds one that is not completed goes on from it. `args`: what the run was started with.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        job_id: str,
        clients: Mapping[str, str],
        components: Mapping[str, Any],
        workflows: Mapping[str, Controller],
        task_data_filters: Sequence[TaskFilters] = (),
        task_result_filters: Sequence[TaskFilters] = (),
        workspace: Workspace | None = None,
        name: str = SERVER,
        args: Mapping[str, Any] | None = None,
        job_meta: Mapping[str, Any] | None = None,
        simulate: bool = False,
        secure: bool = False,
        settings: RunSettings | None = None,
    ) -> None:
        super().__init__("server")
        self.settings = settings or RunSettings()
        self.engine = ServerEngine(cell, name, job_id, {SERVER: cell.fqcn, **clients}, workspace)
        self.workflows = dict(workflows)
        self._job_id = job_id
        self._file = Path(workspace.get_run_dir(job_id), FILE) if workspace is not None else None
        self._workflow = 0
        """The number of the workflow that runs."""
        self._persisting = threading.Lock()
        for id, component in {**components, **workflows}.items():
            self.engine.add_component(id, component)
        data = FilterChain(task_data_filters, "out")
        results = FilterChain(task_result_filters, "in")
        for each in (*data.all_filters(), *results.all_filters()):
            self.engine.add_listener(each)
        self.engine.on_fatal = self.abort
        self.engine.on_persist = self._persist
        public, private = described(
            job_id, workspace, ProcessType.SERVER_JOB, args, job_meta, simulate, secure, self
        )  # fmt: skip
        self.engine.note(public, private)
        self.communicator = Communicator(self.engine.client, self.engine.new_context, self.settings)
        self.service = TaskService(cell, self.engine, self.communicator, data, results)
        self.fed_events = FedEvents(self.engine, self.settings.aux_timeout)

    # -- the run -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._begin()
        for number, (id, controller) in list(enumerate(self.workflows.items()))[self._workflow :]:
            if self.is_aborted:
                break
            self._workflow = number
            self._run_workflow(id, controller)

    def _stop(self, reason: str) -> None:
        self.service.end_reason = reason
        self.engine.abort_signal.trigger(reason)
        self.communicator.end(TaskCompletionStatus.ABORTED)

    def _begin(self) -> None:
        with self.engine.new_context() as fl_ctx:
            self._restore(fl_ctx)
            self.engine.fire_event(EventType.START_RUN, fl_ctx)
        if not self.is_aborted:
            self.service.open()

    def _run_workflow(self, id: str, controller: Controller) -> None:
        controller.set_communicator(self.communicator)
        self.service.results.controller = controller
        with self.engine.new_context() as fl_ctx:
            try:
                controller.start_controller(fl_ctx)
                fl_ctx.set_prop(FLContextKey.WORKFLOW, id, private=True, sticky=True)
                fl_ctx.sync_sticky()
                self.engine.fire_event(EventType.START_WORKFLOW, fl_ctx)
                self._control(controller)
            except KeyboardInterrupt:  # before the workflow ends, for it has not come to its end
                self.abort(self._stopped)
            except Exception as error:
                log.exception("workflow %s failed", id)
                self.engine.panic(f"workflow {id} failed: {type(error).__name__}: {error}", fl_ctx)
            finally:
                self._end_workflow(id, controller, fl_ctx)

    def _control(self, controller: Controller) -> None:
        if not self.is_aborted:
            with self.engine.new_context() as fl_ctx:
                controller.control_flow(self.engine.abort_signal, fl_ctx)

    def _end_workflow(self, id: str, controller: Controller, fl_ctx: FLContext) -> None:
        self.communicator.cancel_all(TaskCompletionStatus.CANCELLED)
        self.communicator.drain()
        try:
            controller.stop_controller(fl_ctx)
        except Exception:  # it has done its work
            log.exception("stop_controller of workflow %s failed", id)
        self.engine.fire_event(EventType.END_WORKFLOW, fl_ctx)
        if not self.is_aborted:
            self._workflow += 1
        self._persist(fl_ctx, False)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        patience = self.settings.end_patience
        with self.engine.new_context() as fl_ctx:
            self.engine.fire_event(EventType.ABOUT_TO_END_RUN, fl_ctx)
        self.fed_events.drain_outgoing(patience)
        self.communicator.end(TaskCompletionStatus.CANCELLED)
        self.communicator.drain()
        self.service.tell_end()
        self.service.wait_left(patience)
        with self.engine.new_context() as fl_ctx:
            self._persist(fl_ctx, True)
            wait_ready(self.engine, self.fed_events, fl_ctx, patience)
            self.engine.fire_event(EventType.END_RUN, fl_ctx)
        self.service.presence.close()
        self.engine.shutdown_streamer()
        self.fed_events.close(patience)
        self.communicator.close()

    # -- snapshots ---------------------------------------------------------------------------------------------------

    def _persist(self, fl_ctx: FLContext, completed: bool) -> None:
        if self._file is None or self.is_aborted:  # rounds that were aborted count as done to a controller that goes on
            return
        states = {
            id: component.get_persist_state(fl_ctx)
            for id, component in self.engine.components.items()
            if isinstance(component, FLComponent)
        }
        snapshot = RunSnapshot(
            self._job_id, {id: state for id, state in states.items() if state}, self._workflow, completed
        )  # fmt: skip
        try:
            with self._persisting:
                snapshot.write(self._file)
        except ZmqflError:  # the run goes on; a restart would go on from the former snapshot
            log.exception("the state of the run could not be kept")

    def _restore(self, fl_ctx: FLContext) -> None:
        snapshot = RunSnapshot.read(self._file) if self._file is not None else None
        if snapshot is None or snapshot.completed or snapshot.job_id != self._job_id:
            return
        log.info("the run goes on from its snapshot, with workflow %d", snapshot.workflow)
        self._workflow = snapshot.workflow
        self.engine.restore_components(snapshot, fl_ctx)

    def __repr__(self) -> str:
        state = f"aborted: {self._reason}" if self.is_aborted else f"workflow {self._workflow}"
        return f"<ServerRunner of job {self._job_id}, {state}>"
