"""A job from Python: components are given as objects, and come out as a job folder.

    job = Job("digits", min_clients=2)
    job.to_server(FedAvg(num_rounds=20), id="fedavg")
    job.to_server(NPModelPersistor(DigitsModel()), id="persistor")
    job.to_clients(DigitsLearner(epochs=2), tasks=["train"])
    job.export("jobs")                                              # jobs/digits, for `zmqfl submit`
    status = job.simulate("workspace", n_clients=4)                 # or at once, on this machine

The classes are found at the sites by their paths: modules that are not installed go along in `custom`.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from zmqfl.errors import ArgumentError, UserError
from zmqfl.fl.controller import Controller
from zmqfl.fl.executor import Executor
from zmqfl.fl.filter import Filter
from zmqfl.fl.jobs.app_config import ALL_TASKS, FORMAT_VERSION, STEMS, Role
from zmqfl.fl.jobs.describe import arguments_of, describe
from zmqfl.fl.jobs.job_folder import ALL, SERVER
from zmqfl.fl.jobs.sources import sources_of

CLIENTS: Final = ""
"""Stands for all clients among the targets of a job under construction."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_~-]{0,63}")


@dataclass(slots=True)
class _Part:
    """What one target gets."""

    config: dict[str, Any] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def add(self, key: str, item: dict[str, Any]) -> None:
        self.config.setdefault(key, []).append(item)


