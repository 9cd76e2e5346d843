"""Verbs about the jobs of a running federation: jobs list, jobs abort, jobs log."""

from __future__ import annotations

import select
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, Typer

from zmqfl.cli import terminal
from zmqfl.cli.federation import attached, choose
from zmqfl.cli.job_asking import ask_server, describe_end, with_proof
from zmqfl.cli.moving import line_of
from zmqfl.cli.options import AsJson, Federation
from zmqfl.errors import UserError
from zmqfl.launch.log_stream import FolderWatch, LogReader, merged

app = Typer(add_completion=False, help="The jobs of a running federation.", no_args_is_help=True)

JobId = Annotated[str, Argument(help="The id that `submit` has printed.", metavar="ID", show_default=False)]


@app.command(name="list")
def list_jobs(as_json: AsJson = False, name: Federation = None) -> None:
    """All jobs since the server's start, newest last."""
    from zmqfl.fl.jobs.job_service import LIST

    with attached(choose(name)) as cell:
        rows = ask_server(cell, LIST, None)
    if as_json:
        terminal.print_json({"jobs": rows})
    elif rows:
        terminal.print_table(("ID", "NAME", "STATE", ">AGE", ">RAN", "CLIENTS", ""), [_cells(row) for row in rows])
    else:
        terminal.console().print("no job was submitted; do so by `zmqfl submit JOB`")


@app.command()
def abort(job_id: JobId, name: Federation = None) -> None:
    """End a job, and wait until it has ended."""
    from zmqfl.fl.jobs.job_service import ABORT

    state = choose(name)
    with attached(state) as cell, with_proof(state) as proof:
        told = ask_server(cell, ABORT, {"job_id": job_id, "proof": proof})
    terminal.console().print(f"{job_id}: {describe_end(told)}", soft_wrap=True)


@app.command()
def log(
    job_id: JobId,
    site: Annotated[
        str | None, Argument(help="The FQCN of a site. Default: all of this machine.", metavar="[SITE]")
    ] = None,
    follow: Annotated[bool, Option("-f", "--follow", help="Go on until the job is over.")] = False,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """What the processes of a job have printed at the sites of this machine. Other sites keep theirs to themselves."""
    state = choose(name)
    folder = Path(state.run_dir)
    with closing(FolderWatch(folder)) as watch:
        readers = _readers(folder, job_id, site)
        printer = terminal.LogPrinter([reader.fqcn for reader in readers])
        while True:
            watch.clear()
            is_over = not follow or not any(_runs(folder, each) for each in (reader.file for reader in readers))
            for line in merged(readers):
                if as_json:
                    terminal.print_json_line({"site": line.fqcn, "time": line.time, "text": line.text})
                else:
                    printer.print(line)
            if is_over:
                return
            select.select([watch], [], [])


def _runs(folder: Path, log: Path) -> bool:
    """Whether the process of a log may still write: its order lies there until it has ended for good."""
    return (folder / f"{log.name.removesuffix('.log')}.order.json").exists()


def _readers(folder: Path, job_id: str, site: str | None) -> list[LogReader]:
    files = {file.name.removesuffix(f".{job_id}.log"): file for file in sorted(folder.glob(f"*.{job_id}.log"))}
    if not files:
        raise UserError(f"no site of this machine has a log of job {job_id!r}", remedy="look at `zmqfl jobs list`")
    if site is None:
        return [LogReader(fqcn, file) for fqcn, file in files.items()]
    if site not in files:
        from zmqfl.topology.checks import near

        raise UserError(f"there is no log of job {job_id!r} at {site!r}", remedy=near(site, files))
    return [LogReader(site, files[site])]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    ended = row["ended"] or time.time()
    return (
        row["id"],
        line_of(row["name"]),
        row["state"],
        terminal.ago(time.time() - row["submitted"]),
        terminal.ago(ended - row["started"]) if row["started"] else "",
        line_of(", ".join(row["clients"])),
        line_of(row["reason"]),
    )
