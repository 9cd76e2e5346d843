from __future__ import annotations

from typing import Any

import pytest

from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.keys import ReservedKey
from zmqfl.context.signal import Signal


class Engine:
    def get_workspace(self) -> str:
        return "the workspace"


def test_of_a_managed_context() -> None:
    engine = Engine()
    fl_ctx = FLContextManager(engine, "site-1", "job-1").new_context()
    assert fl_ctx.get_engine() is engine
    assert (fl_ctx.get_job_id(), fl_ctx.get_identity_name()) == ("job-1", "site-1")
    assert fl_ctx.get_workspace() == "the workspace"


def test_of_a_bare_context() -> None:
    fl_ctx = FLContext()
    assert (fl_ctx.get_engine(), fl_ctx.get_engine("none")) == (None, "none")
    assert (fl_ctx.get_job_id(), fl_ctx.get_job_id("0")) == (None, "0")
    assert (fl_ctx.get_identity_name(), fl_ctx.get_identity_name("?")) == ("", "?")
    assert (fl_ctx.get_process_type(), fl_ctx.get_process_type("SP")) == (None, "SP")
    assert fl_ctx.get_run_abort_signal() is None
    with pytest.raises(RuntimeError, match=r"no engine.*new_context"):
        fl_ctx.get_workspace()


def test_the_others() -> None:
    signal = Signal()
    stickers: dict[str, Any] = {ReservedKey.PROCESS_TYPE: "CJ", ReservedKey.RUN_ABORT_SIGNAL: signal}
    manager = FLContextManager(private_stickers=stickers)
    with manager.new_context() as fl_ctx:
        assert fl_ctx.get_process_type() == "CJ"
        assert fl_ctx.get_run_abort_signal() is signal
        assert not fl_ctx.is_job_unsafe()
        fl_ctx.set_job_is_unsafe()
        assert fl_ctx.is_job_unsafe()
    assert manager.new_context().is_job_unsafe()
    assert manager.new_context().get_prop_detail(ReservedKey.JOB_IS_UNSAFE) == {
        "value": True, "private": True, "sticky": True,
    }  # fmt: skip
    fl_ctx.set_job_is_unsafe(False)
    assert not fl_ctx.is_job_unsafe()
