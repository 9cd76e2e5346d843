"""What a caller gives, and what comes of it before, on and after the way."""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG, QUICK, Federation, Gate, counter, hold, until
from zmqfl import Cell, CellReturnCode, Message, MessageHeaderKey, RequestFailed
from zmqfl.cell.asking import Reply, problem_of, received
from zmqfl.errors import ArgumentError, DecodeError, EncodeError
from zmqfl.protocol.commands import Outcome


@pytest.fixture
def server(federation: Federation) -> Cell:
    server = federation.start("server")
    server.register_request_cb("test", "echo", lambda message: message.payload)
    return server


@pytest.fixture
def site(federation: Federation, server: Cell) -> Cell:
    return federation.start("site-1", server, None)


# ------------------------------------------------------------------------------------------------ what cannot be sent


def test_cell_N03_an_unserialisable_payload_is_an_error_at_the_caller(site: Cell) -> None:
    with pytest.raises(EncodeError, match=r"payload\['w'\]\[1\].*object"):
        site.request("server", "test", "echo", {"w": [1, object()]})
    with pytest.raises(EncodeError, match="header 'x'"):
        site.request("server", "test", "echo", Message({"x": object()}))
    with pytest.raises(EncodeError):
        site.broadcast(["server"], "test", "echo", object())
    with pytest.raises(EncodeError):
        site.fire("server", "test", "echo", object())
    assert site.statistics().open_requests == 0


