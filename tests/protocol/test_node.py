"""The verbs of a whole cell, and what it knows: `zmqfl.protocol.node`."""

from __future__ import annotations

import pytest

from tests.protocol.cells import (
    AT,
    GONE,
    PARENT,
    PARENT_SESSION,
    TOKEN,
    A,
    B,
    asked,
    bind,
    calls,
    node,
    packet,
    relay,
    request,
    root,
    sent,
    told,
)
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import (
    Finish,
    Hangup,
    Note,
    Outcome,
    PeerChanged,
    Redial,
    Send,
)
from zmqfl.protocol.plane.updates import CHANNEL as PLANE
from zmqfl.wire.codec import decode_header
from zmqfl.wire.messages import (
    Attach,
    Beat,
    Bye,
    ByeAck,
    ByeReason,
    Cancel,
    Fire,
    Lane,
    Request,
    Welcome,
)

# ---------------------------------------------------------------------------------------------------------------- verbs


def test_a_request_to_itself() -> None:
    cell = node()
    [call] = calls(cell.request(1, ["server"], "c", "t", 0, {}, (b"x",), 10.0, AT))
    good = Outcome(CellReturnCode.OK, bodies=(b"y",))
    assert cell.reply(call, good, AT) == [Finish(1, "server", good)]


def test_a_request_without_a_route_ends_at_once() -> None:
    unreachable = Outcome(CellReturnCode.TARGET_UNREACHABLE, "server has no route to site-9")
    assert node().request(1, ["site-9"], "c", "t", 0, {}, (), 10.0, AT) == [Finish(1, "site-9", unreachable)]


def _is_of_user(message: object) -> bool:
    return isinstance(message, Request) and message.channel != PLANE


def test_a_request_of_a_cell_that_dials_for_the_first_time_waits() -> None:
    cell = node("site-1", has_parent=True)
    assert cell.request(1, ["server"], "c", "t", 0, {}, (), 60.0, AT) == []
    cell.connected(Lane.CONTROL, AT + 1)
    commands = told(cell, PARENT, Welcome("server", 90, 500, 700, 1, "server", 1), PARENT_SESSION, AT + 2)
    [(conn, message)] = [(conn, message) for conn, message in sent(commands) if _is_of_user(message)]
    assert conn == PARENT
    assert isinstance(message, Request)
    assert (message.fence, message.attempt) == (700, 2)


def test_cancel_is_told_to_the_callee() -> None:
    cell, _ = root()
    id = asked(cell)
    assert sent(cell.cancel(id, AT)) == [(A, Cancel("server", TOKEN, 1, id))]
    assert cell.cancel(id, AT) == []


def test_a_fire_says_what_could_not_leave() -> None:
    cell, _ = root()
    bind(cell, B, "site-2")
    cell.disconnected(B, AT)
    commands, errors = cell.fire(1, ["site-1", "site-9", "site-2", "site-1"], "c", "t", 0, {}, (b"x",), AT)
    assert sent(commands) == [(A, Fire("server", TOKEN, 1, 1, "c", "t", 0, [1]))]
    assert errors == {"site-1": "", "site-9": "server has no route to site-9", "site-2": "the link to site-2 is broken"}
    assert cell.fire(2, ["site-9"], "c", "t", 0, {}, (), AT) == ([], {"site-9": "server has no route to site-9"})


def test_a_touch_goes_to_each_connection_of_each_child() -> None:
    cell, child = root()
    cell.receive(B, packet(Attach(), session=child.session, lane=Lane.BULK), AT)
    touches = [c for c in cell.touch() if isinstance(c, Send)]
    assert [(c.conn, c.packet.lane, c.packet.session) for c in touches] == [
        (A, Lane.CONTROL, child.session),
        (B, Lane.BULK, child.session),
    ]
    assert {decode_header(c.packet.kind, c.packet.header) for c in touches} == {Beat(0)}


def test_a_child_that_exited_is_gone() -> None:
    cell, _ = root()
    id = asked(cell)
    unknown = Outcome(CellReturnCode.COMM_ERROR, "outcome unknown: site-1 is gone: its process has ended")
    assert cell.child_exited("site-1", AT) == [
        Hangup(A),
        PeerChanged("site-1", GONE, 7, "its process has ended"),
        Finish(id, "site-1", unknown),
    ]


def test_a_child_that_exited_and_will_start_again_is_gone_but_not_what_is_behind_it() -> None:
    cell = node()
    bind(cell, A, "relay-a")
    itself, _ = asked(cell, "relay-a"), asked(cell, "relay-a.site-1")
    unknown = Outcome(CellReturnCode.COMM_ERROR, "outcome unknown: relay-a is gone: its process has ended")
    assert cell.child_exited("relay-a", AT, restarts=True) == [
        Hangup(A),
        PeerChanged("relay-a", GONE, 7, "its process has ended", replaced=True),
        Finish(itself, "relay-a", unknown),
    ]
    assert cell.requester.open == 1


def test_a_key_that_the_parent_refuses_is_tried_again() -> None:
    cell = node("site-1", has_parent=True)
    [note] = cell.refused(Lane.CONTROL, AT)
    assert isinstance(note, Note)
    assert cell.deadline == pytest.approx(AT + 0.1)
    assert cell.handle_timeout(AT + 0.1) == [Redial(Lane.CONTROL)]


def test_stop_says_bye_to_all_and_waits_for_their_answers() -> None:
    cell, _, child = relay()
    bye = Bye(ByeReason.LEAVING, "relay-a has stopped")
    assert sent(cell.stop(AT)) == [(PARENT, bye), (A, bye)]
    assert not cell.is_quiet
    assert PeerChanged("server", GONE, 90, "this cell has stopped") in told(cell, PARENT, ByeAck(), PARENT_SESSION)
    assert PeerChanged("relay-a.site-1", GONE, 7, "this cell has stopped") in told(cell, A, ByeAck(), child.session)
    assert cell.is_quiet


def test_stop_gives_a_reason() -> None:
    cell, _ = root()
    assert sent(cell.stop(AT, "upgrade")) == [(A, Bye(ByeReason.LEAVING, "upgrade"))]


def test_a_node_shows_its_state() -> None:
    cell, child = root()
    asked(cell)
    child.sends(request(), "server")
    assert repr(cell) == "<Node server [site-1 up | 1 open, 1 running]>"
    assert repr(node()) == "<Node server [no links | 0 open, 0 running]>"
