"""What does the tasks of a client. Source: seed 003, reference "flare" 6.3."""

from __future__ import annotations

from abc import ABC, abstractmethod

from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal


class Executor(FLComponent, ABC):
    """Base of executors. A client does one task at a time."""

    @abstractmethod
    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Do a task, and return its result.

        `shareable`: the data of the task. `fl_ctx`: knows the peer, and the task's name and id. `abort_signal`: it is
        triggered when the run ends or is aborted; return soon then. What is raised here becomes the return code
        EXECUTION_EXCEPTION, a RuntimeError and a result that is no Shareable EXECUTION_RESULT_ERROR.
        """
