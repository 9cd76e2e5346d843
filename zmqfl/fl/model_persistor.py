"""Where the server keeps the model of a job: arrays in an .npz file, replaced as a whole.

    {"id": "persistor", "name": "NPModelPersistor", "args": {"initial": {"path": "my_model.Net", "args": {...}}}}

A controller loads what it starts with, and saves what it has after each round; a server that starts again finds it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.workspace import Workspace
from zmqfl.errors import ArgumentError, SourceError, UsageError
from zmqfl.fl.weighted_mean import Weights

FOLDER: Final = "models"
"""Folder of a run that holds its models."""


class Initial(Protocol):
    """What a job trains, as far as its first weights go."""

    def initial_weights(self) -> Weights:
        """The weights that the first round starts with."""


class ModelPersistor(FLComponent, ABC):
    """What a controller loads its model from and saves it to."""

    @abstractmethod
    def load_model(self, fl_ctx: FLContext) -> Weights:
        """The model to start with: what was saved last, or the initial one."""

    @abstractmethod
    def save_model(self, weights: Weights, fl_ctx: FLContext) -> None:
        """Keep a model in the place of the last one."""


class NPModelPersistor(ModelPersistor):
    """See the module. `initial`: what has `initial_weights()`; `file_name`: of the file in the folder `models`."""

    def __init__(self, initial: Initial, file_name: str = "model.npz") -> None:
        if not callable(getattr(initial, "initial_weights", None)):
            raise ArgumentError(f"initial must have a method initial_weights(); {type(initial).__name__} has none")
        if not file_name.endswith(".npz") or "/" in file_name:
            raise ArgumentError(f"file_name must be a name that ends with .npz, not {file_name!r}")
        self.initial = initial
        self.file_name = file_name

    def load_model(self, fl_ctx: FLContext) -> Weights:
        """What was saved last, or the initial weights. Raises `SourceError` for a file that holds no arrays."""
        file = self.file(fl_ctx)
        if not file.exists():
            return self.initial.initial_weights()
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError) as error:
            raise SourceError(f"is no saved model: {error}", file=str(file), remedy="remove it to start anew") from None

    def save_model(self, weights: Weights, fl_ctx: FLContext) -> None:
        """Write the file; a reader, or a server that starts again, sees the old one or the new one."""
        file = self.file(fl_ctx)
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}")
        with new.open("wb") as stream:
            np.savez(stream, **_named(weights))
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)

    def file(self, fl_ctx: FLContext) -> Path:
        """Where the model is. Raises `UsageError` outside of a run."""
        engine = fl_ctx.get_engine()
        workspace: Workspace | None = engine.get_workspace() if engine is not None else None
        if workspace is None:
            raise UsageError("the run has no workspace; give the engine one")
        return Path(workspace.get_run_dir(fl_ctx.get_job_id()), FOLDER, self.file_name)


def _named(weights: Weights) -> dict[str, Any]:
    """As keyword arguments of `savez`, where one name is taken."""
    if "file" in weights:
        raise ArgumentError("an array of a saved model must not be called 'file'; rename it")
    return dict(weights)
