"""One process of a job: from what was deployed, and its order, to a run that has ended.

`python -m zmqfl.launch.site` executes `run` in the process of the cell SITE.JOB, or SITE in a simulation. Exit status:
0 the run has ended, 1 it failed or was aborted, 2 somebody's mistake in the job, told in one line.

SIGTERM or SIGINT aborts the run, which then ends in its order; a second one does as `zmqfl.launch.site` says.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zmqfl.cell.cell import Cell
from zmqfl.context.workspace import Workspace
from zmqfl.errors import UserError
from zmqfl.fl.client_runner import ClientRunner
from zmqfl.fl.jobs.app import App, load_app
from zmqfl.fl.jobs.job_logs import job_logs
from zmqfl.fl.jobs.order import JobOrder
from zmqfl.fl.jobs.slots import SlotTaker
from zmqfl.fl.server_runner import ServerRunner
from zmqfl.launch.site import mistaken

log = logging.getLogger("zmqfl.jobs")

SLOTS = "__slots__"
"""Id of the component that takes a slot of execution."""


def run(cell: Cell, order_file: str) -> int:
    """Run a site's part of a job; see the module."""
    order = JobOrder.read(order_file)
    workspace = Workspace(order.workspace, order.site)
    with job_logs(workspace, None if order.simulated else order.job_id):
        try:
            app = load_app(workspace, order.job_id, order.role)
        except UserError as error:
            return mistaken(error)
        try:
            runner = make_runner(cell, order, app, workspace)
            with _aborted_by_signals(runner):
                return runner.run()
        except Exception:  # while the logs of the run are still written
            log.exception("the run failed")
            return 1


@contextmanager
def _aborted_by_signals(runner: ServerRunner | ClientRunner) -> Iterator[None]:
    """An exception in the middle of a user's code would leave it half done; the abort signal lets it end."""

    def abort(number: int, frame: object) -> None:
        restore()
        reason = f"stopped by {signal.Signals(number).name}"
        # Not here: this thread may hold any lock.
        threading.Thread(target=runner.abort, args=(reason,), name="zmqfl-job-abort", daemon=True).start()

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {each: signal.signal(each, abort) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        restore()


def make_runner(cell: Cell, order: JobOrder, app: App, workspace: Workspace) -> ServerRunner | ClientRunner:
    """What runs the app of this site."""
    shared: dict[str, Any] = {
        "job_id": order.job_id,
        "clients": order.clients,
        "task_data_filters": app.task_data_filters,
        "task_result_filters": app.task_result_filters,
        "workspace": workspace,
        "args": order.args,
        "job_meta": json.loads(Path(workspace.get_job_meta_path(order.job_id)).read_text()),
        "simulate": order.simulated,
    }
    if order.role == "server":
        return ServerRunner(cell, components=app.components, workflows=app.workflows, name=order.site, **shared)
    slots = {SLOTS: SlotTaker(order.slots)} if order.slots else {}
    return ClientRunner(
        cell,
        name=order.site,
        server=order.server,
        components={**app.components, **slots},
        executors=app.executors,
        client_config=app.config.variables,
        **shared,
    )
