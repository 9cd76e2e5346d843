"""The last moments of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fl.runs import Run, Trace
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.fl.run_settings import RunSettings

MakeRun = Callable[..., Run]


class NotYet(Trace):
    """Is ready when it has been asked `times` times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        self.log.append(event_type)
        if event_type == EventType.CHECK_END_RUN_READINESS and self.log.count(event_type) < self.times:
            fl_ctx.set_prop(FLContextKey.NOT_READY_TO_END_RUN, True, private=True, sticky=False)


def test_the_end_waits_for_who_is_not_ready(run_of: MakeRun) -> None:
    run = run_of(1)
    server, client = NotYet(3), NotYet(2)
    run.serve(lambda *args: None, {"c": server})
    run.client("site-1", components={"c": client})
    assert run.wait_all() == {"server": 0, "site-1": 0}
    check = EventType.CHECK_END_RUN_READINESS
    assert server.log[-4:] == [check, check, check, EventType.END_RUN]
    assert client.log[-3:] == [check, check, EventType.END_RUN]


def test_the_end_does_not_wait_for_ever(run_of: MakeRun, caplog: Any) -> None:
    run = run_of(1, settings=RunSettings(end_patience=0.2))
    server = NotYet(10**9)
    run.serve(lambda *args: None, {"c": server})
    run.client()
    assert run.wait_all() == {"server": 0, "site-1": 0}
    assert server.log[-1] == EventType.END_RUN
    assert "somebody is not ready for the end of the run" in caplog.text
