"""Verbs about what a site serves: share and unshare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from zmqfl.cell.cell import Cell
from zmqfl.cell.file_service import SHARE, UNSHARE, proof_of_user
from zmqfl.cli import terminal
from zmqfl.cli.federation import attached, check_site, choose
from zmqfl.cli.moving import To, asked
from zmqfl.cli.options import AsJson, Federation
from zmqfl.cli.references import check_cells, parse_life, parse_reference, parse_sites, readable
from zmqfl.errors import UserError, ZmqflError
from zmqfl.launch.run_state import RunState


def share(
    file: Annotated[str, Argument(help="What to share.", metavar="FILE", show_default=False)],
    site: Annotated[
        str | None, Option(help="The local site that serves it. Default: the topmost.", metavar="SITE")
    ] = None,
    to: To = None,
    ttl: Annotated[str, Option(help="It ends when nobody has asked for it so long: 90s, 30m, 1h, 2d.")] = "1h",
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """Have a site serve a file, and print the reference by which others pull it.

    Whoever knows the reference may pull it; with --to, only these sites. The file stays where it is: a change of it
    ends the share.
    """
    path, life = readable(file), parse_life(ttl)
    receivers = parse_sites(to) if to is not None else None
    state = choose(name)
    owner = check_site(state, site) if site is not None else state.door[0]
    with attached(state) as cell:
        check_cells(cell, receivers or (), "--to")
        question = {"path": str(path), "to": receivers, "timeout": life}
        offer = _proven(cell, state, owner, SHARE, question)
    reference = f"{offer['rid']}@{owner}"
    if as_json:
        told = {"reference": reference, "site": owner, "to": receivers, "ttl": life}
        terminal.print_json({**told, "name": offer["name"], "size": offer["size"]})
    else:
        sys.stdout.write(reference + "\n")


def unshare(
    reference: Annotated[str, Argument(help="RID@SITE of `share`.", metavar="RID@SITE", show_default=False)],
    name: Federation = None,
) -> None:
    """Serve a shared file no longer; who is pulling it gets an error."""
    wanted = parse_reference(reference)
    if not wanted.rid:
        raise UserError(f"{reference!r} is no RID@SITE", field="RID@SITE", remedy="copy what `zmqfl share` has printed")
    state = choose(name)
    check_site(state, wanted.site)
    with attached(state) as cell:
        _proven(cell, state, wanted.site, UNSHARE, {"rid": wanted.rid})
    terminal.console().print(f"{reference} is not shared any more", soft_wrap=True)


def _proven(cell: Cell, state: RunState, site: str, topic: str, question: dict[str, Any]) -> Any:
    """Ask a local site for what only its user may ask."""
    try:
        with proof_of_user(Path(state.run_dir)) as proof:
            return asked(cell, site, topic, {**question, "proof": proof})
    except OSError as error:
        raise ZmqflError(f"cannot write in the run folder {state.run_dir}: {error.strerror}") from None
