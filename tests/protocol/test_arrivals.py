"""A message for this cell, by the table of `zmqfl.protocol.arrivals`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.protocol.cells import AT, TOKEN, A, B, C, asked, bind, calls, node, request, root, sent
from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.protocol.commands import (
    Finish,
    Outcome,
    Revoke,
)
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import (
    Cancel,
    Fate,
    Fire,
    Flag,
    Kind,
    Packet,
    Probe,
    Probed,
    Reply,
    Return,
    ReturnReason,
)

# ------------------------------------------------------------------------------------------------------ 6 for this cell


def test_a_request_and_its_reply() -> None:
    cell, child = root()
    [call] = calls(child.sends(request(lengths=[2]), "server", bodies=(b"hi",)))
    assert (call.origin, call.bodies) == ("site-1", (b"hi",))
    [(conn, message)] = sent(cell.reply(call, Outcome(CellReturnCode.OK, bodies=(b"yes",)), AT))
    assert conn == A
    assert message == Reply("server", TOKEN, 1, 1, 7, "ok", "", 0, [3])


def test_lengths_that_lie_are_a_decode_error() -> None:
    _, child = root()
    with pytest.raises(DecodeError, match="lengths"):
        child.sends(request(lengths=[3]), "server", bodies=(b"hi",))


def test_a_call_that_no_worker_can_take_was_not_executed() -> None:
    cell, child = root()
    [call] = calls(child.sends(request(), "server"))
    [(_, message)] = sent(cell.refuse(call, AT))
    assert isinstance(message, Reply)
    assert (message.code, message.error) == ("service_unavailable", "server has no free worker")


def test_fires_probes_and_cancels() -> None:
    _, child = root()
    [call] = calls(child.sends(request(), "server"))
    assert len(calls(child.sends(Fire("site-1", TOKEN, 7, 2, "c", "t", 0, []), "server"))) == 1
    [(_, probed)] = sent(child.sends(Probe("site-1", TOKEN, 7, 0, [1, 5]), "server", now=AT + 1))
    assert probed == Probed("server", TOKEN, 1, 0, 7, 1000, [[1, Fate.QUEUED, 0], [5, Fate.NEVER, 0]])
    assert child.sends(Cancel("site-1", TOKEN, 7, 1), "server") == [Revoke(call)]


def test_replies_probed_and_returns_are_for_this_instance() -> None:
    cell, child = root()
    id = asked(cell)
    reply = Reply("site-1", TOKEN, 7, id, 99, "ok", "", 0, [])
    probed = Probed("site-1", TOKEN, 7, 0, 99, 10, [[id, Fate.FORGOTTEN, 0]])
    back = Return("site-1", TOKEN, 7, id, 99, Kind.REQUEST, 1, ReturnReason.UNREACHABLE, "", ["site-1"])
    for message in (reply, probed, back):
        assert child.sends(message, "server") == []
    assert cell.counters == {"other_instance": 3}
    assert child.sends(replace(reply, to_instance=1), "server") == [Finish(id, "site-1", Outcome(CellReturnCode.OK))]


def test_a_probed_for_this_instance() -> None:
    cell, child = root()
    id = asked(cell)
    probed = Probed("site-1", TOKEN, 7, 0, 1, 10, [[id, Fate.FORGOTTEN, 0]])
    [finish] = child.sends(probed, "server")
    assert isinstance(finish, Finish)
    assert finish.outcome.error.startswith("outcome unknown")


@pytest.mark.parametrize(("origin", "believed"), [("relay-a", True), ("site-1", False), ("relay-b", False)])
def test_only_a_cell_on_the_way_can_return_a_message(origin: str, believed: bool) -> None:
    cell = node()
    peers = {
        "relay-a": bind(cell, A, "relay-a"),
        "site-1": bind(cell, B, "site-1"),
        "relay-b": bind(cell, C, "relay-b"),
    }
    id = asked(cell, "relay-a.site-3")
    token = cell.acceptor.children[origin].token
    names = ["relay-a.site-3"]
    back = Return(origin, token, 7, id, 1, Kind.REQUEST, 1, ReturnReason.UNREACHABLE, "no", names)
    commands = peers[origin].sends(back, "server")
    text = "relay-a cannot forward: no"
    ended = [Finish(id, names[0], Outcome(CellReturnCode.COMM_ERROR, text))]
    assert commands == (ended if believed else [])
    assert cell.counters == ({} if believed else {"forged_return": 1})


@pytest.mark.parametrize("flags", [0, Flag.MUST_UNDERSTAND])
def test_an_unknown_kind_comes_back_only_if_it_must_be_understood(flags: int) -> None:
    cell, child = root()
    header = encode_header(Cancel("site-1", TOKEN, 7, 55))  # origin, fence, instance, id
    future = Packet(99, header, targets=("server",), flags=flags, hops=16, session=child.session, sequence=1)
    back = Return(
        "server",
        TOKEN,
        1,
        55,
        7,
        99,
        0,
        ReturnReason.NOT_UNDERSTOOD,
        "server does not know message kind 99",
        ["server"],
    )
    assert sent(cell.receive(A, future, AT)) == ([(A, back)] if flags else [])
    assert cell.counters == {"unknown_kind": 1}