def test_cell_N03_a_payload_of_several_segments(server: Cell, site: Cell) -> None:
    body = bytes(range(256)) * (5 * QUICK.segment // 256) + b"x"
    replies = site.broadcast(["server", "site-1"], "test", "echo", body).result(LONG)
    assert replies["server"].payload == body
    assert replies["site-1"].return_code is CellReturnCode.PROCESS_EXCEPTION
    assert not site.fire("server", "test", "echo", body).result(LONG)["server"]


def test_cell_N03_a_payload_above_the_limit(federation: Federation) -> None:
    small = replace(QUICK, payload_limit=2 * QUICK.segment, reference_threshold=0)
    server = federation.start("server", config=small)
    site = federation.start("site-1", server, config=replace(QUICK, reference_threshold=0))
    body = bytes(small.payload_limit)
    reply = site.request("server", "test", "echo", body).reply(LONG)  # the site's own limit is higher
    assert reply.return_code is CellReturnCode.MSG_TOO_BIG
    assert "`payload_limit` of server" in reply.error
    back = server.request("site-1", "test", "echo", body).reply(LONG)
    assert back.return_code is CellReturnCode.MSG_TOO_BIG
    assert f"{small.payload_limit} bytes" in back.error
    replies = server.broadcast(["site-1", "site-2"], "test", "echo", body).result(LONG)
    assert [reply.return_code for reply in replies.values()] == [CellReturnCode.MSG_TOO_BIG] * 2
    assert server.fire("site-1", "test", "echo", body).result(LONG)["site-1"].startswith("msg_too_big: ")
    assert server.statistics().counters.get("requests", 0) == site.statistics().counters.get("requests", 0) == 0


@pytest.mark.parametrize("name", ["", " ", "a..b", ".a", "a.", "a.b.a", "a/b", "ä", 3, None, "a\nb", "a,b"])
def test_cell_N03_an_invalid_target(site: Cell, name: Any) -> None:
    reply = site.request(name, "test", "echo").reply(LONG)
    assert reply.return_code is CellReturnCode.INVALID_TARGET
    assert reply.error
    replies = site.broadcast([name, "server"], "test", "echo", 1).result(LONG)
    assert [str(each.return_code) for each in replies.values()] == ["invalid_target", "ok"]
    assert site.fire([name, "server"], "test", "echo").result(LONG)[name].startswith("invalid_target: ")


def test_cell_N03_secure_is_refused_and_nothing_is_sent(server: Cell, site: Cell) -> None:
    reply = site.request("server", "test", "echo", 1, secure=True).reply(LONG)
    assert reply.return_code is CellReturnCode.COMM_ERROR
    assert "nothing was sent" in reply.error
    assert site.broadcast(["server"], "test", "echo", secure=True).result(LONG)["server"].return_code == "comm_error"
    assert site.fire("server", "test", "echo", secure=True).result(LONG)["server"].startswith("comm_error: ")
    assert {"requests", "fires"}.isdisjoint(server.statistics().counters)


@pytest.mark.parametrize("value", [math.nan, -1, "5", [1]], ids=repr)
def test_a_time_that_is_none_is_refused_at_once(site: Cell, value: Any) -> None:
    with pytest.raises(ArgumentError, match="timeout must be a number of seconds"):
        site.request("server", "test", "echo", 1, value)
    with pytest.raises(ArgumentError, match="deadline must be a number of seconds"):
        site.broadcast(["server"], "test", "echo", 1, deadline=value)
    assert site.request("server", "test", "echo", 1).result(LONG).payload == 1


@pytest.mark.parametrize("value", [0, None, math.inf, 1e12, np.float32(5)], ids=repr)
def test_times_without_end_and_of_other_types_are_good(site: Cell, value: Any) -> None:
    assert site.request("server", "test", "echo", 1, value).result(LONG).payload == 1
    assert site.request("server", "test", "echo", 1, deadline=value or None).result(LONG).payload == 1


@pytest.mark.parametrize("name", ["", 3, None, b"test", "x" * 1025, "a\udc80"], ids=lambda name: repr(name)[:20])
def test_channels_and_topics_that_cannot_travel_are_refused_at_once(site: Cell, name: Any) -> None:
    for verb in (site.request, site.broadcast, site.fire):
        with pytest.raises(ArgumentError, match="channel"):
            verb("server", name, "echo")
        with pytest.raises(ArgumentError, match="topic"):
            verb("server", "test", name)
    assert site.request("server", "test", "echo", 1).result(LONG).payload == 1
    assert counter(site, "bugs") == 0


# --------------------------------------------------------------------------------------------------------- no way there


def test_cell_N03_an_unknown_target_from_the_root(server: Cell, site: Cell) -> None:
    reply = server.request("site-9", "test", "echo").reply(LONG)
    assert (str(reply.return_code), reply.error) == ("target_unreachable", "server has no route to site-9")
    assert not server.is_cell_reachable("site-9")
    assert server.is_cell_reachable("site-1.job")  # as far as the server knows


def test_cell_N03_an_unknown_target_beyond_another_cell(federation: Federation, server: Cell, site: Cell) -> None:
    reply = site.request("site-9", "test", "echo").reply(LONG)
    expected = ("comm_error", "server cannot forward: server has no route to site-9")
    assert (str(reply.return_code), reply.error) == expected
    federation.start("relay", server)
    reply = server.request("relay.site-9", "test", "echo", bytes(100_000)).reply(LONG)
    expected = ("comm_error", "relay cannot forward: relay has no route to relay.site-9")
    assert (str(reply.return_code), reply.error) == expected


def test_cell_N02_a_parent_without_a_link_to_its_child(site: Cell) -> None:
    assert str(site.request("site-1.job", "test", "echo").reply(LONG).return_code) == "target_unreachable"


def test_cell_N02_scenarios_of_routing(federation: Federation) -> None:
    server, relay, deep, site = federation.tree()
    below = federation.start("relay.inner", relay)
    deepest = federation.start("relay.inner.site-3", below, None)
    job = federation.start("server.job", server, None)
    cells = [server, relay, deep, site, below, deepest, job]
    for cell in cells:
        cell.register_request_cb("test", "who", lambda message, me: me, cell.fqcn)
    for cell in cells:
        replies = cell.broadcast([each.fqcn for each in cells], "test", "who").result(LONG)
        assert {name: reply.payload for name, reply in replies.items()} == {each.fqcn: each.fqcn for each in cells}
    assert [deep.hop_to(name) for name in ("relay.inner.site-3", "site-2", "relay.site-1")] == [
        "relay",
        "relay",
        "relay.site-1",
    ]
    assert (server.hop_to("relay.inner.site-3"), server.hop_to("site-9")) == ("relay", "")
    assert (deep.root, deep.parent, server.root, server.parent) == ("server", "relay", "server", "")


# --------------------------------------------------------------------------------------------- the content is fixed


@pytest.mark.parametrize("size", [8 * 1024, 64 * 1024, 1024 * 1024 - 1024], ids=["8 KiB", "64 KiB", "1 MiB"])
@pytest.mark.parametrize("target", ["server", "site-1"])
def test_what_changes_after_the_verb_has_returned_is_not_sent(site: Cell, server: Cell, size: int, target: str) -> None:
    site.register_request_cb("test", "echo", lambda message: message.payload)
    w = np.arange(size // 8, dtype=np.float64)
    handles = []
    for _ in range(7):  # replies of up to 8 MiB may wait for their confirmation
        handles.append(site.request(target, "test", "echo", {"w": w}))
        w += 1
    for number, handle in enumerate(handles):
        np.testing.assert_array_equal(handle.result(LONG).payload["w"], np.arange(size // 8) + number)


def test_a_handler_that_changes_what_it_got_changes_nobody_elses(federation: Federation) -> None:
    server = federation.start("server")
    sites = [federation.start(f"site-{n}", server, None) for n in (1, 2)]
    w = np.ones(100_000)

    def spoil(message: Message) -> Any:
        message.payload[:] += 1
        message.set_header("spoiled", 1)
        return message

    for cell in (server, *sites):
        cell.register_request_cb("test", "spoil", spoil)
    for _ in range(5):
        message = Message({"round": 1}, w)
        for reply in server.broadcast(["server", "site-1", "site-2"], "test", "spoil", message).result(LONG).values():
            np.testing.assert_array_equal(reply.payload, np.full(100_000, 2.0))
        assert message.headers == {"round": 1}
    np.testing.assert_array_equal(w, np.ones(100_000))


# --------------------------------------------------------------------------------------------------------- the reply


def test_a_reply_whose_bytes_are_not_what_they_claim() -> None:
    outcome = Outcome(CellReturnCode.OK, codec=1, bodies=(b"\xc1",), headers={"cn__origin": "server", "round": 1})
    reply = received("site-1", 7, "test", "topic", outcome)
    assert (reply.origin, reply.req_id, reply.get_header("round"), reply.ok) == ("site-1", 7, 1, True)
    for _ in range(2):
        with pytest.raises(DecodeError):
            _ = reply.payload
    unknown = received("site-1", 7, "test", "topic", replace(outcome, codec=99))
    with pytest.raises(DecodeError, match="payload codec 99 of site-1 is not known here"):
        _ = unknown.payload


def test_a_payload_is_decoded_once_and_may_be_replaced() -> None:
    reply = Reply({MessageHeaderKey.RETURN_CODE: CellReturnCode.OK}, 1, (b"\x91\x01",))
    assert reply.payload is reply.payload
    reply.payload = "other"
    assert reply.payload == "other"
    assert received("a", 1, "c", "t", Outcome(CellReturnCode.TIMEOUT, "late")).payload is None


# ---------------------------------------------------------------------------------------------------- time and cancel


def test_a_deadline_bounds_everything(federation: Federation, server: Cell, site: Cell) -> None:
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    reply = site.request("server", "test", "held", deadline=0.05).reply(LONG)
    assert (str(reply.return_code), reply.error) == ("timeout", "the deadline has passed")
    late = federation.make("site-2", "tcp://127.0.0.1:1")
    late.start()  # nobody listens there
    reply = late.request("server", "test", "echo", deadline=0.05).reply(LONG)
    assert str(reply.return_code) == "timeout"
    gate.open()


def test_a_request_to_a_parent_that_is_not_there_is_unreachable_after_dead_after(federation: Federation) -> None:
    config = replace(QUICK, dead_after=0.3)
    site = federation.make("site-1", "tcp://127.0.0.1:1", config=config)
    site.start()
    reply = site.request("server", "test", "echo").reply(LONG)
    assert str(reply.return_code) == "target_unreachable"


def test_a_site_that_is_started_before_its_parent_waits_for_it(federation: Federation) -> None:
    first = federation.start("server")
    url = first.url
    first.close()
    site = federation.make("site-1", url, config=replace(QUICK, dead_after=LONG))
    site.start()
    handle = site.request("server", "test", "echo", 5)
    until(lambda: site.statistics().open_requests == 1)
    assert not handle.done()
    server = federation.start("server", listen=url)
    server.register_request_cb("test", "echo", lambda message: message.payload)
    assert handle.result(LONG).payload == 5
    assert counter(server, "requests") == 1


def test_a_cancelled_request_ends_here_and_there(server: Cell, site: Cell) -> None:
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    one, many = site.request("server", "test", "held"), site.broadcast(["server", "site-1"], "test", "held")
    gate.wait_entered(2)
    assert one.cancel()
    assert many.cancel()
    until(lambda: server.statistics().running_calls == 0)
    assert site.statistics().open_requests == 0
    assert site.statistics().retained_bytes == 0
    gate.open()
    assert (one.cancelled(), many.cancelled()) == (True, True)


def test_a_request_cancelled_before_it_left_is_not_sent(server: Cell, site: Cell) -> None:
    go_on = threading.Event()
    hold(site, go_on)
    handle = site.request("server", "test", "echo", 2)
    handle.cancel()
    go_on.set()
    assert site.request("server", "test", "echo", 3).result(LONG).payload == 3
    assert handle.cancelled()
    assert counter(server, "requests") == 1


def test_await_and_async_for(server: Cell, site: Cell) -> None:
    async def ask() -> tuple[Any, dict[str, str], list[str]]:
        reply = await site.request("server", "test", "echo", 1)
        fired = await site.fire(["server", "site-9"], "test", "echo")
        seen = [name async for name, _ in site.broadcast(["server", "site-9", "site-1"], "test", "echo", 2)]
        with pytest.raises(RequestFailed, match="site-9"):
            await site.request("site-9", "test", "echo")
        return reply.payload, fired, seen

    payload, fired, seen = asyncio.run(ask())
    assert payload == 1
    assert fired == {"server": "", "site-9": ""}  # it left; that nobody is there is known to the server only
    assert sorted(seen) == ["server", "site-1", "site-9"]


def test_a_broadcast_to_nobody(site: Cell) -> None:
    assert site.broadcast([], "test", "echo").result(LONG) == {}
    assert site.fire([], "test", "echo").result(LONG) == {}


def test_what_is_kept_for_sending_again_is_bounded(federation: Federation) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server, None, config=replace(QUICK, send_budget=1_000_000))
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    handles = [site.request("server", "test", "held", bytes(300_000)) for _ in range(5)]
    codes = [str(handle.reply(LONG).return_code) for handle in handles[3:]]
    assert codes == ["service_unavailable"] * 2
    assert site.statistics().retained_bytes <= 1_000_000
    gate.open()
    assert [handle.result(LONG).payload for handle in handles[:3]] == ["done"] * 3
    until(lambda: site.statistics().retained_bytes == 0)
    assert len(gate.seen) == 3


@pytest.mark.parametrize("target", [" site-1", "site-1 ", "a..b", "", "a/b", 3])
def test_a_target_that_is_no_name_is_told(target: object) -> None:
    assert problem_of(target)
    assert problem_of("relay.site-1") == ""
