"""What a run's server does with the results of its clients.

    check     is the result of this task still wanted?     OK, or TASK_UNKNOWN: then it is not sent
    submit    taken, which is the reply                    at most once, whatever is sent again
              context (peer: the client)   BEFORE_ and AFTER_TASK_RESULT_FILTER, BEFORE_PROCESS_SUBMISSION,
                                           result_received_cb, AFTER_PROCESS_SUBMISSION
              too late, or unknown         the controller's `process_result_of_unknown_task`
              RUN_MISMATCH, TASK_UNKNOWN   the job cannot work there: the run is aborted
              or UNSAFE_JOB

The reply does not wait for callbacks: one that sleeps over the result of a client keeps no other client waiting.
Source: seed 003, reference "flare" 6.1, 6.4.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from zmqfl.cell.cell import Cell
from zmqfl.cell.message import Message
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_reply
from zmqfl.fl.communicator import Communicator
from zmqfl.fl.controller import Controller
from zmqfl.fl.run_engine import ServerEngine
from zmqfl.fl.run_messages import CHANNEL, CHECK, SUBMIT, packed, read
from zmqfl.fl.task import ClientTask
from zmqfl.fl.task_board import Submission
from zmqfl.fl.task_filters import FilterChain

log = logging.getLogger("zmqfl.fl")

ABORTING: Final = (ReturnCode.RUN_MISMATCH, ReturnCode.TASK_UNKNOWN, ReturnCode.UNSAFE_JOB)
"""Results that say that the job cannot work."""


class ResultIntake:
    """See the module. It serves the cell from now on. `client_of` names the client that a message comes from."""

    controller: Controller | None = None
    """Whose workflow runs."""

    def __init__(
        self,
        cell: Cell,
        engine: ServerEngine,
        communicator: Communicator,
        filters: FilterChain,
        client_of: Callable[[Message], str],
    ) -> None:
        self._cell = cell
        self._engine = engine
        self._communicator = communicator
        self._filters = filters
        self._client_of = client_of
        cell.register_request_cb(CHANNEL, CHECK, self._check)
        cell.register_request_cb(CHANNEL, SUBMIT, self._submit)

    def _check(self, message: Message) -> Any:
        client = self._client_of(message)
        request, _ = read(message)
        is_wanted = self._communicator.is_wanted(client, str(request.get_header(ReservedHeaderKey.TASK_ID)))
        return packed(make_reply(ReturnCode.OK if is_wanted else ReturnCode.TASK_UNKNOWN))

    def _submit(self, message: Message) -> Any:
        client = self._client_of(message)
        result, peer = read(message)
        name, id = (str(result.get_header(key)) for key in (ReservedHeaderKey.TASK_NAME, ReservedHeaderKey.TASK_ID))
        with self._engine.new_context() as fl_ctx:
            if peer.get_job_id() != fl_ctx.get_job_id():
                log.warning("a result of %s belongs to job %s; it is dropped", client, peer.get_job_id())
                return packed(make_reply(ReturnCode.RUN_MISMATCH))
            submission, client_task = self._communicator.submit(client, id)
            self._cell.send_reply(packed(make_reply(ReturnCode.OK)), message.origin, [message.req_id])
            describe(fl_ctx, peer, message.origin, name, id)
            result.set_peer_props(peer.get_all_public_props())
            try:
                if client_task is not None:
                    self._process(client_task, result, fl_ctx)
                elif submission is not Submission.REPEATED:
                    self._unknown(client, name, id, result, fl_ctx)
            except (Exception, SystemExit):  # the client has its reply already
                log.exception("the result of %s for task %s could not be processed", client, name)
            finally:
                if client_task is not None:
                    fl_ctx.sync_sticky()  # before the task ends by it: who waits for the task sees them
                    self._communicator.processed(client_task)
        return None

    def _process(self, client_task: ClientTask, result: Shareable, fl_ctx: FLContext) -> None:
        if (rc := result.get_return_code()) in ABORTING:
            reason = result.get_header(ReservedHeaderKey.ERROR, "")
            self._engine.panic(
                f"{client_task.client.name} cannot do task {client_task.task.name}: {rc} {reason}", fl_ctx
            )
            return
        result = self._filtered(client_task, result, fl_ctx)
        fl_ctx.put(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
        self._engine.fire_event(EventType.BEFORE_PROCESS_SUBMISSION, fl_ctx)
        if not self._communicator.receive(client_task, result, fl_ctx):
            self._unknown(client_task.client.name, client_task.task.name, client_task.id, result, fl_ctx)
        self._engine.fire_event(EventType.AFTER_PROCESS_SUBMISSION, fl_ctx)

    def _filtered(self, client_task: ClientTask, result: Shareable, fl_ctx: FLContext) -> Shareable:
        name = client_task.task.name
        fl_ctx.put(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
        self._engine.fire_event(EventType.BEFORE_TASK_RESULT_FILTER, fl_ctx)
        try:
            result = self._filters.process(name, result, fl_ctx)
        except (Exception, SystemExit) as error:  # a filter of the user
            log.exception("a result filter of task %s failed", name)
            text = f"{type(error).__name__}: {error}"
            result = make_reply(ReturnCode.TASK_RESULT_FILTER_ERROR, {ReservedHeaderKey.ERROR: text})
        fl_ctx.put(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
        self._engine.fire_event(EventType.AFTER_TASK_RESULT_FILTER, fl_ctx)
        return result

    def _unknown(self, client: str, name: str, id: str, result: Shareable, fl_ctx: FLContext) -> None:
        if (controller := self.controller) is not None:
            controller.process_result_of_unknown_task(self._engine.client(client), name, id, result, fl_ctx)


def describe(fl_ctx: FLContext, peer: FLContext, origin: str, name: str, id: str) -> None:
    """Say in a context which client is dealt with, and which task."""
    fl_ctx.set_peer_context(peer)
    for key, value in (
        (FLContextKey.PEER_FQCN, origin), (FLContextKey.TASK_NAME, name), (FLContextKey.TASK_ID, id),
    ):  # fmt: skip
        fl_ctx.put(key, value, private=True, sticky=False)
