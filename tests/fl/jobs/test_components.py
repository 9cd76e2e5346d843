"""Objects from what a file describes: nested ones first, arguments checked, mistakes with file and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fl.jobs.conftest import SERVER, problems_of
from zmqfl.errors import UserError
from zmqfl.fl.jobs.app_config import read_app_config
from zmqfl.fl.jobs.components import build


class Part:
    def __init__(self, size: int, name: str = "part") -> None:
        self.size, self.name = size, name


class Whole:
    def __init__(self, part: Any, parts: Any = (), *, options: Any = None) -> None:
        self.part, self.parts, self.options = part, parts, options


class Open:
    def __init__(self, **values: Any) -> None:
        self.values = values


class Failing:
    def __init__(self) -> None:
        raise OSError("no disk")


class Refusing:
    def __init__(self, rounds: int = 0) -> None:
        raise UserError("must be above 0", field="rounds", remedy="give 1 or more")


HERE = __name__


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(path: str, args: Any = None) -> Any:
    component = {"id": "a", "path": path, **({} if args is None else {"args": args})}
    Path("c.json").write_text(json.dumps({**SERVER, "components": [component]}))
    return build(read_app_config(Path("c.json"), "server").components[0])


def test_built_with_its_arguments() -> None:
    part = made(f"{HERE}.Part", {"size": 3})
    assert (type(part).__name__, part.size, part.name) == ("Part", 3, "part")
    assert made(f"{HERE}.Open", {"a": {"b": [1]}}).values == {"a": {"b": [1]}}
    assert made("collections.OrderedDict") == {}  # C code without a signature


def test_nested_components_are_built_first() -> None:
    part = {"path": f"{HERE}.Part", "args": {"size": 1}}
    whole = made(f"{HERE}.Whole", {"part": part, "parts": [part, {"inner": {**part, "args": {"size": 2}}}]})
    assert (whole.part.size, whole.parts[0].size, whole.parts[1]["inner"].size) == (1, 1, 2)


def test_a_mapping_may_stay_one() -> None:
    """`name` alone describes nothing, and `config_type: dict` says so for all others."""
    options = {"config_type": "dict", "path": f"{HERE}.Part", "args": {"size": 1}}
    whole = made(f"{HERE}.Whole", {"part": {"name": "plain", "value": 1}, "options": options})
    assert whole.part == {"name": "plain", "value": 1}
    assert whole.options == {"path": f"{HERE}.Part", "args": {"size": 1}}


@pytest.mark.parametrize(
    ("path", "args", "told"),
    [
        ("no_such.Thing", {}, "components.0.path: there is no module 'no_such'; "),
        (f"{HERE}.Prt", {}, f"components.0.path: module '{HERE}' has no class 'Prt'; did you mean 'Part'?"),
        (f"{HERE}.Part", {"size": 1, "nam": "x"},
         f"components.0.args.nam: {HERE}.Part takes no argument 'nam'; did you mean 'name'?"),
        (f"{HERE}.Part", {}, f"components.0.args: {HERE}.Part needs 'size'; add to `args`"),
        (f"{HERE}.Whole", {"part": {"path": f"{HERE}.Part", "args": {"siz": 1}}},
         f"components.0.args.part.args.siz: {HERE}.Part takes no argument 'siz'; did you mean 'size'?"),
        (f"{HERE}.Whole", {"part": [{"class_path": "no_such.Thing"}]},
         "components.0.args.part.0.class_path: there is no module 'no_such'; "),
        (f"{HERE}.Failing", {}, f"components.0.args: {HERE}.Failing cannot be made: OSError: no disk; mend"),
        (f"{HERE}.Refusing", {}, f"components.0: {HERE}.Refusing refuses: rounds: must be above 0; give 1 or more"),
    ],
)  # fmt: skip
def test_mistakes(path: str, args: dict[str, Any], told: str) -> None:
    (line,) = problems_of(lambda: made(path, args))
    assert line.startswith("c.json:1: " + told)
