"""The verb that gives a job to a running federation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from zmqfl.cli import terminal
from zmqfl.cli.exits import FAILED
from zmqfl.cli.federation import attached, choose
from zmqfl.cli.job_asking import ask_server, describe_end, with_proof
from zmqfl.cli.options import AsJson, Federation
from zmqfl.errors import ZmqflError


def submit(
    job: Annotated[str, Argument(help="The folder of a job.", metavar="JOB", show_default=False)],
    wait: Annotated[bool, Option("--wait", help="Until it is over; exit status 1 when it failed.")] = False,
    as_json: AsJson = False,
    name: Federation = None,
) -> None:
    """Have the sites of a federation run a job, and print its id.

    All sites with `jobs: true` take part, or those that the job names. Only the user who has started the server may
    submit, on the server's machine.
    """
    from zmqfl.fl.jobs.archive import pack
    from zmqfl.fl.jobs.job_folder import read_job
    from zmqfl.fl.jobs.job_service import SUBMIT, WAIT

    archive = pack(read_job(Path(job)).path)
    state = choose(name)
    with attached(state) as cell:
        with with_proof(state) as proof:
            told = ask_server(cell, SUBMIT, {"archive": archive, "proof": proof})
        if told["state"] == "failed":
            raise ZmqflError(f"{told['id']}: {describe_end(told)}")
        if not as_json:
            sys.stdout.write(f"{told['id']}\n")
            sys.stdout.flush()
        if wait:
            told = ask_server(cell, WAIT, {"job_id": told["id"]}, until_over=True)
    if as_json:
        terminal.print_json(told)
    elif wait:
        terminal.console().print(describe_end(told), soft_wrap=True)
    if wait and told["state"] != "done":
        raise Exit(FAILED)
