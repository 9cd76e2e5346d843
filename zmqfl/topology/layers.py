"""Several trees as one: the file, the files it extends, overrides from the command line, `defaults` under each site."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from zmqfl.errors import TopologyError, TopologyErrors
from zmqfl.topology.checks import near
from zmqfl.topology.endpoint import AUTO
from zmqfl.topology.source import Node, Step, read_file, read_text

CATALOGUES = (["launchers"], ["hosts"], ["sites"])
"""Maps from names to things: an override may change such a thing, not invent one by a misspelt name."""


def read_layers(path: Path, overrides: Sequence[str], environ: Mapping[str, str]) -> Node:
    """The one tree that `load` validates. Raises `TopologyErrors`."""
    root = _extended(path, environ, ())
    for override in overrides:
        _set(root, override, environ)
    _anchor_keys(root)
    _spread_defaults(root)
    return root


def merge(under: Node, over: Node) -> Node:
    """Maps are merged, all else of `over` replaces; each value keeps its own place."""
    if not isinstance(under.value, dict) or not isinstance(over.value, dict):
        return over
    merged = dict(under.value)
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return Node(merged, over.file, over.line, over.field)


def _extended(path: Path, environ: Mapping[str, str], chain: tuple[Path, ...]) -> Node:
    root = read_file(path, environ)
    assert isinstance(root.value, dict)  # read_file promises it
    base = root.value.pop("extends", None)
    if base is None or base.value is None:
        return root
    if not isinstance(base.value, str):
        raise TopologyErrors([base.error("must be the path of a file", remedy="write `extends: base.yaml`")])
    chain = (*chain, path.resolve())
    target = path.parent / os.path.expanduser(base.value)
    if not os.path.isfile(target):
        raise TopologyErrors([base.error(f"no file {str(target)!r}", remedy="give a path relative to this file")])
    if target.resolve() in chain:
        raise TopologyErrors([base.error(f"{base.value} extends this file in turn", remedy="end the circle")])
    return merge(_extended(target, environ, chain), root)


def _set(root: Node, override: str, environ: Mapping[str, str]) -> None:
    """Put the value of `a.b.c=VALUE` in its place; maps on the way are made."""
    place = f"--set {override}"
    field, equals, text = override.partition("=")
    steps = field.split(".")
    if not equals or not all(steps) or steps[0] == "extends":
        raise TopologyErrors([TopologyError("is no setting", file=place, remedy="write a.b.c=VALUE")])
    value = read_text(text, place, environ, field)
    _unline(value)
    node = root
    for i, step in enumerate(steps):
        way = ".".join(steps[: i + 1])
        child = value if way == field else node.get(_index(node, step)) or Node({}, place, 0, way)
        if problem := _put(node, step, child, known_only=steps[:i] in CATALOGUES):
            raise TopologyErrors([TopologyError(problem[0], file=place, field=way, remedy=problem[1])])
        node = child


def _unline(node: Node) -> None:
    """Take the lines away: a command line has none."""
    node.line = 0
    for child in node.children():
        _unline(child)


def _put(node: Node, step: str, child: Node, *, known_only: bool) -> tuple[str, str] | None:
    """Make `child` the entry `step` of `node`; else the problem and its remedy."""
    if isinstance(node.value, dict):
        if known_only and node.value and step not in node.value:
            return f"no {node.field.removesuffix('s')} {step!r}", near(step, node.value)
        node.value[step] = child
    elif isinstance(node.value, list):
        if not (step.isdecimal() and int(step) < len(node.value)):
            return f"the list has {len(node.value)} items", "count from 0"
        node.value[int(step)] = child
    else:
        return f"{node.field} is no mapping", "set it as a whole"
    return None


def _index(node: Node, step: str) -> Step:
    return int(step) if isinstance(node.value, list) and step.isdecimal() else step


def _anchor_keys(root: Node) -> None:
    """Make the folder of keys absolute: relative to the file that names it, or on the command line to where we are."""
    security = root.get("security")
    keys = security.get("keys") if security else None
    if keys is not None and isinstance(keys.value, str) and keys.value != AUTO:
        folder = Path(keys.file).parent if keys.line else Path()
        keys.value = os.path.abspath(folder / os.path.expanduser(keys.value))


def _spread_defaults(root: Node) -> None:
    defaults, sites = root.get("defaults"), root.get("sites")
    if defaults and sites and isinstance(sites.value, dict):
        sites.value = {name: merge(defaults, site) for name, site in sites.value.items()}
