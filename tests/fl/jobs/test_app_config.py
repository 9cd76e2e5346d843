"""The config files of an app: what they say, and each mistake with file, line and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fl.jobs.conftest import CLIENT, SERVER, problems_of
from zmqfl.fl.jobs.app_config import AppConfig, Role, config_file, read_app_config


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(role: Role, config: dict[str, Any]) -> AppConfig:
    Path("c.json").write_text(json.dumps(config))
    return read_app_config(Path("c.json"), role)


def problems(role: Role, **config: Any) -> list[str]:
    """What is wrong with a good config after these changes, without file and line."""
    whole = {**(SERVER if role == "server" else CLIENT), **config}
    return [line.removeprefix("c.json:1: ") for line in problems_of(lambda: read(role, whole))]


def test_server() -> None:
    config = read(
        "server",
        {
            "format_version": 2,
            "server": {"heart_beat_timeout": 600},
            "components": [
                {"id": "persistor", "path": "a.b.Persistor", "args": {"n": 1}},
                {"id": "files", "class_path": "a.Files"},
                {"id": "retriever", "name": "ContainerRetriever"},
            ],
            "workflows": [{"path": "a.Flow"}, {"id": "second", "path": "a.Flow", "args": {"rounds": 2}}],
            "task_data_filters": [{"tasks": ["train"], "filters": [{"path": "a.Filter"}]}],
            "task_result_filters": [{"tasks": ["a", "b"], "filters": [{"path": "a.F"}, {"path": "a.G"}],
                                     "direction": "inout"}],
            "cell_wait_timeout": 5.0,
        },
    )  # fmt: skip
    assert (config.role, config.file) == ("server", "c.json")
    assert [(each.id, each.path, each.args) for each in config.components] == [
        ("persistor", "a.b.Persistor", {"n": 1}),
        ("files", "a.Files", {}),
        ("retriever", "ContainerRetriever", {}),
    ]
    assert [(each.id, each.args) for each in config.workflows] == [("Flow", {}), ("second", {"rounds": 2})]
    assert [(each.tasks, each.direction) for each in config.task_data_filters] == [(("train",), "out")]
    assert [(each.tasks, each.direction) for each in config.task_result_filters] == [(("a", "b"), "inout")]
    assert [each.path for each in config.task_result_filters[0].filters] == ["a.F", "a.G"]
    assert config.variables == {"cell_wait_timeout": 5.0}
    assert config.executors == ()


def test_client() -> None:
    filters = [{"tasks": ["train"], "filters": [{"path": "a.F"}]}]
    config = read("client", {**CLIENT, "task_data_filters": filters, "task_result_filters": filters})
    assert [(each.tasks, each.executor.path) for each in config.executors] == [(("train",), "works.Work")]
    assert [each.direction for each in config.task_data_filters] == ["in"]
    assert [each.direction for each in config.task_result_filters] == ["out"]
    assert config.workflows == ()


def test_yaml_is_as_good() -> None:
    Path("c.yaml").write_text("format_version: 2\nexecutors:\n- {tasks: ['*'], executor: {path: a.B}}\n")
    assert read_app_config(Path("c.yaml"), "client").executors[0].tasks == ("*",)


@pytest.mark.parametrize("version", [None, 1, "2", True])
def test_format_version(version: Any) -> None:
    (line,) = problems("client", format_version=version)
    assert line.startswith("format_version: must be 2, and is ")
    assert line.endswith('write "format_version": 2')


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"workflows": []}, "workflows: names no workflow; add one: without it the server has nothing to do"),
        ({"workflow": []}, "workflow: unknown key; did you mean 'workflows'?"),
        ({"components": [{"path": "a.B"}]}, "components.0.id: is missing; add it"),
        ({"components": [{"id": "a", "path": "a.B"}] * 2},
         "components.1.id: the id 'a' is another component's already; choose another id"),
        ({"components": [{"id": "flow", "path": "a.B"}]},
         "workflows.0.id: the id 'flow' is another component's already; choose another id"),
        ({"components": [{"id": "a"}]}, "components.0: names no class; give `path`, as in package.module.Class"),
        ({"components": [{"id": "a", "path": "a.B", "name": "B"}]},
         "components.0: names its class twice, by path and name; give `path`, as in package.module.Class"),
        ({"components": [{"id": "a", "path": "Bare"}]},
         "components.0.path: 'Bare' is no path of a class; write package.module.Class"),
        ({"components": [{"id": "a", "path": 5}]}, "components.0.path: must be text, not 5; put it in quotes"),
        ({"components": [{"id": "a", "path": "a.B", "arg": {}}]},
         "components.0.arg: unknown key; did you mean 'args'?"),
        ({"components": [{"id": "a", "path": "a.B", "args": []}]},
         "components.0.args: must be a mapping, not a list"),
        ({"components": {}}, "components: must be a list, not a mapping"),
        ({"task_data_filters": [{"filters": [{"path": "a.F"}]}]}, "task_data_filters.0.tasks: is missing; add it"),
        ({"task_data_filters": [{"tasks": ["a"]}]},
         "task_data_filters.0.filters: names no filter; add one, or remove this entry"),
        ({"task_data_filters": [{"tasks": ["a"], "filters": [{"path": "a.F"}], "direction": "up"}]},
         "task_data_filters.0.direction: must be one of in, out, inout, not 'up'"),
    ],
)  # fmt: skip
def test_mistakes_of_a_server(changes: dict[str, Any], told: str) -> None:
    assert problems("server", **changes) == [told]


@pytest.mark.parametrize(
    ("executors", "told"),
    [
        ([], "executors: names no executor; add one: without it the client can do no task"),
        ([{"tasks": ["a"]}], "executors.0.executor: is missing; add it"),
        ([{"executor": {"path": "a.B"}}], "executors.0.tasks: is missing; add it"),
        ([{"tasks": [], "executor": {"path": "a.B"}}],
         'executors.0.tasks: names no task; write the names of tasks, or "*" for an executor of all'),
        ([{"tasks": ["a"], "executor": {"path": "a.B"}}, {"tasks": ["a"], "executor": {"path": "a.C"}}],
         "executors.1.tasks.0: task 'a' has an executor already; name each task once"),
        ([{"tasks": ["a"], "executer": {"path": "a.B"}, "executor": {"path": "a.B"}}],
         "executors.0.executer: unknown key; did you mean 'executor'?"),
    ],
)  # fmt: skip
def test_mistakes_of_a_client(executors: list[Any], told: str) -> None:
    assert problems("client", executors=executors) == [told]


def test_several_mistakes_are_told_together() -> None:
    Path("c.yaml").write_text("format_version: 2\ncomponents:\n- {id: a}\n- {id: a, path: B}\nworkflows: 3\n")
    assert problems_of(lambda: read_app_config(Path("c.yaml"), "server")) == [
        "c.yaml:3: components.0: names no class; give `path`, as in package.module.Class",
        "c.yaml:4: components.1.id: the id 'a' is another component's already; choose another id",
        "c.yaml:4: components.1.path: 'B' is no path of a class; write package.module.Class",
        "c.yaml:5: workflows: must be a list, not 3",
    ]


def test_where_it_is() -> None:
    assert config_file(Path("app"), "server") is None
    Path("app/config").mkdir(parents=True)
    Path("app/config/config_fed_server.yml").touch()
    assert config_file(Path("app"), "server") == Path("app/config/config_fed_server.yml")
    assert config_file(Path("app"), "client") is None
