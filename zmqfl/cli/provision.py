"""The verb that makes keys and cards for a whole federation."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

from typer import Option

from zmqfl.cli import terminal
from zmqfl.cli.options import AsJson
from zmqfl.errors import UserError
from zmqfl.topology.endpoint import AUTO


def provision(
    topology: Annotated[str, Option("-t", "--topology", help="The topology file.", metavar="FILE", show_default=False)],
    out: Annotated[
        str | None, Option("--out", help="Where each site gets a folder FQCN/. Default: security.keys.", metavar="DIR")
    ] = None,
    authority: Annotated[
        str, Option(help="Folder of the federation's own secret key; keep it offline.", metavar="DIR")
    ] = "authority",
    days: Annotated[float, Option(help="Days that the cards are valid.", min=0.01, max=36500)] = 365.0,
    revoke: Annotated[
        list[str] | None, Option("--revoke", help="Take back all cards and keys of a cell.", metavar="FQCN")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make keys and signed cards for all sites of a topology, or renew the cards.

    Copy DIR/FQCN to the machine of that site, by a way that nobody can tamper with, and name DIR as security.keys. Run
    it again before the cards expire, for new sites, and to revoke: then copy each folder anew and reload (SIGHUP).
    """
    from zmqfl.launch.provision import neighbours, not_after, provision
    from zmqfl.topology import load
    from zmqfl.transport.authority import Authority

    described = load(topology)
    folder = Path(out or _keys_of(described.security.keys))
    sites = neighbours(described)
    own = Authority(Path(authority), os.urandom(32))
    if revoke:
        own.revoke(revoke)
    done = provision(sites, lambda fqcn: folder / fqcn, own, not_after(time.time(), days), os.urandom)
    if as_json:
        terminal.print_json(
            {"made": done.made, "renewed": done.renewed, "revoked": done.revoked, "revocations": done.revocations}
        )
        return
    show = terminal.console().print
    for what, names in (("made", done.made), ("renewed", done.renewed)):
        for name in names:
            show(f"{what} {folder / name}", soft_wrap=True)
    for name in done.revoked:
        show(f"revoked {name}: no card; remove {folder / name} to have new keys made", soft_wrap=True)
    show(f"list {done.revocations} of revoked cards; the federation's secret key is in {own.folder}: keep it offline")


def _keys_of(keys: str | None) -> str:
    if keys in (None, AUTO):
        why = "its keys are made by `zmqfl up`" if keys else "it has no folder of keys"
        raise UserError(why, field="--out", remedy="name a folder, and write it in the file as security.keys")
    return str(keys)
