from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from zmqfl.config import CellConfig
from zmqfl.errors import InvalidRequest
from zmqfl.fl.jobs.hosted_job import HostedJob, process_spec
from zmqfl.launch.spec import Restart, SiteSpec

SITE = SiteSpec(
    federation="fl", fqcn="region.site-1", site="site-1", role="client", root="server", host="far", launcher="local",
    kind="local", run_dir="/run/fl", config=CellConfig(), parent="region", parent_url="tcp://far:1",
    parent_key="k" * 40, keys="/keys", run="my:function", args=("x",), exports=("/srv",), allow=("a",),
    env={"A": "b"}, jobs=True,
)  # fmt: skip


def test_a_child_of_the_site() -> None:
    """It dials the Unix socket, needs no keys there, and has the variables of its site."""
    job = HostedJob("j-1", "site-1", order=Path("/run/fl/order.json"))
    assert process_spec(SITE, job, Path("/jobs"), ["tcp://127.0.0.1:1", "ipc:///run/fl/s.sock"]) == replace(
        SITE, fqcn="region.site-1.j-1", parent="region.site-1", parent_url="ipc:///run/fl/s.sock", parent_key="",
        keys="", run="zmqfl.fl.jobs.job_process:run", args=("/run/fl/order.json",), work="/jobs/j-1/work",
        restart=Restart(policy="never"), exports=(), allow=(), jobs=False,
    )  # fmt: skip
    with pytest.raises(InvalidRequest, match="has no Unix socket for jobs; add ipc:///PATH to its `listen`"):
        process_spec(SITE, job, Path("/jobs"), ["tcp://127.0.0.1:1"])


def test_a_timer_that_is_forgotten_does_nothing() -> None:
    calls: list[int] = []
    job = HostedJob("j-1", "site-1", timer=threading.Timer(60, calls.append, [1]))
    timer = job.timer
    assert timer is not None
    timer.start()
    job.forget_timer()
    timer.join()
    job.forget_timer()
    assert calls == []
