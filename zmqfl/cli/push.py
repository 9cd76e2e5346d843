"""The verb that pushes files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Exit, Option

from zmqfl.cell.cell import Cell
from zmqfl.cell.pushing import PushHandle
from zmqfl.cell.streams import PushReport
from zmqfl.cell.transfer_verbs import CHUNK_TIMEOUT, FILES
from zmqfl.cli import exits, progress, terminal
from zmqfl.cli.federation import attached, choose
from zmqfl.cli.moving import Timeout, To, aborted, interrupted, line_of, pace, problem_of
from zmqfl.cli.options import AsJson, Federation
from zmqfl.cli.references import check_cells, parse_sites, readable
from zmqfl.errors import CellReturnCode, UserError, ZmqflError

OK = CellReturnCode.OK


def push(
    files: Annotated[list[str], Argument(help="What to push.", metavar="FILE...", show_default=False)],
    to: To = None,
    topic: Annotated[str, Option(help="What they consume; sites put `files` into their inbox.")] = FILES,
    window: Annotated[int, Option(help="Chunks on their way at once; 1 is strict lockstep.", min=1, max=64)] = 8,
    timeout: Timeout = CHUNK_TIMEOUT,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """Push files to several sites at once, one file after another: all sites get a file, or none.

    It arrives in the inbox of each site; a file of that name stays, and the new one gets a number.
    """
    targets = parse_sites(to or ())
    paths = [readable(file) for file in files]
    if not topic:
        raise UserError("is empty", field="--topic", remedy=f"leave it out for {FILES!r}")
    done: list[dict[str, Any]] = []
    problem: ZmqflError | None = None
    with attached(choose(name)) as cell:
        check_cells(cell, targets, "--to")
        for path in paths:
            report = _push(cell, path, targets, topic, window, timeout, None if as_json else _label(path, len(paths)))
            done.append(_push_result(path, report, targets))
            if not report.ok:
                problem = _push_problem(path, report, topic)
                break
    if as_json:
        terminal.print_json({"ok": problem is None, "topic": topic, "files": done})
    elif done_well := [each for each in done if each["code"] == OK]:
        rows = [
            (each["file"], site, told["name"] or "", progress.size(each["size"]), *pace(each))
            for each in done_well
            for site, told in each["sites"].items()
        ]
        terminal.print_table(("FILE", "SITE", "ARRIVED AS", ">SIZE", ">TIME", ">RATE"), rows)
    if problem is not None:
        raise problem


def _push(
    cell: Cell, path: Path, targets: list[str], topic: str, window: int, timeout: float, label: str | None
) -> PushReport:
    """Push one file to its end; raises `Exit` when interrupted. `label`: goes before the names; None: no bars."""
    handle: PushHandle = cell.push_file(path, targets, topic, window=window, timeout=timeout)
    try:
        with progress.bars(label is not None) as show:
            progress.wait(handle, show, lambda: {f"{label}{n}": each for n, each in handle.progress.receivers.items()})
        return handle.report()
    except KeyboardInterrupt:
        report = aborted(handle, handle.report)
    if report is not None and report.ok:
        interrupted(f"{path.name} had arrived everywhere")
    interrupted(f"{path.name} has arrived nowhere" if report else f"not all of {', '.join(targets)} have answered yet")
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


def _push_problem(path: Path, report: PushReport, topic: str) -> ZmqflError:
    if not report.culprit and report.code is CellReturnCode.PROCESS_EXCEPTION:
        return ZmqflError(line_of(report.reason))  # the file itself
    if report.code is CellReturnCode.SERVICE_UNAVAILABLE and "no stream processing" in report.reason:
        text = f"nobody consumes {topic!r} there; sites consume {FILES!r}, others what they register"
        return ZmqflError(f"{report.culprit}: {path.name}: {text}")
    return problem_of(report.culprit, path.name, report.code, report.reason, "push it again when the site is back")