class Job:
    """See the module. `name`: of the job and its folder; `min_clients`: fewer than these, and it does not start."""

    def __init__(self, name: str, min_clients: int = 1, mandatory_clients: Sequence[str] = ()) -> None:
        if not _NAME.fullmatch(name):
            raise ArgumentError(f"{name!r} is no name of a job; use letters, digits, - and _")
        if type(min_clients) is not int or min_clients < 1:
            raise ArgumentError(f"min_clients must be a whole number above 0, not {min_clients!r}")
        self.name = name
        self.min_clients = min_clients
        self.mandatory_clients = tuple(mandatory_clients)
        self._parts: dict[str, _Part] = {}
        self._files: dict[Path, Path] = {}
        """Place below `custom` -> file or folder."""

    # -- what it is made of --------------------------------------------------------------------------------------------

    def to_server(self, component: object, id: str | None = None, **options: Any) -> None:
        """Add a component of the server; see `to`."""
        self.to(component, SERVER, id, **options)

    def to_clients(self, component: object, id: str | None = None, **options: Any) -> None:
        """Add a component of all clients; see `to`."""
        self._add(CLIENTS, component, id, **options)

    def to(
        self,
        component: object,
        target: str,
        id: str | None = None,
        tasks: Iterable[str] | None = None,
        direction: str | None = None,
        on: str = "data",
    ) -> None:
        """Add a component of one site, "server" or the name of a client.

        A `Controller` becomes a workflow, in the order of their coming; an `Executor` does `tasks` (default: all); a
        `Filter` works on `tasks`, `on` their "data" or "result", in a `direction` ("in", "out", "inout"; default: as
        its side has it). All else is a component of that `id`. Raises `ArgumentError`.
        """
        if not target:
            raise ArgumentError("target is empty; use `to_clients` for all clients")
        self._add(target, component, id, tasks, direction, on)

    def add_files(self, *paths: str | Path) -> None:
        """Have files and folders go along in `custom`: data, or modules that no class of the job imports."""
        for path in map(Path, paths):
            if not path.exists():
                raise ArgumentError(f"there is no file {str(path)!r}; name one that exists")
            self._files[Path(path.name)] = path.absolute()

    def set_variable(self, target: str, name: str, value: Any) -> None:
        """Set a variable of the app of a site; "" for all clients."""
        self._part(target).config[name] = value

    # -- what becomes of it --------------------------------------------------------------------------------------------

    def export(self, folder: str | Path) -> Path:
        """Write the job as a folder below `folder`, in the place of an older one of its name; returns where it is.

        Raises `UserError` for a folder of that name that is no job, `ArgumentError` for a job that lacks a part.
        """
        from zmqfl.fl.jobs.job_folder import read_job

        self._check()
        path = Path(folder) / self.name
        if path.exists() and not (path / "meta.json").is_file():
            raise UserError(f"{path} exists and is no job", remedy="choose another folder")
        shutil.rmtree(path, ignore_errors=True)
        deploy_map = self._deploy_map()
        for app, sites in deploy_map.items():
            self._write_app(path / app, sites)
        meta = {"name": self.name, "resource_spec": {}, "min_clients": self.min_clients, "deploy_map": deploy_map}
        if self.mandatory_clients:
            meta["mandatory_clients"] = list(self.mandatory_clients)
        _write(path / "meta.json", meta)
        read_job(path)
        return path

    def simulate(
        self,
        workspace: str | Path = "simulator_workspace",
        n_clients: int | None = None,
        clients: Sequence[str] = (),
        threads: int | None = None,
    ) -> int:
        """Run the job on this machine until it has ended; returns the exit status of `zmqfl simulator`.

        See `zmqfl.fl.jobs.simulator.simulate`, which has the same arguments.
        """
        from zmqfl.fl.jobs.simulator import simulate

        with tempfile.TemporaryDirectory(prefix="zmqfl-job-") as folder:
            return simulate(self.export(folder), workspace, n_clients, clients, threads)

    # -- within ------------------------------------------------------------------------------------------------------

    def _add(
        self,
        target: str,
        component: object,
        id: str | None,
        tasks: Iterable[str] | None = None,
        direction: str | None = None,
        on: str = "data",
    ) -> None:
        part, described = self._part(target), describe(component)
        match component:
            case Controller():
                if target != SERVER:
                    raise ArgumentError(f"a Controller is the server's; {type(component).__name__} goes to `to_server`")
                part.add("workflows", {"id": self._free(part, id or type(component).__name__), **described})
            case Executor():
                if target == SERVER:
                    raise ArgumentError(f"an Executor is a client's; {type(component).__name__} goes to `to_clients`")
                part.add("executors", {"tasks": list(tasks or [ALL_TASKS]), "executor": described})
            case Filter():
                part.add(_filter_key(on), _filter(described, tasks, direction))
            case _:
                if not id:
                    raise ArgumentError(f"a {type(component).__name__} needs an id, by which others find it")
                part.add("components", {"id": self._free(part, id), **described})
        self._files.update(_sources_in(component))

    def _free(self, part: _Part, id: str) -> str:
        if id in part.ids:
            raise ArgumentError(f"the id {id!r} is another component's already; choose another")
        part.ids.add(id)
        return id

    def _part(self, target: str) -> _Part:
        named = self._parts.keys() - {SERVER, CLIENTS}
        if (target == CLIENTS and named) or (target not in (SERVER, CLIENTS) and CLIENTS in self._parts):
            raise ArgumentError("a job goes to all clients alike, or to each by its name; use one of the two")
        return self._parts.setdefault(target, _Part())

    def _check(self) -> None:
        if not self._parts.get(SERVER, _Part()).config.get("workflows"):
            raise ArgumentError(f"job {self.name!r} has no Controller; add one by `to_server`")
        clients = self._parts.keys() - {SERVER}
        if missing := [name for name in clients if not self._parts[name].config.get("executors")]:
            where = missing[0] or "the clients"
            raise ArgumentError(f"job {self.name!r} has no Executor for {where}; add one by `to_clients` or `to`")
        if not clients:
            raise ArgumentError(f"job {self.name!r} has nothing for clients; add an Executor by `to_clients`")

    def _deploy_map(self) -> dict[str, list[str]]:
        if CLIENTS in self._parts:
            return {"app": [ALL]}
        return {f"app_{target}": [target] for target in self._parts}

    def _write_app(self, app: Path, sites: Sequence[str]) -> None:
        parts = self._parts if sites == [ALL] else {target: self._parts[target] for target in sites}
        for target, part in parts.items():
            role: Role = "server" if target == SERVER else "client"
            _write(app / "config" / f"{STEMS[role]}.json", {"format_version": FORMAT_VERSION, **part.config})
        for place, source in self._files.items():
            copy = app / "custom" / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(source, copy)


def _filter_key(on: str) -> str:
    if on not in ("data", "result"):
        raise ArgumentError(f"a filter works on 'data' or 'result', not on {on!r}")
    return f"task_{on}_filters"


def _filter(described: dict[str, Any], tasks: Iterable[str] | None, direction: str | None) -> dict[str, Any]:
    if not (names := list(tasks or ())):
        raise ArgumentError("a filter needs the exact names of its `tasks`")
    return {"tasks": names, "filters": [described], **({"direction": direction} if direction else {})}


def _sources_in(component: object) -> dict[Path, Path]:
    """What a component needs to be imported, the objects among its arguments included."""
    found, waiting = sources_of(type(component)), list(arguments_of(component).values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
        elif hasattr(value, "__dict__") and not isinstance(value, Enum):
            found.update(_sources_in(value))
    return found


def _write(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n")
