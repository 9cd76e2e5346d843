"""From what a file describes to the objects: classes are found, arguments checked, nested components built first.

In `args`, a mapping with `path` or `class_path` (or with `name` and `args`) describes a component that is built and
passed; with `"config_type": "dict"` in it, it stays a mapping. Source: reference "flare" 6.9.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import reduce
from typing import Any, Final

from zmqfl.errors import TopologyError, TopologyErrors, UserError
from zmqfl.fl.jobs.app_config import CLASS_KEYS, ComponentSpec
from zmqfl.fl.jobs.classes import find_class, near
from zmqfl.topology.source import Node, Step

CONFIG_TYPE: Final = "config_type"


def build(spec: ComponentSpec) -> Any:
    """The component. Raises `TopologyErrors` naming file and key when it cannot be made."""
    return _build(spec.path, spec.args, spec.node, ())


def _build(path: str, args: dict[str, Any], node: Node, place: tuple[Step, ...]) -> Any:
    try:
        kind = find_class(path)
    except UserError as error:
        described = reduce(lambda above, step: above.get(step) or above, place, node)
        key = next(key for key in CLASS_KEYS if described.get(key) is not None)
        raise _mistake(node, (*place, key), error.problem, error.remedy) from error.__cause__
    values = {key: _value(value, node, (*place, "args", key)) for key, value in args.items()}
    _check_arguments(kind, path, values, node, place)
    try:
        return kind(**values)
    except UserError as error:
        raise _mistake(node, place, f"{path} refuses: {error.line()}", "") from error
    except Exception as error:
        problem = f"{path} cannot be made: {type(error).__name__}: {error}"
        raise _mistake(node, (*place, "args"), problem, "mend `args`, or the class") from error


def _value(value: Any, node: Node, place: tuple[Step, ...]) -> Any:
    """An argument, with what describes components replaced by them."""
    if isinstance(value, list):
        return [_value(item, node, (*place, i)) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if value.get(CONFIG_TYPE) == "dict":
        return {key: item for key, item in value.items() if key != CONFIG_TYPE}
    if (path := _class_of(value)) is not None:
        return _build(path, value.get("args") or {}, node, place)
    return {key: _value(item, node, (*place, key)) for key, item in value.items()}


def _class_of(value: dict[str, Any]) -> str | None:
    """The class that a mapping describes; None when it is just a mapping."""
    found = value.get("path") or value.get("class_path") or (value.get("name") if "args" in value else None)
    return found if isinstance(found, str) else None


def _check_arguments(kind: type[Any], path: str, values: dict[str, Any], node: Node, place: tuple[Step, ...]) -> None:
    """Refuse what the constructor does not take, before it is called."""
    try:
        parameters = inspect.signature(kind).parameters
    except ValueError:  # a class of C code tells nothing
        return
    named = [name for name, each in parameters.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        for name in values:
            if name not in named:
                raise _mistake(node, (*place, "args", name), f"{path} takes no argument {name!r}", near(name, named))
    missing = [name for name in named if parameters[name].default is inspect.Parameter.empty and name not in values]
    if missing:
        raise _mistake(node, (*place, "args"), f"{path} needs {_listed(missing)}", "add to `args`")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _mistake(node: Node, place: tuple[Step, ...], problem: str, remedy: str) -> TopologyErrors:
    error: TopologyError = node.error(problem, *place, remedy=remedy)
    return TopologyErrors([error])
