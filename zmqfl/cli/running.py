"""Verbs about what runs here: ps, logs, down."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from zmqfl.cli import terminal
from zmqfl.cli.exits import NotRunning
from zmqfl.cli.federation import attached, check_site, choose, is_hidden, name_of, order
from zmqfl.cli.options import AsJson, Federation
from zmqfl.errors import UserError
from zmqfl.launch import run_state
from zmqfl.launch.log_stream import FolderWatch, LogReader, merged
from zmqfl.launch.process import is_alive, signal_session
from zmqfl.launch.run_state import RunState, SiteState

SUPERVISOR = "zmqfl"
"""How the supervisor is called among the logs."""
FORCED = 10.0
"""Seconds for what was killed to be gone."""
LOOK = 2.0
"""Seconds for the network's view in `ps`: the launcher's view must not wait long for it."""

OneSite = Annotated[str | None, Argument(help="The FQCN of a site. Default: all.", metavar="[SITE]")]


def ps(as_json: AsJson = False, name: Federation = None) -> None:
    """What the launcher knows of each site, beside what the network sees, and where they differ."""
    state = choose(name)
    links, problem = _network(state)
    rows = [_row(site, links.get(site.fqcn, {}), problem) for site in state.sites]
    known = {site.fqcn for site in state.sites}
    rows += [
        _row(SiteState(fqcn, "-"), link, "")
        for fqcn, link in links.items()
        if fqcn not in known and not is_hidden(fqcn)
    ]
    if as_json:
        told = {"name": state.name, "run_dir": state.run_dir, "topology": state.topology, "connected": state.connected}
        supervisor = state.pid if state.is_supervised else None
        terminal.print_json({**told, "supervisor": supervisor, "problem": problem, "sites": rows})
        return
    columns = ("SITE", "PROCESS", ">PID", ">RESTARTS", ">UP", "NETWORK", ">RTT", ">SINCE", "START", "")
    terminal.print_table(columns, [_cells(row) for row in rows])
    if problem:
        terminal.console().print(problem, style="red")
    if not state.is_supervised:
        terminal.console().print(f"the supervisor of {state.name!r} has ended; clean up by `zmqfl down`", style="red")


def logs(
    site: OneSite = None,
    follow: Annotated[bool, Option("-f", "--follow", help="Go on until the federation ends.")] = False,
    since: Annotated[
        str | None, Option(help="Not older: 30s, 10m, 2h, or a time as 2026-01-31T12:00:00 (UTC).", metavar="WHEN")
    ] = None,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """What the sites have printed, by time. Also after they have ended, with -t NAME."""
    folder, first = _log_folder(name), _since(since) if since else ""
    readers = _readers(folder, site)
    printer = terminal.LogPrinter([reader.fqcn for reader in readers])

    def show(lines: list[Any]) -> None:
        for line in lines:
            if as_json:
                terminal.print_json_line({"site": line.fqcn, "time": line.time, "text": line.text})
            else:
                printer.print(line)

    if not follow:
        show(merged(readers, first))
        return
    with closing(FolderWatch(folder)) as watch:
        alive = True
        while alive:
            watch.clear()
            alive = run_state.state_file(folder).exists()
            show(merged(readers, first))
            if alive:
                select.select([watch], [], [])


def down(
    site: OneSite = None,
    drain: Annotated[float | None, Option(help="Seconds for what runs to end. Default: the topology's.", min=0)] = None,
    force: Annotated[bool, Option("--force", help="Kill at once.")] = False,
    name: Federation = None,
) -> None:
    """Stop a federation, or one site of it; nothing is left, also of one whose supervisor has crashed."""
    state = choose(name)
    if site is not None:
        if problem := order(state, order="stop", sites=[check_site(state, site)], drain=drain, force=force):
            raise NotRunning(problem)
        terminal.console().print(f"{site} is stopped")
        return
    if state.is_supervised:
        _stop_supervisor(state, drain, force)
    _end_leftovers(state, [signal.SIGKILL] if force else [signal.SIGTERM, signal.SIGKILL], drain)
    terminal.console().print(f"{state.name} is stopped")


# ------------------------------------------------------------------------------------------------------------------- ps


def _network(state: RunState) -> tuple[dict[str, dict[str, Any]], str]:
    """The network's view, or why there is none."""
    from zmqfl.cli.network import view

    try:
        with attached(state, LOOK) as cell:
            return view(cell), ""
    except NotRunning as error:
        return {}, str(error)


