"""What a request does that no caller of ours would send, and how calls end that nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rpc.published import Calculator, Held
from tests.system.federation import LONG, Federation, until
from zmqfl import Cell
from zmqfl.rpc.callee import Callee
from zmqfl.rpc.names import ASKS, CALLS
from zmqfl.rpc.rpc import Rpc


@pytest.fixture
def callee(site: Cell) -> Callee:
    rpc = Rpc.of(site)
    rpc.publish(Calculator())
    rpc.publish(Held(), "held")
    return rpc._callee


def code(server: Cell, channel: str, topic: str, payload: Any) -> str:
    return str(server.request("site-1", channel, topic, payload).reply(LONG).return_code)


@pytest.mark.parametrize(
    ("channel", "topic", "payload"),
    [
        (CALLS, "add", 3),
        (CALLS, "add", [[1], {}, "me"]),
        (CALLS, "nothing/add", [[1], {}, 1]),
        (CALLS, "held/", [[], {}, 1]),
        (CALLS, "/add/", [[], {}, 1]),
        (CALLS, "add" * 300, [[], {}, 1]),
        (ASKS, "describe", None),
        (ASKS, "describe", "nothing"),
        (ASKS, "describe", ["x"]),
        (ASKS, "statistics", 3),
        (ASKS, "more", None),
        (ASKS, "more", ["x"]),
        (ASKS, "more", ["x", 1]),
        (ASKS, "more", [3, "x"]),
        (ASKS, "close", "x"),
        (ASKS, "close", None),
    ],
)
def test_chan_R32_what_is_no_call_is_refused_and_the_cell_lives(
    callee: Callee, server: Cell, channel: str, topic: str, payload: Any
) -> None:
    assert code(server, channel, topic, payload) == "invalid_request"
    assert code(server, CALLS, "add", [[1], {}, server.instance]) == "ok"
    assert not callee.generators


def test_a_fire_that_is_refused_is_in_the_log(callee: Callee, server: Cell, caplog: pytest.LogCaptureFixture) -> None:
    server.fire("site-1", CALLS, "nothing", [[], {}, server.instance]).result(LONG)
    until(lambda: "site-1: nothing of server was refused: " in caplog.text)


def test_nobody_waits_for_the_opening_of_a_generator(callee: Callee, site: Cell, server: Cell) -> None:
    """Cancelled while the method that returns it runs: it is closed before anybody has asked."""
    begun, go = threading.Event(), threading.Event()
    closed: list[str] = []

    def items() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append("never begun, so never closed")

    class Slow:
        def rpc_items(self) -> Any:
            begun.set()
            assert go.wait(LONG)
            return items()

    Rpc.of(site).publish(Slow(), "slow")
    handle = Rpc.of(server).proxy("site-1", "slow").result(LONG).items.submit()
    assert begun.wait(LONG)
    handle.cancel()
    until(lambda: site._serving._deferred == {})
    go.set()
    until(lambda: callee.publications["slow"].statistics.snapshot()["items"].running == 0)
    until(lambda: not callee.generators)
    assert not closed


def test_a_restarted_caller_has_no_part_in_the_calls_of_its_former_start(federation: Federation, server: Cell) -> None:
    held = Held()
    Rpc.of(server).publish(held)
    first = federation.start("site-1", server, None)
    Rpc.of(first).proxy("server").result(LONG).hold.submit(tto=LONG)
    held.wait_begun()
    first.close(drain=0)
    second = federation.start("site-1", server, None)
    assert Rpc.of(second).ping("server").result(LONG) > 0
    assert held.wait_over()
