"""The verb that retrieves containers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Final

from typer import Argument, Exit, Option

from zmqfl.blobs.npz import SUFFIX, write_npz
from zmqfl.blobs.paths import safe_name
from zmqfl.cell.cell import Cell
from zmqfl.cell.progress import TransferProgress
from zmqfl.cell.transfer_verbs import CHUNK_TIMEOUT
from zmqfl.cli import exits, progress, terminal
from zmqfl.cli.exits import NotRunning
from zmqfl.cli.federation import attached, choose
from zmqfl.cli.moving import Timeout, interrupted, line_of, pace
from zmqfl.cli.options import AsJson, Federation
from zmqfl.cli.references import check_cells
from zmqfl.context.return_code import ReturnCode
from zmqfl.errors import SinkError, UserError, ZmqflError
from zmqfl.fqcn import parse

TOPIC: Final = "ContainerRetriever"
"""The topic of a `ContainerRetriever` that was given none."""
_REFUSED: Final = (ReturnCode.BAD_REQUEST_DATA, ReturnCode.UNAUTHENTICATED)


def retrieve(
    site: Annotated[str, Argument(help="Who has it.", metavar="SITE", show_default=False)],
    container: Annotated[
        str, Argument(help="What that site has called it by `add_container`.", metavar="NAME", show_default=False)
    ],
    output: Annotated[
        str | None, Option("-o", "--output", help="The file for it. Default: NAME.npz.", metavar="FILE.npz")
    ] = None,
    topic: Annotated[str, Option(help="The topic of the retriever there.")] = TOPIC,
    force: Annotated[bool, Option("--force", help="Replace a file of that name.")] = False,
    timeout: Timeout = CHUNK_TIMEOUT,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """Fetch a dict of arrays from the memory of a site's program, and write it as an .npz."""
    owner, path = parse(site, "SITE"), _free(output, container, force)
    if not container:
        raise UserError("is empty", field="NAME", remedy="name a container of that site")
    if not topic:
        raise UserError("is empty", field="--topic", remedy=f"leave it out for {TOPIC!r}")
    with attached(choose(name)) as cell:
        check_cells(cell, [owner], "SITE")
        begin = time.monotonic()
        value, size = _retrieve(cell, owner, container, topic, timeout, not as_json)
        seconds = time.monotonic() - begin
    _write(path, value, force, f"{owner}: {container}")
    if as_json:
        told = {"path": str(path.absolute()), "name": path.name, "entries": list(value), "size": size}
        terminal.print_json({"ok": True, "site": owner, **told, "seconds": seconds})
        return
    speed = ", ".join(pace({"size": size, "seconds": seconds}))
    text = f"{path}: {len(value)} entries, {progress.size(size)} from {owner}; {speed}"
    terminal.console().print(text, soft_wrap=True)


def _free(output: str | None, container: str, force: bool) -> Path:
    """Where the file goes. Raises `UserError` where that cannot be."""
    path = Path(output) if output is not None else Path(safe_name(container) + SUFFIX)
    if safe_name(path.name) != path.name:
        raise UserError(f"{output!r} is no file name", field="-o", remedy=f"write -o {safe_name(path.name)!r}")
    if not path.parent.is_dir():
        raise UserError("there is no such folder", field=f"-o {path}", remedy="make it first")
    if path.is_dir():
        raise UserError("is a folder", field=f"-o {path}", remedy=f"write -o {path / (safe_name(container) + SUFFIX)}")
    if path.exists() and not force:
        raise UserError("exists already", field=str(path), remedy="replace it by --force, or choose another by -o")
    return path


def _retrieve(
    cell: Cell, site: str, container: str, topic: str, timeout: float, is_shown: bool
) -> tuple[dict[Any, Any], int]:
    """The container, and its bytes on the way. Raises `Exit` when interrupted, and the error that fits."""
    from zmqfl.streaming.cell_engine import CellEngine
    from zmqfl.streaming.container_retriever import NAME, ContainerRetriever

    engine, retriever = CellEngine(cell), ContainerRetriever(topic)
    begin, size = time.monotonic(), 0

    try:
        with engine.new_context() as fl_ctx, progress.bars(is_shown) as show:

            def taken(chunk: int) -> None:
                nonlocal size
                size += chunk
                if show is not None:
                    show({container: TransferProgress(size, 0, time.monotonic() - begin)})

            retriever.register(fl_ctx)
            found = retriever.fetch(site, fl_ctx, timeout, {NAME: container}, taken)
    except KeyboardInterrupt:
        interrupted("nothing was kept")
        raise Exit(exits.INTERRUPTED) from None
    finally:
        engine.shutdown_streamer()
    if found.rc != ReturnCode.OK:
        raise _problem(site, container, topic, found.rc, line_of(found.reason), timeout)
    if not isinstance(found.data, dict):
        kind = type(found.data).__name__
        raise ZmqflError(f"{site}: {container}: is a {kind}, and an .npz holds arrays by name; have it made a dict")
    return found.data, size


def _problem(site: str, container: str, topic: str, rc: ReturnCode, reason: str, timeout: float) -> ZmqflError:
    where = f"{site}: {container}"
    if rc == ReturnCode.TOPIC_UNKNOWN or "no callback" in reason:  # the latter where nothing has an engine
        text = f"no program there has a {TOPIC} with topic {topic!r}"
        return ZmqflError(f"{where}: {text}; start one by `run:` of the site, or name its --topic")
    if rc in _REFUSED:
        return ZmqflError(f"{where}: {reason}")
    if rc == ReturnCode.TIMEOUT:
        return NotRunning(f"{where}: nothing has come for {timeout:g} s; look at `zmqfl ps`, or give more by --timeout")
    line = f"{where}: {reason or rc}"
    line = line if ";" in line else f"{line}; retrieve it again"
    return NotRunning(line) if rc == ReturnCode.COMMUNICATION_ERROR else ZmqflError(line)


def _write(path: Path, value: dict[Any, Any], force: bool, where: str) -> None:
    try:
        write_npz(path.parent.absolute(), path.name, value, "replace" if force else "fail")
    except SinkError as error:
        if error.problem.startswith("entry "):
            raise ZmqflError(f"{where}: {error.problem}; {error.remedy}") from None
        raise ZmqflError(error.line()) from None
