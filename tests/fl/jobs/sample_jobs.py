"""Small jobs for tests, each a folder with code of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CODE = '''
import ctypes
import os
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


def gate_of(fl_ctx):
    """A pipe that the test has made: opened at both ends, so that no open waits."""
    folder = Path(fl_ctx.get_engine().get_workspace().get_root_dir()).parents[1]
    return os.open(folder / "gate", os.O_RDWR)


class Jailer(Flow):
    """Gives each client one task, and lets site-1 go `seconds` after the results of all others are here."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.seconds = seconds
        self.results = []

    def control_flow(self, abort_signal, fl_ctx):
        names = [client.name for client in fl_ctx.get_engine().get_clients()]

        def received(client_task, fl_ctx):
            self.results.append(client_task.client.name)
            if len(self.results) == len(names) - 1:
                abort_signal.wait(self.seconds)
                gate = gate_of(fl_ctx)
                os.write(gate, b"go")
                os.close(gate)

        task = Task("work", Shareable(), result_received_cb=received)
        self.broadcast_and_wait(task, fl_ctx, names, len(names), abort_signal=abort_signal)
        self.log_info(fl_ctx, f"results of {self.results}")


class Held(Executor):
    """At site-1 it keeps the interpreter until it is let go: no other thread of the process can do anything."""

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        if fl_ctx.get_identity_name() == "site-1":
            gate = gate_of(fl_ctx)
            ctypes.PyDLL(None).read(gate, ctypes.create_string_buffer(2), 2)
            os.close(gate)
        return make_reply("OK")


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
