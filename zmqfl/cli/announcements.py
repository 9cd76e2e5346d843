"""The verb about what is announced, and about pulling it by rule."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Exit, Option

from zmqfl.cell.announcements import Announcement
from zmqfl.cell.auto_pull import PULLED, pulled_into
from zmqfl.cell.cell import Cell
from zmqfl.cell.progress import TransferProgress
from zmqfl.cli import exits, progress, terminal
from zmqfl.cli.federation import choose
from zmqfl.cli.hearing import Events, informed
from zmqfl.cli.moving import line_of
from zmqfl.cli.options import AsJson, Federation
from zmqfl.cli.references import check_group, folder_of
from zmqfl.errors import UserError


@dataclass(frozen=True, slots=True)
class Attempt:
    """A pull that has ended."""

    announcement: Announcement
    path: Path | None
    error: BaseException | None


def announcements(
    group: Annotated[str, Argument(help="The group. Default: all.", metavar="[GROUP]", show_default=False)] = "",
    watch: Annotated[bool, Option("--watch", help="Go on with what is new, until the federation ends.")] = False,
    to: Annotated[str | None, Option("--pull", help="Pull each file into this folder, once.", metavar="FOLDER")] = None,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """What is announced now: files and objects that anybody may pull by their reference.

    With --pull the files of a group are pulled, and with --watch also those that are announced later. What has been
    pulled into a folder stands in its file .pulled, and is not pulled again; an interrupted pull is resumed.
    """
    check_group(group, "GROUP")
    folder = None if to is None else folder_of(to, "--pull").absolute()
    if folder is not None and not group:
        raise UserError("names no group", field="GROUP", remedy="write the group whose files are wanted")
    with informed(choose(name)) as cell:
        if folder is not None:
            _pull(cell, group, folder, watch, as_json)
        elif watch:
            _watch(cell, group, as_json)
        else:
            _list(cell, group, as_json)


def _list(cell: Cell, group: str, as_json: bool) -> None:
    found = sorted(cell.announcements(group), key=lambda each: (each.group, each.name, each.owner, each.rid))
    if as_json:
        terminal.print_json([_row(each) for each in found])
    elif found:
        rows = [
            (each.group, line_of(each.name), progress.size(each.size), each.kind, _reference(each)) for each in found
        ]
        terminal.print_table(("GROUP", "NAME", ">SIZE", "KIND", "REFERENCE"), rows)
    else:
        terminal.console().print(f"nothing is announced{f' to {group}' if group else ''} now", markup=False)


def _watch(cell: Cell, group: str, as_json: bool) -> None:
    events = Events[Announcement](cell)
    with cell.announcements(group).watch(events.put, replay=True):
        while (each := events.next()) is not None:
            if as_json:
                terminal.print_json_line({**_row(each), "is_live": each.is_live, "time": _now(as_json)})
            elif each.is_live:
                _print(f"{each.group}: {line_of(each.name)}, {progress.size(each.size)}, {_reference(each)}")
            else:
                _print(f"{each.group}: {_reference(each)} is withdrawn")


# ----------------------------------------------------------------------------------------------------------------- pull


def _pull(cell: Cell, group: str, folder: Path, go_on: bool, as_json: bool) -> None:
    """Pull what is announced now, or also what comes. Raises `Exit` when a file could not be had."""
    events = Events[Attempt | Announcement](cell)
    failed: set[str] = set()
    with ExitStack() as stack:
        try:
            there = pulled_into(folder)
        except OSError as error:
            raise UserError(
                f"cannot be read: {error.strerror}", field=str(folder / PULLED), remedy="remove it"
            ) from None
        stack.enter_context(cell.announcements(group).watch(events.put))
        left = {each.rid for each in cell.announcements(group) if each.kind == "file"} - there
        stack.enter_context(cell.auto_pull(group, folder, done=lambda *each: events.put(Attempt(*each))))
        show = stack.enter_context(progress.bars(not as_json and sys.stdout.isatty()))
        while go_on or left:
            match _next(events, cell, show):
                case None:
                    break
                case Attempt() as ended:
                    left.discard(ended.announcement.rid)
                    (failed.add if ended.error else failed.discard)(ended.announcement.rid)
                    _tell(ended, as_json)
                case Announcement(rid=rid, is_live=False):
                    left.discard(rid)
    if failed and not go_on:
        raise Exit(exits.FAILED)


def _next(events: Events[Any], cell: Cell, show: progress.Show | None) -> Any:
    """The next event; meanwhile how far the pulls are."""
    while show is not None:
        try:
            return events.next(progress.REFRESH)
        except TimeoutError:
            show(_moving(cell))
    return events.next()


def _moving(cell: Cell) -> Mapping[str, TransferProgress]:
    rows = (row for row in cell.transfers() if row.kind == "pull")
    return {f"{line_of(row.name)} of {row.peer}": TransferProgress(row.done, row.total, row.seconds) for row in rows}


def _tell(ended: Attempt, as_json: bool) -> None:
    each = ended.announcement
    if as_json:
        error = None if ended.error is None else line_of(str(ended.error))
        terminal.print_json_line({**_row(each), "path": ended.path and str(ended.path), "error": error})
    elif ended.path is not None:
        _print(f"{ended.path}: {progress.size(each.size)} from {each.owner}")
    else:
        text = line_of(str(ended.error)).removeprefix(f"{each.owner}: ")
        sys.stderr.write(f"zmqfl: {each.owner}: {line_of(each.name)}: {text}\n")


def _print(line: str) -> None:
    sys.stdout.write(f"{_now(False)} {line}\n")
    sys.stdout.flush()


def _now(precise: bool) -> str:
    now = datetime.now().astimezone()
    return now.isoformat(timespec="milliseconds") if precise else f"{now:%H:%M:%S}"


def _reference(each: Announcement) -> str:
    return f"{each.rid}@{each.owner}"


def _row(each: Announcement) -> dict[str, Any]:
    row = {"group": each.group, "name": each.name, "size": each.size, "kind": each.kind}
    return {**row, "owner": each.owner, "reference": _reference(each)}
