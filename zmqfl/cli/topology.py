"""Verbs about topology files: check, show, schema, graph. Nothing is started."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

from typer import Option, Typer

from zmqfl.cli import terminal
from zmqfl.cli.exits import OneLineGroup
from zmqfl.cli.options import AsJson, Overrides, TopologyFile

app = Typer(cls=OneLineGroup, help="Topology files.", no_args_is_help=True)


@app.command()
def check(file: TopologyFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say whether a topology file can be used; else what is wrong, a line each."""
    from zmqfl.topology import load, tree

    topology = load(file, overrides or ())
    processes = sum(len(tree.instances(topology, site)) for site in topology.sites)
    if as_json:
        terminal.print_json({"name": topology.name, "sites": len(topology.sites), "processes": processes})
    else:
        terminal.console().print(f"{topology.name}: good; {len(topology.sites)} sites, {processes} processes")


@app.command()
def show(file: TopologyFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """The file as it is understood: variables, `extends` and `defaults` resolved."""
    import yaml

    from zmqfl.topology import load

    resolved = load(file, overrides or ()).model_dump(mode="json", exclude_unset=True, exclude={"extends", "defaults"})
    if as_json:
        terminal.print_json(resolved)
    else:
        sys.stdout.write(yaml.safe_dump(resolved, sort_keys=False))


@app.command()
def schema() -> None:
    """The JSON Schema of topology files, for editors."""
    from zmqfl.topology.schema import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


@app.command()
def graph(
    file: TopologyFile,
    mermaid: Annotated[bool, Option("--mermaid", help="As a Mermaid diagram.")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """The tree of cells."""
    from zmqfl.topology import load, tree

    topology = load(file, overrides or ())
    rows = []
    for site in tree.top_down(topology):
        parent = topology.sites[site].parent
        above = tree.fqcn(topology, parent, parent) if parent else ""
        for each in tree.instances(topology, site):
            rows.append((tree.fqcn(topology, site, each), above, tree.role(topology, site), topology.sites[site].host))
    if as_json:
        keys = ("fqcn", "parent", "role", "host")
        terminal.print_json([dict(zip(keys, row, strict=True)) for row in rows])
    elif mermaid:
        sys.stdout.write("".join(["graph TD\n", *(f"    {above} --> {fqcn}\n" for fqcn, above, *_ in rows if above)]))
    else:
        _print_tree(rows)


def _print_tree(rows: list[tuple[str, str, Any, str]]) -> None:
    from rich.tree import Tree

    nodes: dict[str, Tree] = {}
    for fqcn, above, role, host in rows:
        label = f"{fqcn}  [dim]{role} on {host}[/]"
        nodes[fqcn] = nodes[above].add(label) if above else Tree(label, guide_style="dim")
    terminal.console().print(nodes[rows[0][0]])
