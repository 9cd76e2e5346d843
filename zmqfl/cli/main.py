"""The `zmqfl` command: verbs and nothing else."""

from __future__ import annotations

import sys
from typing import Annotated

from typer import Exit, Option, Typer

from zmqfl import __version__
from zmqfl.cli import keys, network, provision, pull, push, retrieve, running, share, topology, transfers, up
from zmqfl.cli.exits import STATUSES, OneLineGroup

app = Typer(
    cls=OneLineGroup,
    help=f"The messaging layer under a federation: start its sites, look at its network, ask its cells.\n\n{STATUSES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(topology.app, name="topology")
for verb in (
    up.up, running.ps, running.logs, running.down, up.join, up.run,
    network.request, network.cells, network.route, network.rtt,
    push.push, pull.pull, retrieve.retrieve, share.share, share.unshare, transfers.transfers, keys.keygen,
    provision.provision,
):  # fmt: skip
    app.command()(verb)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"zmqfl {__version__}\n")
        raise Exit


@app.callback()
def _main(version: Annotated[bool, Option("--version", callback=_version, is_eager=True)] = False) -> None:
    pass


def app_main() -> None:
    """The console script."""
    app()
