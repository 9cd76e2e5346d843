"""Jobs from objects: the folder says what they are, and builds them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fl.jobs.local_learner import Net
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.context.workspace import Workspace
from zmqfl.errors import ArgumentError, UserError
from zmqfl.fl.controller import Controller
from zmqfl.fl.executor import Executor
from zmqfl.fl.fedavg import FedAvg
from zmqfl.fl.filter import Filter
from zmqfl.fl.jobs import simulator
from zmqfl.fl.jobs.app import load_app
from zmqfl.fl.jobs.builder import Job
from zmqfl.fl.jobs.deploy import deploy
from zmqfl.fl.jobs.job_folder import read_job
from zmqfl.fl.model_persistor import NPModelPersistor
from zmqfl.fl.weighted_mean import Weights


class Learner(Executor):
    def __init__(self, net: Any, epochs: int = 1) -> None:
        self.net, self.epochs = net, epochs

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        return shareable


class Flow(Controller):
    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        pass


class Noise(Filter):
    def __init__(self, level: float = 0.0) -> None:
        pass

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        return shareable


class Plain(FLComponent):
    pass


class Start:
    def __init__(self, size: int) -> None:
        self.size = size

    def initial_weights(self) -> Weights:
        return {}


HERE = __name__


def config(job: Path, app: str, role: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job / app / f"config/config_fed_{role}.json").read_text())
    return found


def test_one_app_for_all(tmp_path: Path) -> None:
    job = Job("digits", min_clients=2, mandatory_clients=["site-1"])
    job.to_server(FedAvg(num_rounds=3), id="fedavg")
    job.to_server(NPModelPersistor(Start(4)), id="persistor")
    job.to_clients(Learner(Net(3), epochs=2), tasks=["train"])
    job.to_clients(Noise(0.5), tasks=["train"], on="result")
    job.to_server(Noise(), tasks=["train"], direction="inout")
    job.set_variable("", "np_download_chunk_size", 0)
    path = job.export(tmp_path)
    assert path == tmp_path / "digits"
    assert json.loads((path / "meta.json").read_text()) == {
        "name": "digits", "resource_spec": {}, "min_clients": 2, "deploy_map": {"app": ["@ALL"]},
        "mandatory_clients": ["site-1"],
    }  # fmt: skip
    assert config(path, "app", "server") == {
        "format_version": 2,
        "workflows": [{"id": "fedavg", "path": "zmqfl.fl.fedavg.FedAvg", "args": {"num_rounds": 3}}],
        "components": [
            {"id": "persistor", "path": "zmqfl.fl.model_persistor.NPModelPersistor",
             "args": {"initial": {"path": f"{HERE}.Start", "args": {"size": 4}}}},
        ],
        "task_data_filters": [
            {"tasks": ["train"], "filters": [{"path": f"{HERE}.Noise", "args": {}}], "direction": "inout"},
        ],
    }  # fmt: skip
    net = {"path": "tests.fl.jobs.local_learner.Net", "args": {"size": 3}}
    learner = {"path": f"{HERE}.Learner", "args": {"net": net, "epochs": 2}}
    assert config(path, "app", "client") == {
        "format_version": 2,
        "executors": [{"tasks": ["train"], "executor": learner}],
        "task_result_filters": [{"tasks": ["train"], "filters": [{"path": f"{HERE}.Noise", "args": {"level": 0.5}}]}],
        "np_download_chunk_size": 0,
    }


@pytest.mark.usefixtures("modules")
def test_what_is_exported_is_loaded(tmp_path: Path) -> None:
    job = Job("trial")
    job.to_server(Flow())
    job.to_server(Plain(), id="plain")
    job.to_clients(Learner(Net(3)))
    job.to_clients(Noise(), tasks=["a"])
    read = read_job(job.export(tmp_path))
    workspaces = {name: Workspace(str(tmp_path / "ws" / name), name) for name in ("server", "site-1")}
    for workspace in workspaces.values():
        deploy(read, "app", workspace, "j", ["site-1"])
    server = load_app(workspaces["server"], "j", "server")
    client = load_app(workspaces["site-1"], "j", "client")
    assert [(id, type(each).__name__) for id, each in server.workflows.items()] == [("Flow", "Flow")]
    assert [(id, type(each).__name__) for id, each in server.components.items()] == [("plain", "Plain")]
    ((tasks, executor),) = client.executors
    assert (tasks, type(executor).__name__, executor.net.size) == (("*",), "Learner", 3)  # type: ignore[attr-defined]
    (filters,) = client.task_data_filters
    assert (filters.tasks, filters.direction, len(filters.filters)) == (("a",), "in", 1)


def test_an_app_per_site(tmp_path: Path) -> None:
    job = Job("two")
    job.to_server(Flow())
    job.to(Learner(Net(1)), "site-1")
    job.to(Learner(Net(2)), "site-2")
    path = job.export(tmp_path)
    assert json.loads((path / "meta.json").read_text())["deploy_map"] == {
        "app_server": ["server"], "app_site-1": ["site-1"], "app_site-2": ["site-2"],
    }  # fmt: skip
    args = config(path, "app_site-2", "client")["executors"][0]["executor"]["args"]
    assert args == {"net": {"path": "tests.fl.jobs.local_learner.Net", "args": {"size": 2}}}


def test_code_and_files_go_along(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/part.csv").write_text("1")
    (tmp_path / "more.py").touch()
    job = Job("own")
    job.to_server(Flow())
    job.to_clients(Learner(Net(1)))
    job.add_files(tmp_path / "data", tmp_path / "more.py")
    custom = job.export(tmp_path / "jobs") / "app/custom"
    assert (custom / "data/part.csv").read_text() == "1"
    assert {"data", "more.py"} < {entry.name for entry in custom.iterdir()}
    assert (custom / "tests/fl/jobs/local_learner.py").is_file()
    assert (custom / "tests/fl/jobs/local_helper.py").is_file()
    with pytest.raises(ArgumentError, match="there is no file 'nowhere'; name one that exists"):
        job.add_files("nowhere")


def test_an_older_export_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    job = Job("again")
    job.to_server(Flow())
    job.to_clients(Learner(Net(1)))
    (job.export(tmp_path) / "old.txt").touch()
    assert not (job.export(tmp_path) / "old.txt").exists()
    (tmp_path / "again/meta.json").unlink()
    with pytest.raises(UserError, match="/again exists and is no job; choose another folder"):
        job.export(tmp_path)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([], "job 'j' has no Controller; add one by `to_server`"),
        ([("server", Flow())], "job 'j' has nothing for clients; add an Executor by `to_clients`"),
        ([("server", Flow()), ("", Plain())], "job 'j' has no Executor for the clients; add one by"),
        ([("server", Flow()), ("a", Plain())], "job 'j' has no Executor for a; add one by `to_clients` or `to`"),
        ([("", Flow())], "a Controller is the server's; Flow goes to `to_server`"),
        ([("server", Learner(Net(1)))], "an Executor is a client's; Learner goes to `to_clients`"),
        ([("", Learner(Net(1))), ("a", Learner(Net(1)))], "a job goes to all clients alike, or to each by its name"),
        ([("a", Learner(Net(1))), ("", Learner(Net(1)))], "a job goes to all clients alike, or to each by its name"),
        ([("server", Flow()), ("server", Flow())], "the id 'Flow' is another component's already; choose another"),
        ([("server", Noise())], "a filter needs the exact names of its `tasks`"),
    ],
)
def test_what_is_no_job(tmp_path: Path, parts: list[tuple[str, Any]], told: str) -> None:
    def make() -> None:
        job = Job("j")
        for target, component in parts:
            options = {"id": "plain"} if isinstance(component, Plain) else {}
            if target:
                job.to(component, target, **options)
            else:
                job.to_clients(component, **options)
        job.export(tmp_path)

    with pytest.raises(ArgumentError) as caught:
        make()
    assert str(caught.value).startswith(told)


def test_arguments() -> None:
    with pytest.raises(ArgumentError, match="'a/b' is no name of a job; use letters, digits, - and _"):
        Job("a/b")
    with pytest.raises(ArgumentError, match="min_clients must be a whole number above 0, not 0"):
        Job("a", 0)
    with pytest.raises(ArgumentError, match="a Plain needs an id, by which others find it"):
        Job("a").to_server(Plain())
    with pytest.raises(ArgumentError, match="target is empty; use `to_clients` for all clients"):
        Job("a").to(Plain(), "", "x")
    with pytest.raises(ArgumentError, match="a filter works on 'data' or 'result', not on 'both'"):
        Job("a").to_clients(Noise(), tasks=["a"], on="both")


def test_simulate_passes_all_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def simulate(job: Path, *arguments: Any) -> int:
        calls.append((read_job(job).meta.name, *arguments))
        return 0

    monkeypatch.setattr(simulator, "simulate", simulate)
    job = Job("sim")
    job.to_server(Flow())
    job.to_clients(Learner(Net(1)))
    assert job.simulate(tmp_path / "ws", 3, threads=2) == 0
    assert calls == [("sim", tmp_path / "ws", 3, (), 2)]
