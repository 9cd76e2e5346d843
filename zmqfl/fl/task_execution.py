"""A task at its client, from the data that came to the result that goes: one return code for each place of failure.

    the job is unsafe here                        UNSAFE_JOB
    the data says no task                         BAD_TASK_DATA
    the peer's props are missing, are of no peer  MISSING_PEER_CONTEXT, BAD_PEER_CONTEXT
    the peer runs another job                     RUN_MISMATCH
    no executor for the task                      TASK_UNKNOWN
    a data filter raises                          TASK_DATA_FILTER_ERROR
    nobody wants the result any more              TASK_ABORTED
    the executor raises RuntimeError, or returns
    no Shareable                                  EXECUTION_RESULT_ERROR
    the executor raises anything else             EXECUTION_EXCEPTION
    a result filter raises                        TASK_RESULT_FILTER_ERROR

The reason is the header `ReservedHeaderKey.ERROR` of the result. Source: reference "flare" 6.3.
"""

from __future__ import annotations

import logging

from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import AppConstants, FLContextKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import ReservedHeaderKey, Shareable, make_reply
from zmqfl.context.signal import Signal
from zmqfl.fl.run_engine import RunEngine
from zmqfl.fl.task_filters import FilterChain
from zmqfl.fl.task_router import TaskRouter

log = logging.getLogger("zmqfl.fl")


class _Failed(Exception):
    """The task ends here, with this return code."""

    def __init__(self, rc: ReturnCode, reason: object) -> None:
        self.rc = rc
        super().__init__(str(reason))


class TaskExecution:
    """See the module."""

    def __init__(
        self, engine: RunEngine, router: TaskRouter, data_filters: FilterChain, result_filters: FilterChain
    ) -> None:
        self._engine = engine
        self._router = router
        self._data_filters = data_filters
        self._result_filters = result_filters

    def run(self, task: Shareable, peer: FLContext | None, fl_ctx: FLContext, signal: Signal) -> Shareable:
        """The result, with the name and id of the task and its cookies. Nothing that the application does raises."""
        name = task.get_header(ReservedHeaderKey.TASK_NAME)
        id = task.get_header(ReservedHeaderKey.TASK_ID)
        try:
            self._describe(task, name, id, peer, fl_ctx)
            result = self._run(str(name), task, fl_ctx, signal)
        except _Failed as failure:
            log.warning("task %s ends with %s: %s", name, failure.rc, failure)
            result = make_reply(failure.rc, {ReservedHeaderKey.ERROR: str(failure)})
        result.set_header(ReservedHeaderKey.TASK_NAME, name)
        result.set_header(ReservedHeaderKey.TASK_ID, id)
        if (jar := task.get_cookie_jar()) is not None:
            result.set_cookie_jar(jar)
        fl_ctx.put(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
        return result

    def _describe(self, task: Shareable, name: object, id: object, peer: FLContext | None, fl_ctx: FLContext) -> None:
        """Say in the context what is done, and for whom."""
        fl_ctx.set_peer_context(peer)
        fl_ctx.put(FLContextKey.TASK_NAME, name, private=False, sticky=False)
        fl_ctx.put(FLContextKey.TASK_ID, id, private=False, sticky=False)
        fl_ctx.put(FLContextKey.TASK_DATA, task, private=True, sticky=False)
        if fl_ctx.is_job_unsafe():
            raise _Failed(ReturnCode.UNSAFE_JOB, "the job brought code that must not run here")
        if not isinstance(name, str) or not isinstance(id, str):
            raise _Failed(ReturnCode.BAD_TASK_DATA, "the task has no name, or no id")
        if peer is None:
            raise _Failed(ReturnCode.MISSING_PEER_CONTEXT, "the task brought no public props of its server")
        if not isinstance(peer.get_job_id(), str):
            raise _Failed(ReturnCode.BAD_PEER_CONTEXT, "the props of the server name no job")
        if peer.get_job_id() != fl_ctx.get_job_id():
            text = f"the task belongs to job {peer.get_job_id()!r}, and this site runs {fl_ctx.get_job_id()!r}"
            raise _Failed(ReturnCode.RUN_MISMATCH, text)
        task.set_peer_props(peer.get_all_public_props())
        if peer.public_key_exists(AppConstants.CURRENT_ROUND):
            number = peer.get_prop(AppConstants.CURRENT_ROUND)
            fl_ctx.put(AppConstants.CURRENT_ROUND, number, private=False, sticky=False)

    def _run(self, name: str, task: Shareable, fl_ctx: FLContext, signal: Signal) -> Shareable:
        if (executor := self._router.find(name)) is None:
            raise _Failed(ReturnCode.TASK_UNKNOWN, f"no executor does task {name!r}")
        self._engine.fire_event(EventType.BEFORE_TASK_DATA_FILTER, fl_ctx)
        try:
            task = self._data_filters.process(name, task, fl_ctx)
        except (Exception, SystemExit) as error:
            log.exception("a data filter of task %s failed", name)
            raise _Failed(ReturnCode.TASK_DATA_FILTER_ERROR, _text(error)) from error
        fl_ctx.put(FLContextKey.TASK_DATA, task, private=True, sticky=False)
        self._engine.fire_event(EventType.AFTER_TASK_DATA_FILTER, fl_ctx)
        self._engine.fire_event(EventType.BEFORE_TASK_EXECUTION, fl_ctx)
        if signal.triggered:
            raise _Failed(ReturnCode.TASK_ABORTED, "before it was executed")
        try:
            result: object = executor.execute(name, task, fl_ctx, signal)
        except RuntimeError as error:
            log.exception("executor %s failed at task %s", executor.name, name)
            raise _Failed(ReturnCode.EXECUTION_RESULT_ERROR, _text(error)) from error
        except (Exception, SystemExit) as error:
            log.exception("executor %s failed at task %s", executor.name, name)
            raise _Failed(ReturnCode.EXECUTION_EXCEPTION, _text(error)) from error
        finally:
            self._engine.fire_event(EventType.AFTER_TASK_EXECUTION, fl_ctx)
        if signal.triggered:
            raise _Failed(ReturnCode.TASK_ABORTED, "nobody wants the result any more")
        if not isinstance(result, Shareable):
            text = f"executor {executor.name} returned {type(result).__name__}, not a Shareable"
            raise _Failed(ReturnCode.EXECUTION_RESULT_ERROR, text)
        return self._filtered(name, result, fl_ctx)

    def _filtered(self, name: str, result: Shareable, fl_ctx: FLContext) -> Shareable:
        fl_ctx.put(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
        self._engine.fire_event(EventType.BEFORE_TASK_RESULT_FILTER, fl_ctx)
        try:
            result = self._result_filters.process(name, result, fl_ctx)
        except (Exception, SystemExit) as error:
            log.exception("a result filter of task %s failed", name)
            raise _Failed(ReturnCode.TASK_RESULT_FILTER_ERROR, _text(error)) from error
        fl_ctx.put(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
        self._engine.fire_event(EventType.AFTER_TASK_RESULT_FILTER, fl_ctx)
        return result


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
