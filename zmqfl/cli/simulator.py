"""The verb that runs a job on this machine."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Exit, Option

from zmqfl.cli import terminal
from zmqfl.cli.exits import FAILED, report
from zmqfl.errors import UserError

DEFAULT = "simulator_workspace"


def simulator(
    job: Annotated[str, Argument(help="The folder of a job.", metavar="JOB", show_default=False)],
    workspace: Annotated[str, Option("-w", "--workspace", help="Folder for what the sites write.")] = DEFAULT,
    n_clients: Annotated[
        int | None,
        Option("-n", "--n-clients", help="Clients, called site-1, site-2, ... Default: the job's, or 2.", min=1),
    ] = None,
    clients: Annotated[
        str | None, Option("-c", "--clients", help="Clients by their names; wins over -n.", metavar="NAME,NAME")
    ] = None,
    threads: Annotated[int, Option("-t", "--threads", help="Clients that execute at once.", min=1)] = 1,
    most: Annotated[int, Option("-m", "--max-clients", help="No more clients than these.", min=1)] = 100,
    end_run_for_all: Annotated[
        bool, Option("--end-run-for-all", help="END_RUN is an event of every client; it always is here, unlike FLARE.")
    ] = False,
    quiet: Annotated[bool, Option("-q", "--quiet", help="Do not show what the sites log.")] = False,
) -> None:
    """Run a job on this machine, with its server and its clients as processes, until it has ended.

    Each site has its files and its log in WORKSPACE/SITE. Exit status: 0 it has ended as it should, 1 it could not
    begin, 2 it failed or was aborted.
    """
    from zmqfl.fl.jobs.simulator import simulate

    printer = terminal.LogPrinter(["server", "site-10"])
    names = [name.strip() for name in clients.split(",")] if clients is not None else []
    try:
        status = simulate(
            job,
            workspace,
            n_clients,
            names,
            threads,
            most_clients=most,
            show=None if quiet else printer.print,
        )
    except UserError as error:
        report(error)
        raise Exit(FAILED) from None
    raise Exit(status)
