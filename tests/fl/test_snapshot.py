"""What survives a restart of the server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fl.runs import JOB, Flow, Run, Trace
from tests.system.federation import LONG, until
from zmqfl.context.event_type import EventType as E
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.context.signal import Signal
from zmqfl.context.workspace import Workspace
from zmqfl.errors import EncodeError, SinkError, SourceError
from zmqfl.fl.snapshot import FILE, RunSnapshot
from zmqfl.fl.task import ClientTask, Task

MakeRun = Callable[..., Run]


def test_a_snapshot_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "run" / FILE
    assert RunSnapshot.read(file) is None
    RunSnapshot("job-1", {"a": {"w": np.ones(2), "n": 3}}, 1, False).write(file)
    found = RunSnapshot.read(file)
    assert found is not None
    assert (found.job_id, found.workflow, found.completed) == ("job-1", 1, False)
    assert (found.component_states["a"]["w"].tolist(), found.component_states["a"]["n"]) == ([1, 1], 3)
    assert [each.name for each in file.parent.iterdir()] == [FILE]


def test_what_cannot_be_kept_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / FILE
    RunSnapshot("job-1", {"a": {"n": 1}}).write(file)
    with pytest.raises(EncodeError):
        RunSnapshot("job-1", {"a": {"n": object()}}).write(file)
    found = RunSnapshot.read(file)
    assert found is not None
    assert found.component_states == {"a": {"n": 1}}
    with pytest.raises(SinkError, match="cannot be written"):
        RunSnapshot("job-1").write(file / "below" / FILE)


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x91\xc4\x01\x05", b"\x05"])
def test_a_file_that_is_no_snapshot(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / FILE
    file.write_bytes(content)
    with pytest.raises(SourceError, match=r"is no snapshot of a run.*remove it to start the run anew"):
        RunSnapshot.read(file)


class Counting(Flow):
    """Rounds that are counted, kept after each, and taken up; it crashes the server before round `crash`."""

    def __init__(self, rounds: int, crash: int, log: list[Any]) -> None:
        super().__init__(lambda *args: None)
        self.rounds, self.crash, self.seen = rounds, crash, log
        self.done = 0
        self.sum = 0

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        while self.done < self.rounds:
            if self.done == self.crash:
                raise KeyboardInterrupt
            task = Task("t", Shareable({"x": self.done}), result_received_cb=self.received)
            self.broadcast_and_wait(task, fl_ctx, min_responses=0)
            self.done += 1
            fl_ctx.get_engine().persist_components(fl_ctx)

    def received(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        assert client_task.result is not None
        self.seen.append(client_task.result["x"])
        self.sum += client_task.result["x"]

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        return {"done": self.done, "sum": self.sum}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        self.done, self.sum = state_data["done"], state_data["sum"]


def test_a_server_goes_on_after_the_last_round(run_of: MakeRun, tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path), "server")
    rounds: list[Any] = []
    begun: list[str] = []

    def begin(controller: Flow, abort_signal: Signal, fl_ctx: FLContext) -> None:
        begun.append("first")

    first, second = Counting(5, 3, rounds), Counting(5, -1, rounds)
    for counting in first, second:
        run = run_of(1)
        run.serve({"first": Flow(begin), "count": counting}, {"trace": Trace()}, workspace=workspace)
        run.client()
        assert run.wait_all() == ({"server": 1, "site-1": 1} if counting is first else {"server": 0, "site-1": 0})
        run.close()
    assert (rounds, second.sum, begun) == ([0, 1, 2, 3, 4], 10, ["first"])
    found = RunSnapshot.read(Path(workspace.get_run_dir(JOB), FILE))
    assert found is not None
    assert found.completed


def test_clients_go_on_with_a_server_that_starts_again(run_of: MakeRun, tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path), "server")
    rounds: list[Any] = []
    events: list[str] = []
    began, back = threading.Event(), threading.Event()
    run = run_of(2)

    def work(name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        if shareable["x"] == 2 and not back.is_set():
            began.set()
            assert back.wait(LONG)
        return Shareable(shareable)

    run.serve({"count": Counting(5, -1, rounds)}, workspace=workspace)
    run.client("site-1", work, {"trace": Trace(events)})
    run.client("site-2", work)
    assert began.wait(LONG)
    url = run.hub.url
    run.hub.close(drain=0)
    run.server.abort("crashed")
    assert run.wait() == 1
    run.hub = run.federation.start("server", listen=url)
    second = Counting(5, -1, rounds)
    run.serve({"count": second}, workspace=workspace)
    until(lambda: run.server.service.presence.present() == {"site-1", "site-2"})  # also while they are at work
    back.set()
    assert run.wait_all() == {"server": 0, "site-1": 0, "site-2": 0}
    assert sorted(rounds) == sorted([0, 1, 2, 3, 4] * 2)
    assert (second.done, second.sum) == (5, 20)
    assert (events.count(E.START_RUN), events.count(E.END_RUN)) == (1, 1)


def test_a_snapshot_of_an_ended_run_is_not_taken_up(run_of: MakeRun, tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path), "server")
    rounds: list[Any] = []
    for _ in range(2):
        run = run_of(1)
        run.serve({"count": Counting(2, -1, rounds)}, workspace=workspace)
        run.client()
        assert run.wait() == 0
        run.close()
    assert rounds == [0, 1, 0, 1]
