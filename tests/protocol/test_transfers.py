"""`zmqfl.protocol.transfers`: which machine is told, and what is remembered. The cell is a, instance 5."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.protocol import pull_source, push_sender
from zmqfl.protocol import transfers as module
from zmqfl.protocol.commands import (
    Abandon,
    Answer,
    Ask,
    Call,
    CloseStream,
    Command,
    Expired,
    OpenStream,
    Outcome,
    Produce,
    PullEnded,
    PushEnded,
    Read,
    Unask,
)
from zmqfl.protocol.pull_receiver import PullReceiver
from zmqfl.protocol.push_sender import ALIVE, END, GOODBYE, LAST, OPEN, ROUND, STATE, PushSender
from zmqfl.protocol.relay_file import RelayFile
from zmqfl.protocol.transfers import Transfers
from zmqfl.protocol.ways import Ways

OK, ABORT, INVALID = CellReturnCode.OK, CellReturnCode.ABORT_RUN, CellReturnCode.INVALID_REQUEST
LOST, BUSY = CellReturnCode.INVALID_SESSION, CellReturnCode.SERVICE_UNAVAILABLE
AT = 100.0
FINE = Outcome(OK)
KEY = ("o", 9, 7)
numbers = count(1)


def fresh() -> Transfers:
    return Transfers("a", 5, CellConfig(dead_after=5.0, heartbeat=1.0))


def call(topic: str, channel: str = push_sender.CHANNEL, origin: str = "o", instance: int = 9, **headers: Any) -> Call:
    return Call(origin, instance, next(numbers), channel, topic, 0, {"t": 7, **headers}, (), 10.0, True)


def opened(transfers: Transfers, *others: str, **rest: Any) -> None:
    request = call(OPEN, all=["a", *others], idle=30_000, **rest)
    key = (request.origin, request.instance, request.headers["t"])
    assert transfers.receive(request, AT) == [OpenStream(key, request)]
    assert transfers.to_stream(key, lambda stream: stream.opened(FINE, AT)) == [Answer(request, FINE)]


def closed(transfers: Transfers) -> list[Command]:
    return transfers.to_stream(KEY, lambda stream: stream.closed(FINE))


def answer(transfers: Transfers, request: Call) -> Outcome:
    [command] = transfers.receive(request, AT)
    assert isinstance(command, Answer)
    assert command.call is request
    return command.outcome


def state(transfers: Transfers) -> str:
    asked: dict[str, Any] = {"from": "o", "n": 9}
    return str(answer(transfers, call(STATE, origin="b", **asked)).headers["s"])


def pushing(transfers: Transfers, *targets: str) -> PushSender:
    push = PushSender(3, targets, "c", "t", (0, ()), window=1, looks_ahead=False, judges=True, chunk_timeout=10.0)
    [command] = transfers.push(push, AT)
    assert isinstance(command, Ask)
    return push


def pulling(transfers: Transfers) -> PullReceiver:
    pull = PullReceiver(4, "o", "R1", 30.0, 2.0, AT)
    [command] = transfers.pull(pull, AT)
    assert isinstance(command, Ask)
    return pull


# -- pushes that come in ---------------------------------------------------------------------------------------------


def test_open_round_end__and_the_end_is_remembered() -> None:
    transfers = fresh()
    opened(transfers)
    assert (transfers.counters["streams"], list(transfers.streams)) == (1, [KEY])
    assert state(transfers) == "undecided"
    ending = call(END, rc="ok", n=0)
    assert transfers.receive(ending, AT) == [CloseStream(KEY, OK, "", "")]
    assert closed(transfers) == [Answer(ending, FINE)]
    assert (transfers.streams, state(transfers)) == ({}, "committed")
    assert answer(transfers, call(END, rc="ok", n=0)) == FINE, "again: it has"


def test_what_was_aborted_is_not_committed_later() -> None:
    transfers = fresh()
    opened(transfers)
    transfers.receive(call(END, rc="timeout"), AT)
    closed(transfers)
    assert state(transfers) == "aborted"
    assert answer(transfers, call(END, rc="ok", n=0)) == Outcome(LOST, "a knows of no such stream")
    assert answer(transfers, call(END, rc="timeout")) == FINE


def test_last_finds_its_stream() -> None:
    transfers = fresh()
    opened(transfers, "b")
    assert answer(transfers, call(LAST, n=0)) == FINE


@pytest.mark.parametrize("topic", [ROUND, LAST])
def test_a_round_of_no_stream(topic: str) -> None:
    outcome = answer(fresh(), call(topic, i=0, n=0))
    assert outcome == Outcome(INVALID, "no such stream: it has ended")


def test_an_end_overtakes_its_open() -> None:
    transfers = fresh()
    assert answer(transfers, call(END, rc="timeout")) == FINE
    assert answer(transfers, call(OPEN)) == Outcome(ABORT, "this stream has ended")
    assert state(transfers) == "aborted"


def test_a_start_of_the_owner_is_not_taken_for_another() -> None:
    transfers = fresh()
    opened(transfers)
    opened(transfers, instance=10)
    assert list(transfers.streams) == [KEY, ("o", 10, 7)]
    assert answer(transfers, call(ROUND, instance=11, i=0)).code is INVALID


def test_not_ready__opened_again() -> None:
    transfers = fresh()
    request = call(OPEN)
    transfers.receive(request, AT)
    no = Outcome(BUSY, "nobody", headers={"not_ready": 1})
    assert transfers.to_stream(KEY, lambda stream: stream.opened(no, AT)) == [Answer(request, no)]
    assert (transfers.streams, state(transfers)) == ({}, "unknown")
    opened(transfers)


def test_refused_after_its_end__not_opened_again() -> None:
    transfers = fresh()
    transfers.receive(call(OPEN), AT)
    transfers.receive(call(END, rc="abort_run"), AT)
    transfers.to_stream(KEY, lambda stream: stream.opened(Outcome(BUSY), AT))
    assert answer(transfers, call(OPEN)).code is ABORT


def test_too_many_streams__or_one_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_STREAMS", 2)
    transfers = fresh()
    opened(transfers)
    assert answer(transfers, call(OPEN)).code is BUSY
    opened(transfers, t=8)
    assert answer(transfers, call(OPEN, t=9)) == Outcome(BUSY, "a has no room for a stream")


def test_ends_are_remembered_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ENDED", 2)
    transfers = fresh()
    for number in (7, 8, 9):
        transfers.receive(call(END, t=number, rc="timeout"), AT)
    assert state(transfers) == "unknown"
    assert len(transfers._ended) == 2


def test_a_topic_that_nobody_knows() -> None:
    assert answer(fresh(), call("steal")) == Outcome(INVALID, "no topic zmqfl.push:steal")


def test_an_owner_is_lost__what_it_pushes_here_ends() -> None:
    transfers = fresh()
    opened(transfers)
    opened(transfers, origin="p")
    closing = [CloseStream(KEY, CellReturnCode.COMM_ERROR, "o is gone", "o")]
    assert transfers.owner_lost(lambda name: name == "o", "o is gone", AT) == closing


# -- pushes that go out ----------------------------------------------------------------------------------------------


def alive(transfers: Transfers, origin: str = "b", n: int = 5, t: int = 3) -> CellReturnCode:
    return answer(transfers, call(ALIVE, origin=origin, n=n, t=t)).code


def test_alive__to_a_target_of_a_push_of_this_start() -> None:
    transfers = fresh()
    pushing(transfers, "b", "c")
    assert alive(transfers) is OK
    assert {alive(transfers, "d"), alive(transfers, n=6), alive(transfers, t=4)} == {LOST}


def test_alive__a_target_that_cannot_be_told_of_the_end_learns_it_by_asking() -> None:
    transfers = fresh()
    push = pushing(transfers, "b", "c")
    transfers.to_push(3, lambda push: push.cancel(ABORT, "cancelled", AT))
    assert alive(transfers) is OK, "END is on its way"
    transfers.answered(push, "end", "b", Outcome(CellReturnCode.COMM_ERROR), AT)
    assert alive(transfers) is LOST


def test_a_push_is_forgotten_when_every_end_is_answered() -> None:
    transfers = fresh()
    push = pushing(transfers, "b", "c")
    transfers.to_push(3, lambda push: push.cancel(ABORT, "cancelled", AT))
    transfers.answered(push, "end", "b", FINE, AT)
    assert transfers.deadline == AT + GOODBYE
    assert transfers.handle_timeout(AT + GOODBYE) == [PushEnded(3, ABORT, "cancelled", "", None, {})]
    assert transfers.pushes == {3: push}
    assert transfers.answered(push, "end", "c", FINE, AT + 9) == []
    assert transfers.pushes == {}
    assert transfers.to_push(3, lambda push: push.cancel(ABORT, "late", AT)) == []


def test_a_push_is_told_what_comes_of_its_requests() -> None:
    transfers = fresh()
    push = pushing(transfers, "b")
    assert transfers.answered(push, "open", "b", FINE, AT) == [Produce(3)]
    assert transfers.counters["pushes"] == 1


# -- pulls and offers ------------------------------------------------------------------------------------------------


def test_a_pull_is_forgotten_when_it_is_over() -> None:
    transfers = fresh()
    pull = pulling(transfers)
    refused = Outcome(INVALID, "no such reference")
    assert transfers.answered(pull, "open", "o", refused, AT)[-1] == Abandon(4)
    assert transfers.to_pull(4, lambda pull: pull.abandoned()) == [PullEnded(4, INVALID, "no such reference", None)]
    assert (transfers.pulls, transfers.counters["pulls"]) == ({}, 1)
    assert transfers.to_pull(4, lambda pull: pull.abandoned()) == []


def test_requests_for_files_go_to_the_source() -> None:
    transfers = fresh()
    transfers.source.new_transaction("T1", 60.0, AT)
    transfers.source.add("T1", "R1", 10, 10, "F", "n", None, AT)
    request = call(pull_source.OPEN, pull_source.CHANNEL, r="R1")
    assert transfers.receive(request, AT) == [Read(request, "R1", None, 0, 0)]
    assert transfers.deadline == AT + 60
    assert transfers.handle_timeout(AT + 60) == [Expired("T1")]
    assert transfers.deadline is None


def test_a_stream_that_nobody_knows_is_not_told() -> None:
    assert closed(fresh()) == []


# -- the close -------------------------------------------------------------------------------------------------------


def test_close__whatever_goes_on_ends() -> None:
    transfers = fresh()
    pushing(transfers, "b")
    pulling(transfers)
    opened(transfers)
    commands = transfers.close("a stops", AT)
    assert CloseStream(KEY, ABORT, "a stops", "") in commands
    assert Abandon(4) in commands
    ends = [command for command in commands if isinstance(command, Ask)]
    assert [(ask.topic, ask.headers["why"]) for ask in ends] == [(END, "a stops")]


@pytest.mark.parametrize("number", [None, "7", True, 1.5, [7]])
def test_numbers_that_are_none(number: Any) -> None:
    transfers = fresh()
    opened(transfers, t=-1)
    request = call(ROUND, t=number, i=0)
    assert transfers.receive(request, AT) != []
    assert alive(transfers, t=number) is LOST


# -- the cache for others ----------------------------------------------------------------------------------------------


class Below(Ways):
    """Its parent, up, keeps chunks of everything; c is a child."""

    def cache_for(self, owner: str) -> str:
        return "up"

    def is_child(self, name: str) -> bool:
        return name == "c"

    def passes_by(self, owner: str, child: str) -> bool:
        return True


def relaying() -> Transfers:
    return Transfers("a", 5, CellConfig(), Below())


def get(owner: str, origin: str = "c") -> Call:
    return call(pull_source.GET, pull_source.CHANNEL, origin, 9, r="R1", p=1, f="F", i=0, w=[0], o=owner)


def test_a_request_that_names_another_owner_is_for_the_cache() -> None:
    transfers = relaying()
    [grant] = transfers.receive(get("o"), AT)
    assert isinstance(grant, Ask)
    assert isinstance(grant.owner, RelayFile)
    headers = {"n": 10, "k": 10, "f": "F", "name": "n", "u": ["c"]}
    assert transfers.answered(grant.owner, grant.tag, "o", Outcome(OK, headers=headers), AT) == []
    assert bool(transfers.waiting)
    [fetch] = transfers.next_reads(lambda name: True, AT)
    assert isinstance(fetch, Ask)
    assert fetch.targets == ("up",)
    assert not transfers.waiting
    transfers.moved("c", 9, AT + 20)
    assert transfers.handle_timeout(AT + 3.0) != []
    assert any(isinstance(command, Unask) for command in transfers.close("bye", AT))
    assert transfers.relay.files == {}


def test_a_request_that_names_this_cell_is_for_the_source() -> None:
    transfers = relaying()
    assert answer(transfers, get("a")).code is INVALID
    assert transfers.source.counters["pulls_refused"] == 1


def test_a_pull_asks_the_cache_above() -> None:
    transfers = relaying()
    pull = PullReceiver(4, "o", "R1", 30.0, 2.0, AT)
    transfers.pull(pull, AT)
    grid = {"n": 10, "k": 10, "f": "F", "name": "n"}
    transfers.answered(pull, "open", "o", Outcome(OK, headers=grid), AT)
    [get] = transfers.to_pull(4, lambda receiver: receiver.prepared(set(), "", AT))
    assert isinstance(get, Ask)
    assert get.targets == ("up",)
