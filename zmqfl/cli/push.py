"""The verb that pushes files, and arrays that are in files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Exit, Option

from zmqfl.blobs.npz import read_npz
from zmqfl.cell.cell import Cell
from zmqfl.cell.object_verbs import OBJECTS
from zmqfl.cell.pushing import PushHandle
from zmqfl.cell.streams import PushReport
from zmqfl.cell.transfer_verbs import CHUNK_TIMEOUT, FILES
from zmqfl.cli import exits, progress, terminal
from zmqfl.cli.federation import attached, choose
from zmqfl.cli.moving import Timeout, To, aborted, interrupted, line_of, pace, problem_of
from zmqfl.cli.options import AsJson, Federation
from zmqfl.cli.references import check_cells, parse_sites, readable
from zmqfl.errors import CellReturnCode, SourceError, UserError, ZmqflError
from zmqfl.launch.files import OBJECT_NAME

OK = CellReturnCode.OK


def push(
    files: Annotated[list[str] | None, Argument(help="What to push.", metavar="FILE...", show_default=False)] = None,
    npz: Annotated[
        list[str] | None,
        Option("--npz", help="Push the arrays of an .npz, as often as there are; into memory.", metavar="FILE.npz"),
    ] = None,
    to: To = None,
    topic: Annotated[
        str | None,
        Option(help="What they consume; sites put `files` and `objects` into their inbox.", show_default=False),
    ] = None,
    window: Annotated[int, Option(help="Chunks on their way at once; 1 is strict lockstep.", min=1, max=64)] = 8,
    timeout: Timeout = CHUNK_TIMEOUT,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """Push files to several sites at once, one file after another: all sites get a file, or none.

    It arrives in the inbox of each site; a file of that name stays, and the new one gets a number. The arrays of an
    .npz arrive in the memory of programs that consume objects, and in the inbox of sites as an .npz again.
    """
    if not files and not npz:
        raise UserError("there is nothing to push", field="FILE", remedy="name files, or arrays by --npz FILE.npz")
    targets = parse_sites(to or ())
    whats = [_File(readable(file)) for file in files or ()] + [_Arrays(readable(file)) for file in npz or ()]
    if topic == "":
        raise UserError("is empty", field="--topic", remedy=f"leave it out for {whats[0].topic!r}")
    done: list[dict[str, Any]] = []
    problem: ZmqflError | None = None
    with attached(choose(name)) as cell:
        check_cells(cell, targets, "--to")
        for what in whats:
            handle = what.push(cell, targets, topic or what.topic, window=window, timeout=timeout)
            report = _wait(handle, what.path, None if as_json else _label(what.path, len(whats)))
            done.append(_push_result(what.path, report, targets))
            if not report.ok:
                problem = _push_problem(what, report, topic or what.topic)
                break
    if as_json:
        terminal.print_json({"ok": problem is None, "topic": topic or whats[0].topic, "files": done})
    elif done_well := [each for each in done if each["code"] == OK]:
        rows = [
            (each["file"], site, told["name"] or "", progress.size(each["size"]), *pace(each))
            for each in done_well
            for site, told in each["sites"].items()
        ]
        terminal.print_table(("FILE", "SITE", "ARRIVED AS", ">SIZE", ">TIME", ">RATE"), rows)
    if problem is not None:
        raise problem


class _File:
    """A file that goes as it is."""

    topic = FILES

    def __init__(self, path: Path) -> None:
        self.path = path

    def push(self, cell: Cell, targets: list[str], topic: str, *, window: int, timeout: float) -> PushHandle:
        """Begin."""
        return cell.push_file(self.path, targets, topic, window=window, timeout=timeout)


class _Arrays(_File):
    """The arrays of an .npz. Raises `UserError` for a file that is none."""

    topic = OBJECTS

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._arrays = read_npz(path)
        except SourceError as error:
            raise UserError(error.problem, field=f"--npz {path.name}", remedy=error.remedy) from None

    def push(self, cell: Cell, targets: list[str], topic: str, *, window: int, timeout: float) -> PushHandle:
        """Begin."""
        context = {OBJECT_NAME: self.path.stem}
        return cell.push_object(self._arrays, targets, topic, context=context, window=window, timeout=timeout)


def _wait(handle: PushHandle, path: Path, label: str | None) -> PushReport:
    """Wait for the end of a push; raises `Exit` when interrupted. `label`: goes before the names; None: no bars."""
    try:
        with progress.bars(label is not None) as show:
            progress.wait(handle, show, lambda: {f"{label}{n}": each for n, each in handle.progress.receivers.items()})
        return handle.report()
    except KeyboardInterrupt:
        report = aborted(handle, handle.report)
    if report is not None and report.ok:
        interrupted(f"{path.name} had arrived everywhere")
    unknown = f"not all of {', '.join(handle.targets)} have answered yet"
    interrupted(f"{path.name} has arrived nowhere" if report else unknown)
    raise Exit(exits.INTERRUPTED)


def _label(path: Path, files: int) -> str:
    return f"{path.name} -> " if files > 1 else ""


def _push_result(path: Path, report: PushReport, targets: list[str]) -> dict[str, Any]:
    size = path.stat().st_size if path.exists() else report.size
    sites = {}
    for site in targets:
        told = report.targets.get(site)
        arrived = told.reply if told is not None and report.ok else None
        code = str(told.code if told is not None else report.code)
        sites[site] = {"code": code, "reason": told.reason if told is not None else "", "name": arrived}
    return {
        "file": path.name, "path": str(path), "size": size, "seconds": report.seconds, "code": str(report.code),
        "reason": report.reason, "culprit": report.culprit, "sites": sites,
    }  # fmt: skip


def _push_problem(what: _File, report: PushReport, topic: str) -> ZmqflError:
    path = what.path
    if not report.culprit and report.code is CellReturnCode.PROCESS_EXCEPTION:
        return ZmqflError(line_of(report.reason))  # the file itself
    if report.code is CellReturnCode.SERVICE_UNAVAILABLE and "no stream processing" in report.reason:
        text = f"nobody consumes {topic!r} there; sites consume {what.topic!r}, others what they register"
        return ZmqflError(f"{report.culprit}: {path.name}: {text}")
    return problem_of(report.culprit, path.name, report.code, report.reason, "push it again when the site is back")
