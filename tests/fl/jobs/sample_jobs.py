"""Small jobs for tests, each a folder with code of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CODE = '''
import threading
from pathlib import Path

from zmqfl import Shareable
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.shareable import make_reply
from zmqfl.fl.controller import Controller
from zmqfl.fl.executor import Executor
from zmqfl.fl.task import Task


class Flow(Controller):
    """Gives each client one task; `waits`: and then waits for the end of the run. `fails`: or raises."""

    def __init__(self, waits=False, fails=False):
        self.waits, self.fails = waits, fails

    def start_controller(self, fl_ctx):
        pass

    def control_flow(self, abort_signal, fl_ctx):
        names = [client.name for client in fl_ctx.get_engine().get_clients()]
        self.broadcast_and_wait(Task("work", Shareable()), fl_ctx, names, len(names), abort_signal=abort_signal)
        if self.fails:
            raise RuntimeError("the flow has failed")
        if self.waits:
            self.log_info(fl_ctx, "waits")
            abort_signal.wait()

    def stop_controller(self, fl_ctx):
        pass


class Work(Executor):
    """Writes down when it begins and ends."""

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        folder = Path(fl_ctx.get_engine().get_workspace().get_root_dir()).parent
        with (folder / "executions").open("a") as file:
            for word in ("begin", "end"):
                file.write(f"{word} {fl_ctx.get_identity_name()}\\n")
                file.flush()
                threading.Event().wait(self.pause())
        return make_reply("OK")

    def pause(self):
        return 0.05


class Ears(FLComponent):
    """Writes down which events of a run are heard."""

    def handle_event(self, event_type, fl_ctx):
        if event_type in (EventType.START_RUN, EventType.END_RUN):
            self.log_info(fl_ctx, f"heard {event_type}")
'''


def write_job(
    folder: Path,
    workflow: dict[str, Any] | None = None,
    executor: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    name: str = "sample",
) -> Path:
    """A job of these parts; without them each client does one task, and the job ends."""
    job = folder / name
    config = job / "app" / "config"
    config.mkdir(parents=True)
    (job / "app" / "custom").mkdir()
    (job / "app" / "custom" / "sample_code.py").write_text(CODE)
    flow = {"id": "flow", "path": "sample_code.Flow", **(workflow or {})}
    ears = [{"id": "ears", "path": "sample_code.Ears"}]
    server = {"format_version": 2, "components": ears, "workflows": [flow]}
    client = {
        "format_version": 2,
        "components": ears,
        "executors": [{"tasks": ["work"], "executor": {"path": "sample_code.Work", **(executor or {})}}],
    }
    whole = {"name": name, "min_clients": 1, "deploy_map": {"app": ["@ALL"]}, **(meta or {})}
    (config / "config_fed_server.json").write_text(json.dumps(server, indent=1))
    (config / "config_fed_client.json").write_text(json.dumps(client, indent=1))
    (job / "meta.json").write_text(json.dumps(whole))
    return job
