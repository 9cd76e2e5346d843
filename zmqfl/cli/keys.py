"""The verb that makes keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from zmqfl.cli import terminal
from zmqfl.cli.options import AsJson
from zmqfl.errors import UserError
from zmqfl.launch.spec import secret_key
from zmqfl.topology.endpoint import AUTO
from zmqfl.transport import keys as key_files


def keygen(
    name: Annotated[str | None, Argument(help="The FQCN of a cell.", metavar="[NAME]", show_default=False)] = None,
    keys: Annotated[str, Option(help="The folder for its keys.", metavar="DIR")] = "keys",
    topology: Annotated[
        str | None, Option("-t", "--topology", help="Make what all sites of this file still miss.", metavar="FILE")
    ] = None,
    force: Annotated[bool, Option("--force", help="Replace a key that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the key pair of a cell, or of all sites of a topology.

    DIR/private/NAME.key_secret (0600) never leaves the machine; DIR/public/NAME.key goes to the cell's neighbours.
    """
    if (name is None) == (topology is None):
        raise UserError("name one cell, or a topology by -t", field="NAME", remedy="as in `zmqfl keygen site-1`")
    if name is not None:
        made, kept = [str(key_files.generate(name, Path(keys), force))], list[str]()
    else:
        made, kept = _of_topology(str(topology), force)
    if as_json:
        terminal.print_json({"made": made, "kept": kept})
        return
    for file in made:
        terminal.console().print(f"made {file}", soft_wrap=True)
    for file in kept:
        terminal.console().print(f"kept {file}", soft_wrap=True)


def _of_topology(file: str, force: bool) -> tuple[list[str], list[str]]:
    """(public keys made, those that were there)."""
    from zmqfl.topology import load, tree

    topology = load(file)
    folder = topology.security.keys
    if folder in (None, AUTO):
        why = "its keys are made by `zmqfl up`" if folder else "it has no keys"
        raise UserError(why, field="security.keys", remedy="give a folder to make them yourself")
    made, kept = [], []
    for site in tree.top_down(topology):
        for instance in tree.instances(topology, site):
            fqcn = tree.fqcn(topology, site, instance)
            if Path(secret_key(str(folder), fqcn)).exists() and not force:
                kept.append(f"{folder}/public/{fqcn}.key")
            else:
                made.append(str(key_files.generate(fqcn, Path(str(folder)), force)))
    return made, kept
