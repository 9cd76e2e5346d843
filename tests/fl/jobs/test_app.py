"""The app of a site: built from what was deployed, each part of the kind that its place asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fl.jobs.conftest import problems_of
from tests.fl.jobs.sample_jobs import write_job
from zmqfl.context.workspace import Workspace
from zmqfl.fl.jobs.app import load_app
from zmqfl.fl.jobs.app_config import Role
from zmqfl.fl.jobs.deploy import deploy
from zmqfl.fl.jobs.job_folder import read_job


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path / "ws"), "site-1")


def deployed(tmp_path: Path, workspace: Workspace, **parts: Any) -> None:
    deploy(read_job(write_job(tmp_path, **parts)), "app", workspace, "j", ["site-1"])


@pytest.mark.usefixtures("modules")
def test_both_sides(tmp_path: Path, workspace: Workspace) -> None:
    deployed(tmp_path, workspace)
    server, client = load_app(workspace, "j", "server"), load_app(workspace, "j", "client")
    assert [type(each).__name__ for each in server.workflows.values()] == ["Flow"]
    assert (server.executors, client.workflows) == ((), {})
    assert [(tasks, type(each).__name__) for tasks, each in client.executors] == [(("work",), "Work")]
    assert list(client.components) == ["ears"]


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("parts", "role", "told"),
    [
        ({"workflow": {"path": "sample_code.Work"}}, "server",
         "workflows.0.path: sample_code.Work is no Controller; name a class that extends Controller"),
        ({"executor": {"path": "sample_code.Flow"}}, "client",
         "executors.0.executor.path: sample_code.Flow is no Executor; name a class that extends Executor"),
    ],
)  # fmt: skip
def test_a_part_of_the_wrong_kind(
    tmp_path: Path, workspace: Workspace, parts: dict[str, Any], role: Role, told: str
) -> None:
    deployed(tmp_path, workspace, **parts)
    (line,) = problems_of(lambda: load_app(workspace, "j", role))
    assert line.endswith(told)


def test_nothing_deployed(workspace: Workspace) -> None:
    (line,) = problems_of(lambda: load_app(workspace, "j", "server"))
    assert line.endswith("app_site-1/config/config_fed_server.json: no such file; deploy the job again")
