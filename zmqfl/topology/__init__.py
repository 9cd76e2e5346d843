"""The topology file of a federation: who exists, where, who dials whom, and how each is started.

    source      one YAML file as a tree of nodes with lines; ${NAME}
    layers      `extends`, `--set`, `defaults`: several trees as one
    schema      the tree as typed models
    explain     what pydantic found wrong, as our errors
    checks      what must hold between fields; `tree` and `endpoint` hold the questions it asks

`load` is the door to all of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zmqfl.errors import TopologyErrors

if TYPE_CHECKING:
    from zmqfl.topology.schema import Topology

__all__ = ["Topology", "load"]


def __getattr__(name: str) -> Any:
    """`Topology` when it is asked for: whoever needs `source` alone does not pay for pydantic."""
    if name == "Topology":
        from zmqfl.topology.schema import Topology

        return Topology
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Topology:
    """Read a topology file and check it.

    `overrides` are dotted settings such as "sites.gpu.count=4" with a YAML value; `environ` holds the variables for
    `${NAME}` (default: those of this process). Paths in the file are relative to it; in the result they are absolute.
    Raises `TopologyErrors` with all problems of the first stage that has any: syntax, fields, references, tree, links.
    """
    from zmqfl.topology.checks import check
    from zmqfl.topology.explain import validate
    from zmqfl.topology.layers import read_layers

    root = read_layers(Path(path), overrides, os.environ if environ is None else environ)
    topology = validate(root)
    if problems := check(topology):
        errors = [root.error(problem, *path, remedy=remedy) for path, problem, remedy in problems]
        raise TopologyErrors(sorted(errors, key=lambda error: error.line_number))
    return topology
