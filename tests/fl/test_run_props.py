"""The props that each context of a run has."""

from __future__ import annotations

from zmqfl.context.keys import FLContextKey, ProcessType
from zmqfl.context.workspace import Workspace
from zmqfl.fl.run_props import described


def test_without_a_workspace() -> None:
    public, private = described("job-1", None, ProcessType.SERVER_JOB, None, None, False, True, "runner")
    assert public == {FLContextKey.CURRENT_RUN: "job-1", FLContextKey.CURRENT_JOB_ID: "job-1"}
    assert (private[FLContextKey.ARGS], private[FLContextKey.JOB_META]) == ({}, {})
    assert (private[FLContextKey.SECURE_MODE], private[FLContextKey.RUNNER]) == (True, "runner")
    assert FLContextKey.APP_ROOT not in private


def test_with_a_workspace() -> None:
    workspace = Workspace("/ws", "site-1")
    _, private = described("j", workspace, ProcessType.CLIENT_JOB, {"a": 1}, {"name": "x"}, True, False, None)
    assert private[FLContextKey.APP_ROOT] == "/ws/j/app_site-1"
    assert private[FLContextKey.WORKSPACE_ROOT] == "/ws"
    assert private[FLContextKey.WORKSPACE_OBJECT] is workspace
    assert (private[FLContextKey.ARGS], private[FLContextKey.SIMULATE_MODE]) == ({"a": 1}, True)
