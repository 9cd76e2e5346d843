"""Validation by pydantic, with its findings told in our words: file, line, field, problem, remedy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from zmqfl.errors import TopologyError, TopologyErrors
from zmqfl.topology.checks import near
from zmqfl.topology.schema import (
    LAUNCHERS,
    PATTERNS,
    SECRET,
    Host,
    Listen,
    Model,
    Resources,
    Restart,
    Security,
    Site,
    Timing,
    Topology,
)
from zmqfl.topology.source import Node, Step

WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
}
"""Kind of pydantic error -> what belongs there."""

MODELS: dict[str, type[Model]] = {
    "resources": Resources,
    "restart": Restart,
    "security": Security,
    "timing": Timing,
}
"""Key -> the model of its value, where the key alone says it."""

LIMITS = {"greater_than": "above {gt:g}", "greater_than_equal": "at least {ge:g}", "less_than_equal": "at most {le:g}"}


def validate(root: Node) -> Topology:
    """The tree as a `Topology`. Raises `TopologyErrors`."""
    try:
        # Through JSON, where strict means: lists become tuples, and nothing else is converted.
        return Topology.model_validate_json(json.dumps(root.plain()))
    except ValidationError as error:
        found = [_explain(root, details) for details in error.errors(include_url=False)]
    unique = {error.line(): error for error in found}  # a mistake in `defaults` is found again in each site
    raise TopologyErrors(sorted(unique.values(), key=lambda error: error.line_number))


def _explain(root: Node, details: ErrorDetails) -> TopologyError:
    problem, remedy = _words(details)
    return root.error(problem, *_path(details["loc"]), remedy=remedy)


def _path(loc: tuple[Step, ...]) -> tuple[Step, ...]:
    """Where the error is, without what pydantic adds: the kind of a launcher, `[key]`."""
    if loc[:1] == ("launchers",):
        loc = (*loc[:2], *loc[3:])
    return tuple(step for step in loc if step != "[key]")


def _words(details: ErrorDetails) -> tuple[str, str]:
    """The problem and its remedy."""
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    *above, last = details["loc"] or ("",)
    if wanted := WANTED.get(kind):
        return f"must be {wanted}, not {_shown(given)}", _type_remedy(kind, given)
    if limit := LIMITS.get(kind):
        return f"must be {limit.format(**context)}, not {_shown(given)}", ""
    match kind:
        case "too_short" | "too_long":
            return f"has {context['actual_length']} entries, not {_wanted_length(context)}", ""
        case "missing":
            return "is missing", "add it"
        case "extra_forbidden":
            return "unknown key", near(str(last), _model_at(above).model_fields)
        case "literal_error":
            return f"must be {context['expected']}, not {_shown(given)}", ""
        case "union_tag_invalid":
            return f"no launcher kind {context['tag']!r} in this version", near(context["tag"], LAUNCHERS)
        case "union_tag_not_found":
            return "has no `kind`", f"there is: {', '.join(LAUNCHERS)}"
        case "string_pattern_mismatch":
            problem, remedy = PATTERNS[context["pattern"]]
            # What stands in place of a reference may be the secret itself.
            shown = "the value" if context["pattern"] == SECRET else _shown(given)
            return f"{shown} {problem}", remedy
        case "value_error":
            problem, _, remedy = str(context["error"]).partition("; ")
            return problem, remedy
    return details["msg"], "see conf/topology.schema.json"


def _type_remedy(kind: str, given: object) -> str:
    if kind == "string_type" and isinstance(given, bool | int | float):
        return "put it in quotes"
    if WANTED[kind] == "a mapping" and given is None:
        return "write {} for an empty one"
    return ""


def _shown(given: object) -> str:
    """A value as the file has it, short enough for a line."""
    match given:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return repr(given if len(given) <= 60 else f"{given[:57]}...")
    return json.dumps(given)


def _wanted_length(context: dict[str, Any]) -> str:
    return f"at least {context['min_length']}" if "min_length" in context else f"{context['max_length']}"


def _model_at(path: Sequence[Step]) -> type[Model]:
    """The model of the mapping at a path as pydantic tells it."""
    match path:
        case []:
            return Topology
        case ["launchers", _, str(kind)]:
            return LAUNCHERS[kind]
        case ["hosts", _]:
            return Host
        case ["sites", _] | ["defaults"]:
            return Site
        case [*_, "listen", int()]:
            return Listen
    return MODELS[str(path[-1])]