def _row(site: SiteState, link: dict[str, Any], problem: str) -> dict[str, Any]:
    network = link.get("state", "unknown" if problem else "missing")
    if site.status == "running" and not is_alive(site.pid, site.mark):
        site = replace(site, status="lost", pid=0)  # nobody was there to see it end
    return {
        "fqcn": site.fqcn,
        "process": site.status,
        "pid": site.pid or None,
        "restarts": site.restarts,
        "started": site.started or None,
        "exit": site.exit,
        "network": network,
        "rtt": link.get("rtt"),
        "since": link.get("since"),
        "instance": link.get("instance"),
        "difference": _difference(site.status, network),
    }


def _difference(process: str, network: str) -> str:
    """Where the launcher and the network do not agree, in words."""
    if network == "unknown":
        return "the network does not answer"
    if process == "running" and network != "up":
        return "runs, but is not connected"
    if process not in ("running", "-") and network == "up":
        return "connected, but not started here"
    return "joined by itself" if process == "-" else ""


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    ended = f" ({row['exit']})" if row["exit"] is not None and row["process"] != "running" else ""
    running = row["process"] == "running"
    return (
        row["fqcn"],
        f"{row['process']}{ended}",
        str(row["pid"] or ""),
        str(row["restarts"]),
        terminal.ago(time.time() - row["started"]) if running else "",
        row["network"],
        terminal.ms(row["rtt"]),
        terminal.ago(row["since"]) if row["since"] is not None else "",
        f"{row['instance']:016x}"[:6] if row["instance"] else "",
        row["difference"],
    )


# ----------------------------------------------------------------------------------------------------------------- logs


def _log_folder(name: str | None) -> Path:
    if name is None:
        return Path(choose(None).run_dir)
    folder = run_state.run_folder(name_of(name))
    if not folder.is_dir():
        raise NotRunning(f"federation {name_of(name)!r} has never run here; start it by `zmqfl up FILE`")
    return folder


def _readers(folder: Path, site: str | None) -> list[LogReader]:
    files = {file.name.removesuffix(".log"): file for file in sorted(folder.glob("*.log"))}
    files.pop(run_state.supervisor_log(folder).stem, None)
    if site is None:
        return [LogReader(SUPERVISOR, run_state.supervisor_log(folder)), *(LogReader(*each) for each in files.items())]
    if site not in files:
        from zmqfl.topology.checks import near

        raise UserError(f"there is no log of {site!r}", remedy=near(site, files))
    return [LogReader(site, files[site])]


def _since(text: str) -> str:
    """The time that a log line must at least have."""
    if match := re.fullmatch(r"(\d+)([smhd])", text):
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]
        when = datetime.now(UTC) - timedelta(**{unit: int(match[1])})
    else:
        try:
            when = datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            remedy = "write 30s, 10m, 2h or 2026-01-31T12:00:00"
            raise UserError(f"{text!r} is no time", field="--since", remedy=remedy) from None
    return when.strftime("%Y-%m-%dT%H:%M:%S")


# ----------------------------------------------------------------------------------------------------------------- down


def _stop_supervisor(state: RunState, drain: float | None, force: bool) -> None:
    with _watched(state.pid) as ended:
        order(state, order="stop", drain=drain, force=force)
        patience = FORCED + (0 if force else _longest(state, drain))
        if not select.select([ended], [], [], patience)[0]:
            os.kill(state.pid, signal.SIGKILL)
            select.select([ended], [], [], FORCED)


def _longest(state: RunState, drain: float | None) -> float:
    """Seconds that a stop may take: a drain for each generation."""
    depth = 2 + max((site.fqcn.count(".") for site in state.sites), default=0)
    return depth * ((drain if drain is not None else 60.0) + 5.0)


def _end_leftovers(state: RunState, signals: list[signal.Signals], drain: float | None) -> None:
    """End what a crashed supervisor has left, and remove its files."""
    for site in state.sites:
        for number in signals:
            patience = drain if drain is not None and number == signal.SIGTERM else FORCED
            for pid in run_state.members(site):
                with _watched(pid) as ended:
                    signal_session(site.pid, site.mark, number)
                    select.select([ended], [], [], patience)
    if not is_alive(state.pid, state.mark):
        run_state.remove_traces(Path(state.run_dir))


@contextmanager
def _watched(pid: int) -> Iterator[int]:
    """A descriptor that becomes readable when the process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        descriptor = os.open(os.devnull, os.O_RDONLY)  # readable at once
    try:
        yield descriptor
    finally:
        os.close(descriptor)
