"""Who asks whom whether it is alive, between real cells."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.federation import LONG, Federation, until
from zmqfl import Cell
from zmqfl.rpc.names import ASKS
from zmqfl.rpc.watching import Watching


class Call:
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def cancel(self, reason: str) -> None:
        self.reasons.append(reason)


@pytest.fixture
def watching(server: Cell) -> Watching:
    return Watching(server)


def test_a_question_waits_as_long_as_the_call_runs(watching: Watching, site: Cell) -> None:
    asked = Watching(site)
    call = Call()
    watching.begin(("site-1", site.instance), call)
    until(lambda: asked._asked)
    watching.end(("site-1", site.instance), call)
    until(lambda: not asked._asked)
    assert not watching._questions
    assert not call.reasons


def test_one_question_for_all_calls_of_a_caller(watching: Watching, site: Cell) -> None:
    asked = Watching(site)
    calls = [Call() for _ in range(5)]
    for call in calls:
        watching.begin(("site-1", site.instance), call)
    until(lambda: asked._asked)
    assert len(asked._asked) == 1
    site.close()
    for call in calls:
        until(lambda call=call: call.reasons)  # type: ignore[misc]


def test_another_start_of_the_caller_says_that_it_is_not_the_one(watching: Watching, site: Cell) -> None:
    Watching(site)
    call = Call()
    watching.begin(("site-1", site.instance + 1), call)
    until(lambda: call.reasons)
    assert call.reasons == ["site-1 is gone"]


def test_a_caller_that_is_not_there(watching: Watching) -> None:
    call = Call()
    watching.begin(("site-9", 1), call)
    until(lambda: call.reasons)
    assert "no route to site-9" in call.reasons[0]


def test_closing_cancels_what_runs_and_answers_who_asks(
    federation: Federation, watching: Watching, server: Cell, site: Cell
) -> None:
    asked = Watching(site)
    call, late = Call(), Call()
    watching.begin(("site-1", site.instance), call)
    until(lambda: asked._asked)
    server.close()
    assert call.reasons == ["the cell closes"]
    watching.begin(("site-1", site.instance), late)
    assert late.reasons == ["the cell closes"]
    assert not watching._questions


@pytest.mark.parametrize("payload", [None, "x", 0, []])
def test_what_is_no_instance_is_another_one(watching: Watching, site: Cell, payload: Any) -> None:
    reply = site.request("server", ASKS, "watch", payload).result(LONG)
    assert reply.payload == "is another start, or closes"


def test_an_idle_cell_has_no_thread_for_it(watching: Watching, site: Cell) -> None:
    call = Call()
    watching.begin(("site-1", site.instance), call)
    watching.end(("site-1", site.instance), call)
    until(lambda: watching._timer._thread is None)
    assert watching._machine.deadline is None
