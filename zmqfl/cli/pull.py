"""The verb that pulls files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from zmqfl.blobs.paths import PART, safe_name
from zmqfl.blobs.sink import OnExists
from zmqfl.cell.file_service import EXPORT
from zmqfl.cell.progress import TransferProgress
from zmqfl.cell.pulling import PullHandle
from zmqfl.cell.transfer_verbs import CHUNK_TIMEOUT
from zmqfl.cli import exits, progress, terminal
from zmqfl.cli.federation import attached, choose
from zmqfl.cli.moving import Timeout, aborted, asked, interrupted, pace, problem_of
from zmqfl.cli.options import AsJson
from zmqfl.cli.references import Reference, check_cells, file_name, folder_of, parse_reference
from zmqfl.errors import BlobError, CellReturnCode, SourceChangedError, TransferError, UserError, ZmqflError


def pull(
    reference: Annotated[
        str,
        Argument(help="RID@SITE of `share`, or SITE:PATH below its exports.", metavar="REFERENCE", show_default=False),
    ],
    to: Annotated[str, Option("--to", help="The folder for it.", metavar="FOLDER")] = ".",
    file: Annotated[
        str | None, Option("--name", help="Its name here. Default: that of its owner.", metavar="NAME")
    ] = None,
    resume: Annotated[
        bool, Option("--resume", help="Should it fail, keep the part; and go on with one that was kept.")
    ] = False,
    force: Annotated[bool, Option("--force", help="Replace a file of that name.")] = False,
    timeout: Timeout = CHUNK_TIMEOUT,
    as_json: AsJson = False,
    name: Annotated[
        str | None, Option("-t", help="The federation: its name or its topology file.", metavar="NAME")
    ] = None,
) -> None:
    """Fetch a file that a site shares or exports."""
    wanted, folder, own_name = parse_reference(reference), folder_of(to), file_name(file)
    if own_name is not None:
        _check_free(folder / own_name, force)
    with attached(choose(name)) as cell:
        check_cells(cell, [wanted.site], "REFERENCE")
        rid = wanted.rid
        if not rid:
            offer = asked(cell, wanted.site, EXPORT, wanted.path)
            rid = offer["rid"]
            _check_free(folder / (own_name or safe_name(offer["name"])), force)
        on_exists: OnExists = "replace" if force else "fail"
        handle = cell.pull(rid, wanted.site, folder, name=own_name, on_exists=on_exists, timeout=timeout, resume=resume)
        path = _pull(handle, wanted, folder, own_name, not as_json)
    seconds, size = handle.progress.seconds, handle.progress.total
    result = {"path": str(path), "name": path.name, "size": size, "fetched": handle.fetched, "seconds": seconds}
    if as_json:
        terminal.print_json({"ok": True, "site": wanted.site, **result})
        return
    kept = size - handle.fetched
    more = f", {progress.size(kept)} of it kept from before" if kept > 0 else ""
    speed = ", ".join(pace({"size": handle.fetched, "seconds": seconds}))
    terminal.console().print(
        f"{folder / path.name}: {progress.size(size)} from {wanted.site}{more}; {speed}", soft_wrap=True
    )


def _pull(handle: PullHandle, wanted: Reference, folder: Path, own_name: str | None, is_shown: bool) -> Path:
    """Pull to its end. Raises `Exit` when interrupted, and the error that fits."""

    def look() -> Mapping[str, TransferProgress]:
        return {own_name or (safe_name(handle.name) if handle.name else wanted.site): handle.progress}

    def part() -> Path:
        return folder / ((own_name or safe_name(handle.name)) + PART)

    try:
        with progress.bars(is_shown) as show:
            progress.wait(handle, show, look)
        return Path(handle.result())
    except KeyboardInterrupt:
        error = aborted(handle, handle.exception)
        if handle.done() and error is None:
            interrupted(f"{folder / Path(handle.result()).name} was whole already")
        else:
            interrupted(_kept(handle, part()))
        raise Exit(exits.INTERRUPTED) from None
    except SourceChangedError as error:
        raise ZmqflError(f"{wanted.site}: {handle.name or wanted}: {error.problem}; {error.remedy}") from None
    except BlobError as error:
        raise _sink_problem(error) from None
    except TransferError as error:
        kept = f" ({_kept(handle, part())})" if handle.name and part().exists() else ""
        is_refused = error.code is CellReturnCode.INVALID_REQUEST
        remedy = "have it shared again" if is_refused else f"pull it again{kept}"
        problem = problem_of(
            wanted.site, safe_name(handle.name or wanted.rid or wanted.path), error.code, error.reason, remedy
        )
        raise problem from None


def _kept(handle: PullHandle, part: Path) -> str:
    if not handle.name or not part.exists():
        return "nothing was kept"
    done = progress.size(handle.progress.done)
    return f"{done} of {progress.size(handle.progress.total)} are kept in {part}; --resume goes on"


def _check_free(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise UserError("exists already", field=str(path), remedy="replace it by --force, or choose another --name")


def _sink_problem(error: BlobError) -> ZmqflError:
    if error.problem == "exists already":
        return UserError(error.problem, field=error.file, remedy="replace it by --force, or choose another --name")
    return ZmqflError(error.line())
