"""The settings of one process: command line > environment > the site's own file > topology > defaults."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from zmqfl.config import CellConfig
from zmqfl.errors import TopologyError, TopologyErrors

PREFIX = "ZMQFL_"
NAMES = [field.name for field in fields(CellConfig)]


class Setting(NamedTuple):
    """One value, and where it was given: for the message when it is wrong."""

    name: str
    value: Any
    file: str
    line: int = 0
    field: str = ""

    def error(self, problem: str, remedy: str = "") -> TopologyError:
        """An error at that place."""
        return TopologyError(problem, file=self.file, line=self.line, field=self.field or self.name, remedy=remedy)


def load_settings(
    path: str | Path | None,
    environ: Mapping[str, str],
    overrides: Sequence[str] = (),
    topology: CellConfig | None = None,
) -> CellConfig:
    """What a cell is told.

    `path` is the site's settings file (`conf/zmqfl.yaml` shows all; None: there is none), `environ` may hold
    ZMQFL_<FIELD>, `overrides` are "field=value" from the command line, `topology` is what the topology says.
    Raises `TopologyErrors` naming file, line and field.
    """
    given = [*_from_file(path, environ), *_from_environ(environ), *_from_command_line(overrides)]
    if wrong := [_unknown(setting) for setting in given if setting.name not in NAMES]:
        raise TopologyErrors(wrong)
    chosen = {setting.name: setting for setting in given}  # the last one wins
    try:
        return replace(topology or CellConfig(), **{name: setting.value for name, setting in chosen.items()})
    except TopologyError as error:
        setting = chosen.get(error.field, Setting(error.field, None, "settings"))
        raise TopologyErrors([setting.error(error.problem, error.remedy)]) from None


def _from_file(path: str | Path | None, environ: Mapping[str, str]) -> Iterator[Setting]:
    if path is None:
        return
    from zmqfl.topology.source import read_file  # pydantic and yaml, only for who has a file

    root = read_file(Path(path), environ)
    assert isinstance(root.value, dict)  # read_file promises it
    for name, node in root.value.items():
        yield Setting(name, node.plain(), node.file, node.line)


def _from_environ(environ: Mapping[str, str]) -> Iterator[Setting]:
    for name in NAMES:
        variable = PREFIX + name.upper()
        if text := environ.get(variable):
            yield Setting(name, _number(text), "environment", field=variable)


def _from_command_line(overrides: Sequence[str]) -> Iterator[Setting]:
    for override in overrides:
        name, _, text = override.partition("=")
        yield Setting(name, _number(text), f"--set {override}")


def _number(text: str) -> int | float | str:
    """The number that a text holds; what is none stays text, and `CellConfig` refuses it."""
    if re.fullmatch(r"-?\d{1,19}", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d+\.?\d*([eE][-+]?\d+)?", text) else text


def _unknown(setting: Setting) -> TopologyError:
    close = difflib.get_close_matches(setting.name, NAMES, 1)
    return setting.error("unknown setting", f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(NAMES)}")
