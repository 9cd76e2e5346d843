"""Verbs that start: up, run, join."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from zmqfl.cli import terminal
from zmqfl.cli.exits import NotRunning
from zmqfl.cli.federation import attached, choose, order
from zmqfl.cli.network import view
from zmqfl.cli.options import AsJson, Overrides, Settings, SettingsFile, TopologyFile
from zmqfl.cli.running import SUPERVISOR
from zmqfl.config import CellConfig
from zmqfl.errors import UserError
from zmqfl.fqcn import FQCN, parse
from zmqfl.launch import run_state, site
from zmqfl.launch.daemon import start_in_background
from zmqfl.launch.log_stream import FolderWatch, LogReader, merged
from zmqfl.launch.plan import Plan, make_plan
from zmqfl.launch.run_state import RunState
from zmqfl.launch.settings import load_settings
from zmqfl.launch.spec import Listener, SiteSpec
from zmqfl.launch.supervisor import Supervisor

_KEY = re.compile(r"[0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40}")
"""Z85, 32 bytes."""


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
        start_in_background(plan, path, wait)
        _show(choose(topology.name), as_json)
    else:
        status = asyncio.run(_foreground(plan, path, wait, as_json))
        raise Exit(status)


def run(spec: Annotated[str, Argument(help="A site spec, as `up` and `kit` write it.", metavar="SPEC")],
        settings: SettingsFile = None, overrides: Settings = None) -> None:  # fmt: skip
    """Run one site in this process: what launchers execute. It ends with the exit status of its `run:`."""
    raise Exit(site.run_file(spec, settings, overrides or ()))


def join(
    url: Annotated[str, Argument(help="The address of the parent: tcp://HOST:PORT or ipc:///PATH.", metavar="URL")],
    name: Annotated[str, Option("--name", help="The FQCN of this site.", metavar="FQCN", show_default=False)],
    keys: Annotated[str, Option(help="The folder of its keys (`zmqfl keygen`).", metavar="DIR")] = "",
    server_key: Annotated[str, Option(help="The public key of the parent, 40 characters.", metavar="KEY")] = "",
    listen: Annotated[list[str] | None, Option(help="Where its own children reach it.", metavar="URL")] = None,
    work: Annotated[
        str, Option(help="Folder for what is pushed to it (DIR/FQCN/inbox). Default: it takes nothing.", metavar="DIR")
    ] = "",
    exports: Annotated[
        list[str] | None, Option("--export", help="Folder whose files others may pull as FQCN:PATH.", metavar="DIR")
    ] = None,
    runs: Annotated[str | None, Option("--run", help="module:function, or a command line.", metavar="WHAT")] = None,
    trusted: Annotated[
        bool, Option("--trusted-network", help="Without keys, where only friends can reach it.")
    ] = False,
    settings: SettingsFile = None,
    overrides: Settings = None,
) -> None:
    """Be a site that starts itself: connect to a parent, and serve until stopped."""
    fqcn = parse(name, "--name")
    if server_key and not keys:
        raise UserError(
            "needs keys of its own", field="--server-key", remedy=f"`zmqfl keygen {fqcn}`, then --keys keys"
        )
    if server_key and not _KEY.fullmatch(server_key):
        remedy = "copy what follows `public-key` in the server's public/NAME.key"
        raise UserError("is no public key of 40 characters", field="--server-key", remedy=remedy)
    spec = SiteSpec(
        federation="",
        fqcn=fqcn,
        site=FQCN.split(fqcn)[-1],
        role="client",
        root=FQCN.ROOT_SERVER,
        host="",
        launcher="",
        kind="external",
        run_dir="",
        config=load_settings(settings, {}, overrides or (), CellConfig()),
        parent=FQCN.get_parent(fqcn) or FQCN.ROOT_SERVER,
        parent_url=url,
        parent_key=server_key,
        listen=tuple(Listener(each) for each in listen or ()),
        keys=keys,
        trusted_network=trusted,
        work=str(Path(work).absolute()) if work else "",
        exports=tuple(str(Path(each).absolute()) for each in exports or ()),
        run=runs,
    )
    raise Exit(site.run_site(spec))


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
    tables: list[asyncio.Task[None]] = []

    def show_logs() -> None:
        for line in merged(readers):
            printer.print(line)

    def look(watch: FolderWatch) -> None:
        watch.clear()
        show_logs()

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
            tables.append(asyncio.create_task(asyncio.to_thread(_show, state, as_json)))

        try:
            return await Supervisor(plan, path).run(wait, show_table, begin)
        finally:
            await asyncio.gather(*tables, return_exceptions=True)


def _show(state: RunState, as_json: bool) -> None:
    """What came up."""
    with attached(state) as cell:
        links = view(cell)
    rows = [(each.fqcn, links.get(each.fqcn, {"state": "missing"}), each.pid) for each in state.sites]
    if as_json:
        sites = [{"fqcn": fqcn, "state": link["state"], "pid": pid} for fqcn, link, pid in rows]
        terminal.print_json({"name": state.name, "run_dir": state.run_dir, "sites": sites})
        return
    table = [(fqcn, link["state"], str(pid), link.get("parent", "")) for fqcn, link, pid in rows]
    terminal.print_table(("SITE", "NETWORK", ">PID", "PARENT"), table)
