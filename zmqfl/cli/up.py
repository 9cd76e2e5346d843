"""The verb that starts a federation."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from zmqfl.cli import terminal
from zmqfl.cli.exits import NotRunning
from zmqfl.cli.federation import choose, order
from zmqfl.cli.options import AsJson, Overrides, TopologyFile
from zmqfl.cli.running import SUPERVISOR
from zmqfl.errors import UserError
from zmqfl.launch import run_state
from zmqfl.launch.daemon import start_in_background
from zmqfl.launch.log_stream import FolderWatch, LogReader, merged
from zmqfl.launch.lookout import Links
from zmqfl.launch.plan import Plan, make_plan
from zmqfl.launch.run_state import RunState
from zmqfl.launch.supervisor import Supervisor


def up(
    file: TopologyFile,
    sites: Annotated[
        list[str] | None, Argument(help="Only these sites and those above them.", metavar="[SITE]...")
    ] = None,
    detach: Annotated[bool, Option("-d", "--detach", help="Leave it running in the background.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Print what would be started, as JSON.")] = False,
    wait: Annotated[float, Option(help="Seconds for all cells to be connected; 0: do not wait.", min=0)] = 30.0,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Start the sites of a topology file that this machine starts, and keep them running.

    In the foreground their logs are one stream, and Ctrl-C stops all. Where one of them does not get through within
    --wait, all are stopped. For a site that was stopped by `down SITE`, it starts that one again.
    """
    from zmqfl.topology import load

    topology = load(file, overrides or ())
    run_dir = run_state.run_folder(topology.name)
    plan = make_plan(topology, run_dir, run_state.sites_folder(topology.name)).only(sites or ())
    path = str(Path(file).absolute())
    if dry_run:
        sys.stdout.write(plan.to_json())
        return
    state = run_state.read(run_dir)
    if state is not None and state.is_supervised:
        _start_again(state, sites)
    elif detach:
        links = start_in_background(plan, path, wait)
        _show(choose(topology.name), links, as_json)
    else:
        status = asyncio.run(_foreground(plan, path, wait, as_json))
        raise Exit(status)


def _start_again(state: RunState, sites: list[str] | None) -> None:
    if not sites:
        raise run_state.already_running(state.name, state)
    names = [each.fqcn for each in state.sites if each.fqcn in sites]
    if not names:
        raise UserError(f"{', '.join(sites)}: not started with the others", remedy="stop all by `zmqfl down` first")
    if problem := order(state, order="start", sites=names):
        raise NotRunning(problem)
    terminal.console().print(f"{', '.join(names)}: started")


# -- foreground ------------------------------------------------------------------------------------------------------


async def _foreground(plan: Plan, path: str, wait: float, as_json: bool) -> int:
    run_dir = Path(plan.run_dir)
    readers = [LogReader(SUPERVISOR, run_state.supervisor_log(run_dir))]
    readers += [LogReader(spec.fqcn, Path(spec.log)) for spec in plan.local]
    printer = terminal.LogPrinter([reader.fqcn for reader in readers])

    def show_logs() -> None:
        for line in merged(readers):
            printer.print(line)

    def look(watch: FolderWatch) -> None:
        watch.clear()
        show_logs()

    supervisor = Supervisor(plan, path)
    with ExitStack() as stack:

        def begin() -> None:
            watch = stack.enter_context(closing(FolderWatch(run_dir)))
            loop = asyncio.get_running_loop()
            loop.add_reader(watch, look, watch)
            stack.callback(loop.remove_reader, watch)
            stack.callback(show_logs)

        def show_table() -> None:
            state = run_state.read(run_dir)
            assert state is not None  # the supervisor lives
            _show(state, supervisor.links, as_json)

        return await supervisor.run(wait, show_table, begin)


def _show(state: RunState, links: Links, as_json: bool) -> None:
    """What came up; unknown is what nobody has waited for."""
    absent = ("missing" if links else "unknown", "")
    rows = [(each.fqcn, *links.get(each.fqcn, absent), each.pid) for each in state.sites]
    if as_json:
        sites = [{"fqcn": fqcn, "state": link, "pid": pid} for fqcn, link, _, pid in rows]
        terminal.print_json({"name": state.name, "run_dir": state.run_dir, "sites": sites})
        return
    table = [(fqcn, link, str(pid), parent) for fqcn, link, parent, pid in rows]
    terminal.print_table(("SITE", "NETWORK", ">PID", "PARENT"), table)
