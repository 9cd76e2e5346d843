"""The verb that shows what is moved."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument

from zmqfl.cell.cell import Cell
from zmqfl.cell.net_agent import CHANNEL
from zmqfl.cell.progress import TransferProgress
from zmqfl.cli import progress, terminal
from zmqfl.cli.federation import attached, choose, is_hidden
from zmqfl.cli.moving import line_of
from zmqfl.cli.network import ASK, ask
from zmqfl.cli.options import AsJson, Federation
from zmqfl.cli.references import check_cells
from zmqfl.fqcn import parse


def transfers(
    site: Annotated[str | None, Argument(help="The FQCN of a cell. Default: all.", metavar="[SITE]")] = None,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """What is pushed, received, pulled and offered now, at each site."""
    silent: dict[str, str] = {}
    if site is not None:
        parse(site, "SITE")
    with attached(choose(name)) as cell:
        if site is not None:
            check_cells(cell, [site], "SITE")
            rows = [{"site": site, **each} for each in ask(cell, site, "transfers", None)]
        else:
            rows, silent = _everywhere(cell)
    if as_json:
        terminal.print_json({"transfers": rows, "silent": silent})
        return
    if rows:
        columns = ("SITE", "WHAT", "PEER", "NAME", "STATE", ">DONE", ">OF", ">RATE", ">LEFT")
        terminal.print_table(columns, [_cells(row) for row in rows])
    else:
        terminal.console().print("nothing is moved or offered now")
    for fqcn, reason in silent.items():
        terminal.console().print(f"{fqcn} does not tell: {reason}", style="dim", soft_wrap=True)


def _everywhere(cell: Cell) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The transfers of all cells, and why some did not tell theirs. Command lines do not count among the silent."""
    names = [row[0] for row in ask(cell, cell.root, "cells", ASK) if row[0] != cell.fqcn]
    replies = cell.broadcast(names, CHANNEL, "transfers", None, ASK, deadline=ASK).result()
    rows, silent = [], {}
    for fqcn in names:
        reply = replies[fqcn]
        if reply.ok:
            rows += [{"site": fqcn, **each} for each in reply.payload]
        elif not is_hidden(fqcn):
            silent[fqcn] = f"{reply.return_code}: {line_of(reply.error)}"
    return rows, silent


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    is_offer = row["kind"] == "offer"
    each = TransferProgress(row["done"], row["total"], row["seconds"])
    return (
        row["site"],
        row["kind"],
        line_of(row["peer"]) or "(whoever knows the id)",
        line_of(row["name"]),
        row["state"],
        "" if is_offer else progress.size(row["done"]),
        progress.size(row["total"]) if row["total"] or is_offer else "",
        "" if is_offer else progress.rate(each),
        terminal.ago(row["seconds"]) if is_offer else progress.eta(each),
    )
