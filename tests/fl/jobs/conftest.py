from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zmqfl.errors import TopologyErrors

WriteJob = Callable[..., Path]
Problems = Callable[..., list[str]]

META: dict[str, Any] = {"name": "trial", "min_clients": 1, "deploy_map": {"app": ["@ALL"]}}
SERVER: dict[str, Any] = {"format_version": 2, "workflows": [{"id": "flow", "path": "flows.Flow"}]}
CLIENT: dict[str, Any] = {
    "format_version": 2,
    "executors": [{"tasks": ["train"], "executor": {"path": "works.Work", "args": {}}}],
}


@pytest.fixture
def write_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteJob:
    """`write_job(files)`: the folder `job` of a good job, with these files in the place of its own (None: none)."""
    monkeypatch.chdir(tmp_path)

    def write_job(files: dict[str, Any] | None = None) -> Path:
        whole = {
            "meta.json": META,
            "app/config/config_fed_server.json": SERVER,
            "app/config/config_fed_client.json": CLIENT,
            **(files or {}),
        }
        for name, content in whole.items():
            if content is not None:
                file = Path("job", name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return Path("job")

    return write_job


@pytest.fixture
def modules() -> Iterator[None]:
    """What the test imports is forgotten after it, so that the next one may have a module of the same name."""
    known, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]
    sys.path[:] = path


def problems_of(call: Callable[[], object]) -> list[str]:
    """What is wrong, a line each."""
    with pytest.raises(TopologyErrors) as caught:
        call()
    return [error.line() for error in caught.value.errors]
