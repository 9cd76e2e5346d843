from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zmqfl.errors import TopologyErrors
from zmqfl.topology import Topology, load

Load = Callable[..., Topology]
Problems = Callable[..., list[str]]


@pytest.fixture
def load_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """`load_text(text, *overrides, **environ)`: the topology of a file t.yaml with that text."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str, *overrides: str, **environ: str) -> Topology:
        Path("t.yaml").write_text(text)
        return load("t.yaml", overrides, environ)

    return load_text


@pytest.fixture
def problems(load_text: Load) -> Problems:
    """`problems(text, *overrides, **environ)`: what is wrong with it, a line each."""

    def problems(text: str, *overrides: str, **environ: str) -> list[str]:
        with pytest.raises(TopologyErrors) as caught:
            load_text(text, *overrides, **environ)
        return [error.line() for error in caught.value.errors]

    return problems
