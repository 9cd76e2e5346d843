"""The app of a site, built: the objects that its config file describes, ready for a runner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zmqfl.context.workspace import Workspace
from zmqfl.errors import TopologyError, TopologyErrors
from zmqfl.fl.controller import Controller
from zmqfl.fl.executor import Executor
from zmqfl.fl.filter import Filter
from zmqfl.fl.jobs.app_config import (
    STEMS,
    AppConfig,
    ComponentSpec,
    FilterSpec,
    Role,
    config_file,
    read_app_config,
)
from zmqfl.fl.jobs.classes import use_custom
from zmqfl.fl.jobs.components import build
from zmqfl.fl.task_filters import TaskFilters


@dataclass(frozen=True, slots=True)
class App:
    """See the module; `components` by their ids."""

    config: AppConfig
    components: dict[str, Any]
    workflows: dict[str, Controller]
    executors: tuple[tuple[tuple[str, ...], Executor], ...]
    task_data_filters: tuple[TaskFilters, ...]
    task_result_filters: tuple[TaskFilters, ...]


def load_app(workspace: Workspace, job_id: str, role: Role) -> App:
    """Build what was deployed for a site. Raises `TopologyErrors` naming file and key for what cannot be built."""
    use_custom(Path(workspace.get_app_custom_dir(job_id)))
    folder = Path(workspace.get_app_dir(job_id))
    if (file := config_file(folder, role)) is None:
        missing = str(folder / "config" / f"{STEMS[role]}.json")
        raise TopologyErrors([TopologyError("no such file", file=missing, remedy="deploy the job again")])
    config = read_app_config(file, role)
    return App(
        config,
        components={spec.id: build(spec) for spec in config.components},
        workflows={spec.id: _controller(spec) for spec in config.workflows},
        executors=tuple((spec.tasks, _executor(spec.executor)) for spec in config.executors),
        task_data_filters=tuple(map(_filters, config.task_data_filters)),
        task_result_filters=tuple(map(_filters, config.task_result_filters)),
    )


def _controller(spec: ComponentSpec) -> Controller:
    if isinstance(component := build(spec), Controller):
        return component
    raise _odd(spec, Controller.__name__)


def _executor(spec: ComponentSpec) -> Executor:
    if isinstance(component := build(spec), Executor):
        return component
    raise _odd(spec, Executor.__name__)


def _filter(spec: ComponentSpec) -> Filter:
    if isinstance(component := build(spec), Filter):
        return component
    raise _odd(spec, Filter.__name__)


def _filters(spec: FilterSpec) -> TaskFilters:
    return TaskFilters(spec.tasks, tuple(map(_filter, spec.filters)), spec.direction)


def _odd(spec: ComponentSpec, wanted: str) -> TopologyErrors:
    remedy = f"name a class that extends {wanted}"
    return TopologyErrors([spec.node.error(f"{spec.path} is no {wanted}", "path", remedy=remedy)])
