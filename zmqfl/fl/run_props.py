"""The props that each context of a run has. Source: seed 003, reference "flare" 1.8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zmqfl.context.keys import FLContextKey
from zmqfl.context.workspace import Workspace


def described(
    job_id: str,
    workspace: Workspace | None,
    process_type: str,
    args: Mapping[str, Any] | None,
    job_meta: Mapping[str, Any] | None,
    simulate: bool,
    secure: bool,
    runner: object,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(public props, private props)."""
    public = {FLContextKey.CURRENT_RUN: job_id, FLContextKey.CURRENT_JOB_ID: job_id}
    private = {
        FLContextKey.ARGS: dict(args or {}),
        FLContextKey.JOB_META: dict(job_meta or {}),
        FLContextKey.PROCESS_TYPE: process_type,
        FLContextKey.RUNNER: runner,
        FLContextKey.SECURE_MODE: secure,
        FLContextKey.SIMULATE_MODE: simulate,
    }
    if workspace is not None:
        private |= {
            FLContextKey.APP_ROOT: workspace.get_app_dir(job_id),
            FLContextKey.WORKSPACE_OBJECT: workspace,
            FLContextKey.WORKSPACE_ROOT: workspace.get_root_dir(),
        }
    return public, private
