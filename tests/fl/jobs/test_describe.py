"""An object, described so that it can be built again elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fl.jobs.conftest import SERVER
from tests.fl.jobs.local_learner import Forgetful, Learner, Net, Positional
from zmqfl.context.return_code import ReturnCode
from zmqfl.errors import ArgumentError
from zmqfl.fl.jobs.app_config import read_app_config
from zmqfl.fl.jobs.components import build
from zmqfl.fl.jobs.describe import arguments_of, describe, path_of

HERE = "tests.fl.jobs.local_learner"


def test_arguments_as_it_was_made() -> None:
    learner = Learner(Net(3), 2, options={"a": (1, Path("/x"), ReturnCode.OK, None)}, extra=True)
    assert describe(learner) == {
        "path": f"{HERE}.Learner",
        "args": {
            "net": {"path": f"{HERE}.Net", "args": {"size": 3}},  # defaults are left out
            "epochs": 2,
            "options": {"a": [1, "/x", "OK", None]},
            "extra": True,
        },
    }


def test_what_is_described_can_be_built(tmp_path: Path) -> None:
    options = {"path": "no component", "plain": {"name": "x", "args": []}}
    described = {"id": "a", **describe(Learner(Net(3, rate=0.5), options=options))}
    (tmp_path / "c.json").write_text(json.dumps({**SERVER, "components": [described]}))
    args, kwargs = build(read_app_config(tmp_path / "c.json", "server").components[0]).made_with
    assert args == ()
    assert (kwargs["net"].size, kwargs["net"].rate) == (3, 0.5)
    assert kwargs["options"]["path"] == "no component"


class Local:
    class Inner:
        pass


@pytest.mark.parametrize(
    ("component", "told"),
    [
        (Forgetful(3), r"a Forgetful does not keep its argument 'size'; keep it as self\.size"),
        (Positional(1, 2), "Positional takes 'sizes' without a name; a job gives arguments by name"),
        (Learner(np.ones(3)), r"Learner.net: a ndarray cannot be in a job's file; give plain values"),
        (Learner(Net), r"Learner.net: a type cannot be in a job's file"),
        (Learner({1: 2}), r"Learner.net: the key 1 is no text; give keys that are"),
        (Local.Inner(), r"class Local\.Inner stands inside another thing; move it to the top of its module"),
        ({}, "the arguments of a dict are not known; describe it by a class of yours"),
    ],
)
def test_what_cannot_be_described(component: Any, told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        describe(component)


def test_a_class_of_the_script_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Net, "__module__", "__main__")
    monkeypatch.setattr("__main__.__file__", "/somewhere/my_job.py", raising=False)
    assert path_of(Net) == "my_job.Net"
    monkeypatch.delattr("__main__.__file__")
    with pytest.raises(ArgumentError, match="class Net was typed at a prompt; put it into a file"):
        path_of(Net)


def test_arguments_of_a_plain_object() -> None:
    assert arguments_of(Net(3, 0.1)) == {"size": 3}
