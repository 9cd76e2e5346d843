"""Verbs about what a site serves: share and unshare."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Annotated

from typer import Argument, Option

from zmqfl.cell.announcements import Announcement
from zmqfl.cell.cell import Cell
from zmqfl.cell.file_service import SHARE, UNSHARE
from zmqfl.cli import terminal
from zmqfl.cli.federation import attached, check_site, choose
from zmqfl.cli.hearing import heard, informed
from zmqfl.cli.moving import To, proven
from zmqfl.cli.options import AsJson, Federation
from zmqfl.cli.references import check_cells, check_group, parse_life, parse_reference, parse_sites, readable
from zmqfl.errors import UserError

Announced = Annotated[
    str, Option("--announce", help="Tell this group of it, as long as it is shared.", metavar="GROUP")
]


def share(
    file: Annotated[str, Argument(help="What to share.", metavar="FILE", show_default=False)],
    site: Annotated[
        str | None, Option(help="The local site that serves it. Default: the topmost.", metavar="SITE")
    ] = None,
    to: To = None,
    ttl: Annotated[str, Option(help="It ends when nobody has asked for it so long: 90s, 30m, 1h, 2d.")] = "1h",
    group: Announced = "",
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """Have a site serve a file, and print the reference by which others pull it.

    Whoever knows the reference may pull it; with --to, only these sites. With --announce all that hear of the group
    learn the reference, or those of --to alone. The file stays where it is: a change of it ends the share.
    """
    path, life = readable(file), parse_life(ttl)
    check_group(group, "--announce")
    receivers = parse_sites(to) if to is not None else None
    state = choose(name)
    owner = check_site(state, site) if site is not None else state.door[0]
    question = {"path": str(path), "to": receivers, "timeout": life, "announce": group}
    with informed(state) if group and not receivers else attached(state) as cell:
        check_cells(cell, receivers or (), "--to")
        with _announced(cell, owner, group if not receivers else ""):
            offer = proven(cell, state, owner, SHARE, question)
    reference = f"{offer['rid']}@{owner}"
    if as_json:
        told = {"reference": reference, "site": owner, "to": receivers, "ttl": life, "announced": group or None}
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
        proven(cell, state, wanted.site, UNSHARE, {"rid": wanted.rid})
    terminal.console().print(f"{reference} is not shared any more", soft_wrap=True)


@contextmanager
def _announced(cell: Cell, owner: str, group: str) -> Iterator[None]:
    """Return when what is shared within the block is announced to all of a group, if there is one."""
    if not group:
        yield
        return
    there = Event()

    def look(each: Announcement) -> None:
        if each.owner == owner and each.is_live:
            there.set()

    with cell.announcements(group).watch(look):
        yield
        heard(there, owner)
