"""FLARE's blocking names."""

from __future__ import annotations

import pytest

from tests.system.federation import LONG, Federation, Gate, until
from zmqfl import Cell, CellReturnCode, Message, TargetMessage, make_reply, new_message

Pair = tuple[Cell, Cell]


@pytest.fixture
def pair(federation: Federation) -> Pair:
    server = federation.start("server")
    site = federation.start("site-1", server, None)
    for cell in (server, site):
        cell.register_request_cb("test", "echo", lambda message: message.payload)
    return server, site


def test_send_request_gives_a_message_whatever_happens(pair: Pair) -> None:
    _, site = pair
    reply = site.send_request("test", "echo", "server", new_message(5, {"round": 1}), LONG)
    assert (reply.ok, reply.payload) == (True, 5)
    codes = [
        site.send_request("test", "nothing", "server", None),
        site.send_request("test", "echo", "site-9", None),
        site.send_request("test", "echo", "a..b", None),
        site.send_request("test", "echo", "server", None, 1.0, secure=True, optional=True),
    ]
    assert [str(reply.return_code) for reply in codes] == [
        "process_exception", "comm_error", "invalid_target", "comm_error",
    ]  # fmt: skip


def test_broadcast_request(pair: Pair) -> None:
    _, site = pair
    assert site.broadcast_request("test", "echo", [], 1) == {}
    replies = site.broadcast_request("test", "echo", ["server", "site-1", "site-9", "server"], 1, LONG)
    assert list(replies) == ["server", "site-1", "site-9"]
    assert [str(reply.return_code) for reply in replies.values()] == ["ok", "ok", "comm_error"]
    assert site.broadcast_request("test", "echo", "server", 2)["server"].payload == 2


def test_cell_N08_a_broadcast_waits_only_for_those_that_are_pending(federation: Federation, pair: Pair) -> None:
    server, site = pair
    gate = Gate("late")
    other = federation.start("site-2", server, None)
    other.register_request_cb("test", "echo", gate)
    handle = site.broadcast(["server", "site-9", "site-2"], "test", "echo", 1)
    gate.wait_entered()
    until(lambda: len(handle.replies()) == 2)
    seen = {name: str(reply.return_code) for name, reply in handle.replies().items()}
    assert seen == {"server": "ok", "site-9": "comm_error"}
    assert not handle.done()
    gate.open()
    assert handle.result(LONG)["site-2"].payload == "late"
    replies = site.broadcast_request("test", "echo", ["server", "site-9"], 1)  # nobody is pending: at once
    assert [str(reply.return_code) for reply in replies.values()] == ["ok", "comm_error"]


def test_cell_N08_a_target_that_never_answers_costs_its_time_out(federation: Federation, pair: Pair) -> None:
    server, site = pair
    gate = Gate()
    federation.start("site-2", server, None).register_request_cb("test", "echo", gate)
    replies = site.broadcast_request("test", "echo", ["server", "site-9", "site-2"], 1, 0.05)
    assert {name: str(reply.return_code) for name, reply in replies.items()} == {
        "server": "ok", "site-9": "comm_error", "site-2": "timeout",
    }  # fmt: skip
    gate.open()


def test_broadcast_multi_requests(pair: Pair) -> None:
    _, site = pair
    asked = {
        "one": TargetMessage("server", "test", "echo", Message(payload=1)),
        "two": TargetMessage("site-1", "test", "echo", Message(payload=2)),
        "three": TargetMessage("site-9", "test", "echo", Message(payload=3)),
    }
    replies = site.broadcast_multi_requests(asked, LONG)
    assert {name: (str(r.return_code), r.payload) for name, r in replies.items()} == {
        "one": ("ok", 1), "two": ("ok", 2), "three": ("comm_error", None),
    }  # fmt: skip


@pytest.mark.parametrize("verb", ["fire_and_forget", "queue_message"])
def test_cell_N07_a_fire_to_an_unreachable_target_is_an_error_text_for_it_alone(pair: Pair, verb: str) -> None:
    server, site = pair
    gate = Gate()
    site.register_request_cb("test", "take", gate)
    result = getattr(server, verb)("test", "take", ["site-1", "site-9", "a..b"], [7])
    assert result == {"site-1": "", "site-9": "server has no route to site-9", "a..b": "invalid_target: empty part"}
    gate.wait_entered()
    gate.open()
    assert gate.seen == [[7]]


def test_cell_N07_each_its_own_message(pair: Pair) -> None:
    server, site = pair
    gate = Gate()
    site.register_request_cb("test", "take", gate)
    asked = {
        "one": TargetMessage("site-1", "test", "take", Message(payload=1)),
        "two": TargetMessage("site-9", "test", "take", Message(payload=2)),
    }
    assert server.fire_multi_requests_and_forget(asked) == {"one": "", "two": "server has no route to site-9"}
    gate.wait_entered()
    gate.open()
    assert gate.seen == [1]


def test_a_reply_may_carry_a_code_of_the_handlers_choice(pair: Pair) -> None:
    server, site = pair
    server.register_request_cb("test", "odd", lambda message: make_reply("invalid_session", "who are you?", [1]))
    reply = site.send_request("test", "odd", "server", None)
    assert (reply.return_code, reply.error, reply.payload) == (CellReturnCode.INVALID_SESSION, "who are you?", [1])
