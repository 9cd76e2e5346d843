"""Filters, alone and on real cells."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.federation import LONG, Federation, counter
from zmqfl import Cell, CellReturnCode, Message, RequestFailed, make_reply
from zmqfl.cell.filters import Filters, bound, run
from zmqfl.errors import AuthenticationError, InvalidRequest


@pytest.fixture
def server(federation: Federation) -> Cell:
    server = federation.start("server")
    server.register_request_cb("test", "*", lambda message: message.payload)
    return server


@pytest.fixture
def site(federation: Federation, server: Cell) -> Cell:
    return federation.start("site-1", server, None)


def append(message: Message, name: str) -> None:
    message.set_header("seen", [*message.get_header("seen", []), name])


# --------------------------------------------------------------------------------------------------------------- alone


def test_all_filters_that_match_run_the_general_ones_first() -> None:
    filters = Filters()
    for name, channel, topic in [("one", "a", "b"), ("channel", "a", "*"), ("all", "*", "*"), ("other", "a", "c")]:
        filters.incoming_request.append(channel, topic, bound(append, (name,), {}))
    filters.incoming.append("a", "b", bound(append, (), {"name": "incoming"}))
    filters.incoming_reply.append("a", "b", bound(append, ("reply",), {}))
    message = Message()
    assert filters.on_request(message, "a", "b") is None
    assert message.get_header("seen") == ["incoming", "all", "channel", "one"]
    reply = Message()
    assert filters.on_reply(reply, "a", "b") is reply
    assert reply.get_header("seen") == ["incoming", "reply"]
    assert filters.reply_chain("a", "b")
    assert filters.reply_chain("x", "y") == []


def test_the_first_message_that_a_filter_returns_ends_the_chain() -> None:
    answer, seen = Message(payload="answer"), Message()
    assert run([lambda message: None, lambda message: answer, lambda message: seen], Message()) is answer


def test_what_a_filter_raises_has_its_own_code_or_filter_error() -> None:
    def broken(message: Message) -> None:
        raise KeyError("token")

    def strict(message: Message) -> None:
        raise InvalidRequest("no")

    with pytest.raises(RequestFailed, match=r"filter .*broken: KeyError: 'token'") as caught:
        run([broken], Message())
    assert caught.value.code is CellReturnCode.FILTER_ERROR
    with pytest.raises(InvalidRequest):
        run([strict], Message())


# -------------------------------------------------------------------------------------------------------- on real cells


@pytest.mark.parametrize("size", [10, 100_000])
def test_cell_N12_a_filter_on_one_topic_does_not_switch_off_the_one_that_authenticates(
    server: Cell, site: Cell, size: int
) -> None:
    def authenticate(message: Message) -> None:
        if message.get_header("token") != "secret":
            raise AuthenticationError("unknown token")

    server.add_incoming_request_filter("*", "*", authenticate)
    server.add_incoming_request_filter("test", "echo", append, "one")
    served: list[Any] = []

    def serve(message: Message) -> Any:
        served.append(message)
        return message.get_header("seen")

    server.register_request_cb("test", "echo", serve)
    for target in ("test", "echo"), ("_net_manager", "info"):
        with pytest.raises(AuthenticationError, match="unknown token"):
            site.request("server", *target, bytes(size)).result(LONG)
    assert served == []
    good = site.request("server", "test", "echo", Message({"token": "secret"}, bytes(size))).result(LONG)
    assert good.payload == ["one"]


def test_filters_see_requests_and_replies_on_both_sides(server: Cell, site: Cell) -> None:
    site.add_outgoing_request_filter("test", "*", append, "site out")
    server.add_incoming_filter("test", "*", append, "server in")
    server.add_incoming_request_filter("test", "*", append, name="server request")
    server.register_request_cb("test", "headers", lambda message: Message(message.headers, "value"))
    server.add_outgoing_reply_filter("test", "*", append, "server reply")
    site.add_incoming_filter("test", "*", append, "site in")
    site.add_incoming_reply_filter("test", "*", append, "site reply")
    message = Message({"mine": 1})
    reply = site.request("server", "test", "headers", message).result(LONG)
    expected = ["site out", "server in", "server request", "server reply", "site in", "site reply"]
    assert (reply.get_header("seen"), reply.get_header("mine"), reply.payload) == (expected, 1, "value")
    assert message.headers == {"mine": 1}


def test_a_filter_that_returns_a_message_answers_in_place_of_the_handler(server: Cell, site: Cell) -> None:
    served: list[Any] = []
    server.register_request_cb("test", "asked", served.append)
    server.add_incoming_request_filter("test", "asked", lambda message: Message({"by": "filter"}, message.payload + 1))
    reply = site.request("server", "test", "asked", 1).result(LONG)
    assert (reply.payload, reply.get_header("by"), served) == (2, "filter", [])


@pytest.mark.parametrize("verb", ["request", "broadcast"])
def test_a_filter_that_returns_a_message_may_answer_before_anything_is_sent(
    server: Cell, site: Cell, verb: str
) -> None:
    site.add_outgoing_request_filter("test", "cached", lambda message: Message({"by": "cache"}, "value"))
    site.add_outgoing_request_filter("test", "stopped", lambda message: make_reply("abort_run", "over"))
    if verb == "request":
        reply = site.request("server", "test", "cached").result(LONG)
        stopped = site.request("server", "test", "stopped").reply(LONG)
    else:
        reply = site.broadcast(["server", "site-1"], "test", "cached").result(LONG)["server"]
        stopped = site.broadcast(["server", "site-1"], "test", "stopped").result(LONG)["site-1"]
    assert (reply.ok, reply.payload, reply.get_header("by"), reply.error) == (True, "value", "cache", "")
    assert (stopped.return_code, stopped.error) == (CellReturnCode.ABORT_RUN, "over")
    assert site.fire("server", "test", "cached").result(LONG) == {"server": ""}
    assert site.fire("server", "test", "stopped").result(LONG) == {"server": "abort_run: over"}
    assert {"requests", "fires"}.isdisjoint(server.statistics().counters)


def test_a_filter_may_take_the_place_of_a_reply(server: Cell, site: Cell) -> None:
    server.add_outgoing_reply_filter("test", "a", lambda message: Message(payload="from the server's filter"))
    site.add_incoming_reply_filter("test", "b", lambda message: Message(payload="from the site's filter"))
    assert site.request("server", "test", "a", 1).result(LONG).payload == "from the server's filter"
    assert site.request("server", "test", "b", 1).result(LONG).payload == "from the site's filter"
    replies = site.broadcast(["server", "site-9"], "test", "b", 1).result(LONG)
    assert [reply.payload for reply in replies.values()] == ["from the site's filter"] * 2


@pytest.mark.parametrize("place", ["outgoing_request", "incoming_request", "outgoing_reply", "incoming_reply"])
def test_a_filter_that_fails_fails_the_request(server: Cell, site: Cell, place: str) -> None:
    def broken(message: Message) -> None:
        raise KeyError("token")

    cell = site if place in ("outgoing_request", "incoming_reply") else server
    getattr(cell, f"add_{place}_filter")("test", "x", broken)
    reply = site.request("server", "test", "x", 1).reply(LONG)
    assert reply.return_code is CellReturnCode.FILTER_ERROR
    assert "broken: KeyError: 'token'" in reply.error
    assert counter(server, "bugs") == counter(site, "bugs") == 0
    assert site.request("server", "test", "y", 1).result(LONG).payload == 1
