"""What a site is to run: config_fed_server and config_fed_client, read and checked, no class looked for yet.

    {"format_version": 2,
     "components": [{"id": "...", "path": "package.module.Class", "args": {...}}],
     "workflows":  [{"id": "...", "path": "...", "args": {...}}],                       of the server
     "executors":  [{"tasks": ["train"], "executor": {"path": "...", "args": {...}}}],  of a client
     "task_data_filters":   [{"tasks": ["train"], "filters": [{"path": "..."}], "direction": "in"}],
     "task_result_filters": [...]}

`class_path` is another word for `path`; `name` finds a class that zmqfl ships. All other keys are variables of the app.
Source: reference "flare" 6.8, 6.9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from zmqfl.fl.jobs.fields import Fields, find_config, read_config
from zmqfl.topology.source import Node

Direction = Literal["in", "out", "inout"]
Role = Literal["server", "client"]

STEMS: Final[dict[Role, str]] = {"server": "config_fed_server", "client": "config_fed_client"}
"""Names of the config files, without what tells JSON from YAML."""
FORMAT_VERSION: Final = 2
CLASS_KEYS: Final = ("path", "class_path", "name")
"""Keys that name a class; a component has one of them."""
ALL_TASKS: Final = "*"

_PATH: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_COMMON: Final = ("format_version", "components", "task_data_filters", "task_result_filters")
_OF_ROLE: Final[dict[Role, tuple[str, ...]]] = {"server": ("workflows", "server"), "client": ("executors", "client")}
_DIRECTIONS: Final[dict[tuple[Role, str], Direction]] = {
    ("server", "task_data_filters"): "out",
    ("server", "task_result_filters"): "in",
    ("client", "task_data_filters"): "in",
    ("client", "task_result_filters"): "out",
}
"""Which way a filter works unless its `direction` says so."""


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """A component as a file describes it. `node`: its place, for errors."""

    id: str
    path: str
    """Class path, or the bare name of a class that zmqfl ships."""
    args: dict[str, Any]
    node: Node


@dataclass(frozen=True, slots=True)
class ExecutorSpec:
    """An executor and the tasks that it does: names, and patterns with `*`."""

    tasks: tuple[str, ...]
    executor: ComponentSpec


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """Filters, in their order, for tasks by their exact names."""

    tasks: tuple[str, ...]
    filters: tuple[ComponentSpec, ...]
    direction: Direction


@dataclass(frozen=True, slots=True)
class AppConfig:
    """What one site is to run. `workflows` are a server's, `executors` a client's."""

    file: str
    role: Role
    components: tuple[ComponentSpec, ...] = ()
    workflows: tuple[ComponentSpec, ...] = ()
    executors: tuple[ExecutorSpec, ...] = ()
    task_data_filters: tuple[FilterSpec, ...] = ()
    task_result_filters: tuple[FilterSpec, ...] = ()
    variables: dict[str, Any] = field(default_factory=dict)


def config_file(app: Path, role: Role) -> Path | None:
    """The config file of an app for one side; None when it has none. Raises `TopologyErrors` when it has several."""
    return find_config(app / "config", STEMS[role])


def read_app_config(file: Path, role: Role) -> AppConfig:
    """Read and check a config file. Raises `TopologyErrors` with all that is wrong in it."""
    fields = read_config(file)
    if fields.value("format_version") != FORMAT_VERSION or isinstance(fields.value("format_version"), bool):
        shown = fields.value("format_version") if fields.has("format_version") else "missing"
        fields.add(f"must be {FORMAT_VERSION}, and is {shown}", "format_version", remedy='write "format_version": 2')
    known = (*_COMMON, *_OF_ROLE[role])
    fields.refuse_others(known, similar=True)
    config = AppConfig(
        str(file),
        role,
        components=tuple(_components(fields)),
        workflows=tuple(_workflows(fields)) if role == "server" else (),
        executors=tuple(_executors(fields)) if role == "client" else (),
        task_data_filters=tuple(_filters(fields, role, "task_data_filters")),
        task_result_filters=tuple(_filters(fields, role, "task_result_filters")),
        variables={key: fields.value(key) for key in fields if key not in known},
    )
    fields.finish()
    return config


# ------------------------------------------------------------------------------------------------------------ its parts


def _components(fields: Fields) -> Iterator[ComponentSpec]:
    seen: set[str] = set()
    for item in fields.items("components"):
        yield _identified(item, item.text("id", None), seen)


def _workflows(fields: Fields) -> Iterator[ComponentSpec]:
    found = fields.items("workflows")
    if not found and not fields.errors:
        fields.add("names no workflow", "workflows", remedy="add one: without it the server has nothing to do")
    seen = {item.text("id") for item in fields.items("components")} - {""}
    for item in found:
        spec = _component(item)
        yield _identified(item, spec.id or spec.path.rpartition(".")[2], seen)


def _identified(item: Fields, id: str, seen: set[str]) -> ComponentSpec:
    if id and id in seen:
        item.add(f"the id {id!r} is another component's already", "id", remedy="choose another id")
    seen.add(id)
    spec = _component(item)
    return ComponentSpec(id, spec.path, spec.args, spec.node)


def _component(item: Fields) -> ComponentSpec:
    item.refuse_others(("id", "args", "config_type", *CLASS_KEYS))
    given = [key for key in CLASS_KEYS if item.has(key)]
    path = ""
    if len(given) != 1:
        problem = f"names its class twice, by {' and '.join(given)}" if given else "names no class"
        item.add(problem, remedy="give `path`, as in package.module.Class")
    else:
        path = item.text(given[0])
        if path and not (_NAME if given[0] == "name" else _PATH).fullmatch(path):
            item.add(f"{path!r} is no path of a class", given[0], remedy="write package.module.Class")
    args = item.mapping("args")
    return ComponentSpec(item.text("id"), path, args.node.plain() if args else {}, item.node)  # type: ignore[arg-type]


def _executors(fields: Fields) -> Iterator[ExecutorSpec]:
    found = fields.items("executors")
    if not found and not fields.errors:
        fields.add("names no executor", "executors", remedy="add one: without it the client can do no task")
    seen: set[str] = set()
    for item in found:
        item.refuse_others(("tasks", "executor"))
        tasks = _tasks(item)
        for i, task in enumerate(tasks):
            if task in seen:
                item.add(f"task {task!r} has an executor already", "tasks", i, remedy="name each task once")
        seen.update(tasks)
        if (executor := item.mapping("executor", required=True)) is not None:
            yield ExecutorSpec(tasks, _component(executor))


def _filters(fields: Fields, role: Role, key: str) -> Iterator[FilterSpec]:
    for item in fields.items(key):
        item.refuse_others(("tasks", "filters", "direction"))
        direction = item.text("direction", _DIRECTIONS[role, key])
        if direction not in get_args(Direction):
            item.add(f"must be one of {', '.join(get_args(Direction))}, not {direction!r}", "direction")
        filters = tuple(_component(each) for each in item.items("filters"))
        if not filters:
            item.add("names no filter", "filters", remedy="add one, or remove this entry")
        yield FilterSpec(_tasks(item), filters, cast("Direction", direction))


def _tasks(item: Fields) -> tuple[str, ...]:
    tasks = item.texts("tasks", required=True)
    if not tasks and item.has("tasks"):
        item.add("names no task", "tasks", remedy=f'write the names of tasks, or "{ALL_TASKS}" for an executor of all')
    return tasks
