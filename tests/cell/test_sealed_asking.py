"""What a sealed verb comes to at its caller, when sessions are there, are not, or are forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.cell.sealed import Wire
from zmqfl.cell.asking import Outgoing
from zmqfl.cell.message import SEAL
from zmqfl.cell.references import Encoded
from zmqfl.cell.sealed_asking import RequestSeal, SealedAsking, Terms
from zmqfl.cell.sealed_calls import SealedCalls
from zmqfl.cell.sealing import Session
from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode, ClosedError, RequestFailed
from zmqfl.protocol.commands import Command, Outcome
from zmqfl.wire.codecs import SEALED


class Caller:
    """site-1, and what it hears."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.wire.start("server", 20)
        self.sealing = self.wire.start("site-1", 10)
        self.seals = SealedCalls(cast(Any, self.wire.nodes["site-1"]), self.sealing)
        self.closed = False
        self.asking = SealedAsking(
            cast(Any, self.wire.nodes["site-1"]), CellConfig(), self.seals, self.submit, lambda: self.wire.clock.now
        )
        self.posted: list[tuple[int, RequestSeal, dict[str, Any], float | None]] = []
        self.failed: list[tuple[list[str], RequestFailed]] = []
        self.errors: list[ClosedError] = []

    def submit(self, act: Callable[[float], list[Command]]) -> None:
        if self.closed:
            raise ClosedError("closed")
        act(self.wire.clock.now)

    def out(self, *targets: str) -> Outgoing:
        sealed = self.seals.seal("request", "test", "take", 1, {}, (b"x",), targets)
        return Outgoing("test", "take", {}, Encoded(SEALED, sealed.parcel.bodies), sealed)

    def send(self, *targets: str, deadline: float | None = None, former: Session | None = None) -> None:
        def post(id: int, seal: RequestSeal, headers: dict[str, Any], left: float | None, now: float) -> list[Command]:
            self.posted.append((id, seal, headers, left))
            return []

        self.asking.send(
            self.out(*targets), targets, replace(self.asking.terms(9.0, deadline), former=former),
            lambda names, error: self.failed.append((list(names), error)), self.errors.append, post,
        )  # fmt: skip

    def open(self, seal: RequestSeal, outcome: Outcome) -> tuple[list[Terms], list[tuple[Outcome, bool]]]:
        again: list[Terms] = []
        told: list[tuple[Outcome, bool]] = []
        self.asking.open(
            seal, "server", self.out("server"), outcome, again.append, lambda *result: told.append(result)
        )  # fmt: skip
        return again, told


@pytest.fixture
def caller() -> Caller:
    return Caller()


def test_it_is_posted_with_a_wrap_for_each_that_has_a_session(caller: Caller) -> None:
    caller.send("server", "nobody")
    ((names, error),) = caller.failed
    assert (names, error.code) == (["nobody"], CellReturnCode.TARGET_UNREACHABLE)
    ((_, seal, headers, left),) = caller.posted
    assert list(seal.replies) == list(headers[SEAL]["w"]) == ["server"]
    assert (seal.terms, left) == (Terms(9.0, None), None)


def test_the_deadline_runs_while_sessions_are_made(caller: Caller) -> None:
    caller.wire.held = []
    caller.send("server", deadline=5.0)
    caller.wire.clock.now += 4.0
    while caller.wire.held:
        caller.wire.held.pop(0)()
    assert caller.posted[0][3] == 1.0


def test_nothing_is_posted_without_a_session_or_by_a_closed_cell(caller: Caller) -> None:
    caller.send("nobody")
    assert not caller.posted
    caller.send("server")
    caller.closed = True
    caller.send("server")
    assert [str(error) for error in caller.errors] == ["closed"]
    caller.wire.clock.wall = 5e9
    caller.send("server")
    assert "needs a valid card" in caller.failed[-1][1].reason
    assert len(caller.posted) == 1


def test_who_has_forgotten_is_asked_a_second_time_and_not_a_third(caller: Caller) -> None:
    caller.send("server")
    seal = caller.posted[0][1]
    forgotten = Outcome(CellReturnCode.INVALID_SESSION, "unknown", headers={"why": "seal_session"})
    former = seal.replies["server"].session
    assert caller.open(seal, forgotten) == ([Terms(9.0, None, former)], [])
    again, told = caller.open(RequestSeal(Terms(9.0, None, former), seal.replies), forgotten)
    assert (again, told) == ([], [(Outcome(CellReturnCode.INVALID_SESSION, "unknown"), False)])


def test_who_is_said_to_have_forgotten_must_prove_it(caller: Caller) -> None:
    caller.send("server")
    former = caller.posted[0][1].replies["server"].session
    caller.sealing.drop(former)
    caller.send("server", former=former)  # it knows it: whoever said otherwise has lied
    assert len(caller.posted) == 1
    assert caller.failed[0][1].code is CellReturnCode.COMM_ERROR
    assert "outcome unknown: somebody on the way says that server has forgotten" in caller.failed[0][1].reason
    caller.wire.start("server", 21)
    caller.send("server", former=former)
    caller.send("server", former=former)  # the same proof is good for all that was sent by that session
    assert [len(caller.posted), len(caller.failed)] == [3, 1]
    assert caller.wire.topics().count("hello") == 4


def test_a_long_reply_is_opened_by_a_worker(caller: Caller) -> None:
    caller.send("server")
    jobs: list[Callable[[], None]] = []
    caller.sealing.run = jobs.append
    for size, number in ((10, 0), (100_000, 1)):
        _, told = caller.open(caller.posted[0][1], Outcome(CellReturnCode.TIMEOUT, "late", 1, {}, (bytes(size),)))
        assert (len(jobs), len(told)) == (number, 1 - number)
        for job in jobs:
            job()
        assert told == [(Outcome(CellReturnCode.TIMEOUT, "late"), False)]


def test_a_fire_tells_why_it_did_not_leave(caller: Caller) -> None:
    told: list[dict[str, str]] = []
    caller.asking.fire(caller.out("server", "nobody"), ["server", "nobody"], told.append, caller.errors.append)
    caller.asking.fire(caller.out("nobody"), ["nobody"], told.append, caller.errors.append)
    why = "target_unreachable: no sealed session with nobody: no way to nobody"
    assert told == [{"nobody": why}, {"nobody": why}]
    caller.closed = True
    caller.asking.fire(caller.out("server"), ["server"], told.append, caller.errors.append)
    assert len(caller.errors) == 1
    caller.wire.clock.wall = 5e9
    caller.asking.fire(caller.out("server"), ["server"], told.append, caller.errors.append)
    assert "needs a valid card" in told[-1]["server"]
