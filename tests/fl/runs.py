"""Runs for tests: a server and clients on real cells of this process, each runner in a thread of its own.

`Run` starts them, waits for their ends, and keeps what they said. `Flow` is a controller whose control flow is a
function, `Work` an executor that is one. `Trace` is a component that writes down the events that it hears.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tests.system.federation import LONG, QUICK, Federation
from zmqfl import Cell
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.fl.client_runner import ClientRunner
from zmqfl.fl.controller import Controller
from zmqfl.fl.executor import Executor
from zmqfl.fl.run_settings import RunSettings
from zmqfl.fl.server_runner import ServerRunner

SETTINGS = RunSettings(dead_client_grace=LONG, sync_timeout=LONG, end_patience=LONG, aux_timeout=LONG)
JOB = "job-1"


class Flow(Controller):
    """Its control flow is `function(controller, abort_signal, fl_ctx)`."""

    def __init__(self, function: Callable[[Flow, Signal, FLContext], object], log: list[Any] | None = None) -> None:
        self.function = function
        self.log = log if log is not None else []

    def start_controller(self, fl_ctx: FLContext) -> None:
        self.log.append("start_controller")

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        self.log.append("control_flow")
        self.function(self, abort_signal, fl_ctx)

    def stop_controller(self, fl_ctx: FLContext) -> None:
        self.log.append("stop_controller")


class Work(Executor):
    """Its task is `function(task_name, shareable, fl_ctx, abort_signal)`."""

    def __init__(self, function: Callable[[str, Shareable, FLContext, Signal], Any]) -> None:
        self.function = function

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Any:
        return self.function(task_name, shareable, fl_ctx, abort_signal)


class Trace(FLComponent):
    """Writes down events, and what `seen` says of their contexts."""

    def __init__(self, log: list[Any] | None = None, seen: Callable[[str, FLContext], Any] | None = None) -> None:
        self.log = log if log is not None else []
        self.seen = seen

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        self.log.append(event_type if self.seen is None else self.seen(event_type, fl_ctx))


def echo(task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
    """The content of the task is that of the result."""
    return Shareable(shareable)


class Run:
    """See the module. `federation`: of the cells."""

    def __init__(self, count: int = 1, settings: RunSettings = SETTINGS, federation: Federation | None = None) -> None:
        self.federation = federation or Federation(QUICK)
        self.settings = settings
        self.names = [f"site-{number}" for number in range(1, count + 1)]
        self.threads: dict[str, threading.Thread] = {}
        self.status: dict[str, Any] = {}
        self.clients: dict[str, ClientRunner] = {}
        self.hub: Cell = self.federation.start("server", config=self.federation.config)
        self.cells: dict[str, Cell] = {}

    def serve(
        self,
        flow: Callable[[Flow, Signal, FLContext], object] | Mapping[str, Controller],
        components: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> ServerRunner:
        """Make the server; it runs from now on."""
        workflows = flow if isinstance(flow, Mapping) else {"flow": Flow(flow)}
        self.server = ServerRunner(
            self.hub,
            job_id=JOB,
            clients={name: name for name in self.names},
            components=components or {},
            workflows=workflows,
            settings=self.settings,
            **options,
        )
        self._start("server", self.server.run)
        return self.server

    def client(
        self,
        name: str = "site-1",
        work: Callable[..., Any] | Sequence[tuple[Sequence[str], Executor]] = echo,
        components: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> ClientRunner:
        """Make a client; it runs from now on."""
        cell = self.cells[name] = self.federation.start(name, self.hub, None)
        options.setdefault("job_id", JOB)
        runner = ClientRunner(
            cell,
            name=name,
            server="server",
            clients={each: each for each in self.names},
            components=components or {},
            executors=work if isinstance(work, Sequence) else [(["*"], Work(work))],
            settings=self.settings,
            **options,
        )
        self.clients[name] = runner
        self._start(name, runner.run)
        return runner

    def all_clients(self, work: Callable[..., Any] = echo, names: Iterable[str] | None = None) -> None:
        """Start them all alike."""
        for name in names or self.names:
            self.client(name, work)

    def wait(self, name: str = "server", seconds: float = LONG) -> Any:
        """The status of a runner, when it has ended."""
        self.threads[name].join(seconds)
        assert not self.threads[name].is_alive(), f"{name} hangs"
        return self.status[name]

    def wait_all(self) -> dict[str, Any]:
        """The statuses of all."""
        return {name: self.wait(name) for name in self.threads}

    def crash(self, name: str) -> None:
        """A client vanishes as if its process were killed; what its runner does then is of no account."""
        self.cells[name].close(drain=0)
        self.clients[name].abort("crashed")
        self.threads.pop(name).join(LONG)

    def close(self) -> None:
        for client in self.clients.values():
            client.abort("the test has ended")
        if hasattr(self, "server"):
            self.server.abort("the test has ended")
        for thread in self.threads.values():
            thread.join(LONG)
        self.federation.close()
        assert not any(thread.is_alive() for thread in self.threads.values()), "a runner hangs"

    def _start(self, name: str, run: Callable[[], int]) -> None:
        def target() -> None:
            self.status[name] = "raised"
            self.status[name] = run()

        self.threads[name] = threading.Thread(target=target, name=f"run:{name}")
        self.threads[name].start()
