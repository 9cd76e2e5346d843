"""The saved model: whole or not at all, found again, and told when it is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.workspace import Workspace
from zmqfl.errors import ArgumentError, SourceError, UsageError
from zmqfl.fl.model_persistor import ModelPersistor, NPModelPersistor
from zmqfl.fl.weighted_mean import Weights


class Zeros:
    def initial_weights(self) -> Weights:
        return {"w": np.zeros(3)}


class Engine:
    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get_workspace(self) -> Workspace | None:
        return Workspace(str(self.folder), "server") if self.folder else None


def context(folder: Path | None) -> FLContext:
    return FLContextManager(Engine(folder), "server", "job-7").new_context()


def test_first_the_initial_one_then_what_was_saved(tmp_path: Path) -> None:
    fl_ctx, persistor = context(tmp_path), NPModelPersistor(Zeros())
    assert np.array_equal(persistor.load_model(fl_ctx)["w"], np.zeros(3))
    persistor.save_model({"w": np.ones(3), "layer.0/b": np.arange(4, dtype=np.float32)}, fl_ctx)
    persistor.save_model({"w": np.full(3, 2.0), "layer.0/b": np.arange(4, dtype=np.float32)}, fl_ctx)
    found = NPModelPersistor(Zeros()).load_model(fl_ctx)  # another start of the server
    assert np.array_equal(found["w"], np.full(3, 2.0))
    assert found["layer.0/b"].dtype == np.float32
    assert [file.name for file in (tmp_path / "job-7/models").iterdir()] == ["model.npz"]


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    fl_ctx, persistor = context(tmp_path), NPModelPersistor(Zeros(), "best.npz")
    file = persistor.file(fl_ctx)
    assert file == tmp_path / "job-7/models/best.npz"
    file.parent.mkdir(parents=True)
    file.write_text("nonsense")
    with pytest.raises(SourceError, match=r"best.npz: is no saved model: .*; remove it to start anew"):
        persistor.load_model(fl_ctx)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"initial": 3}, r"initial must have a method initial_weights\(\); int has none"),
        ({"initial": Zeros(), "file_name": "m.pt"}, "file_name must be a name that ends with .npz, not 'm.pt'"),
        ({"initial": Zeros(), "file_name": "a/m.npz"}, "file_name must be a name"),
    ],
)
def test_arguments(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        NPModelPersistor(**arguments)


def test_it_needs_a_workspace_and_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the run has no workspace"):
        NPModelPersistor(Zeros()).load_model(context(None))
    with pytest.raises(ArgumentError, match="must not be called 'file'"):
        NPModelPersistor(Zeros()).save_model({"file": np.ones(1)}, context(tmp_path))
    assert ModelPersistor.__abstractmethods__ == {"load_model", "save_model"}
