"""Large payloads by reference: nobody who asks or answers notices, but by the memory that it does not take."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG, QUICK, ROOT, Federation, Gate, until
from zmqfl import Cell, Message
from zmqfl.cell.asking import Outgoing
from zmqfl.cell.filters import looks_at_headers
from zmqfl.cell.message import MessageHeaderKey
from zmqfl.cell.references import Encoded, Held
from zmqfl.config import MIB
from zmqfl.errors import CellReturnCode, ClosedError, RequestFailed
from zmqfl.wire import payload
from zmqfl.wire.codecs import REFERENCE
from zmqfl.wire.references import LargeObjectRef, Place, Table

COMM_ERROR = CellReturnCode.COMM_ERROR


def weights(size: int = 4 * MIB) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(size).random(size // 8)


def echo(message: Message) -> Any:
    return message.payload


def check_same(got: Any, model: dict[str, Any]) -> None:
    assert list(got) == list(model)
    for name, value in model.items():
        assert np.array_equal(got[name], value)
        if isinstance(value, np.ndarray):
            assert got[name].flags.writeable
            assert not np.shares_memory(got[name], value)


def check_nothing_is_held(*cells: Cell) -> None:
    for cell in cells:
        until(lambda cell=cell: not cell._references.open, f"{cell.fqcn} holds a payload")  # type: ignore[misc]
        until(lambda cell=cell: not [each for each in cell.transfers() if each.kind in ("offer", "pull")])  # type: ignore[misc]


def send_forged(
    cell: Cell, target: str, body: tuple[Any, ...], headers: dict[str, Any] | None = None
) -> RequestFailed | Message:
    """A request with a reference that `cell` would not write itself."""
    asking = cell._asking
    real = asking.prepare

    def prepare(*arguments: Any, **options: Any) -> Any:
        out = real(*arguments, **options)
        assert isinstance(out, Outgoing)
        return replace(out, content=Encoded(REFERENCE, body), headers=headers or {})

    asking.prepare = prepare  # type: ignore[method-assign]
    try:
        return cell.request(target, "test", "echo", None, LONG).reply(LONG)
    finally:
        asking.prepare = real  # type: ignore[method-assign]


# ---------------------------------------------------------------------------------------------------------- as before


@pytest.mark.parametrize("threshold", [0, 2 * MIB, 1])
def test_a_model_there_and_back_through_a_relay(federation: Federation, threshold: int) -> None:
    federation.config = replace(QUICK, reference_threshold=threshold)
    server, relay, site, other = federation.tree()
    model = {"layers": weights(), "bias": np.arange(10.0), "name": "résumé", "raw": bytes(MIB)}
    for target in (site, other):
        target.register_request_cb("test", "echo", echo)
        reply = server.request(target.fqcn, "test", "echo", model, LONG).result(LONG)
        check_same(reply.payload, model)
        assert MessageHeaderKey.PASS_THROUGH not in reply.headers
    check_same(site.request("site-2", "test", "echo", model, LONG).result(LONG).payload, model)
    check_nothing_is_held(server, relay, site, other)


def test_a_small_payload_stays_in_its_message(federation: Federation) -> None:
    server, _, site, _ = federation.tree()
    site.register_request_cb("test", "echo", echo)
    server.request("relay.site-1", "test", "echo", weights(MIB), LONG).result(LONG)
    assert server.statistics().counters.get("pulls", 0) == site.statistics().counters.get("pulls", 0) == 0


def test_a_fire_is_held_until_all_targets_have_it(federation: Federation) -> None:
    server, _, site, other = federation.tree()
    gate = Gate()
    for target in (site, other):
        target.register_request_cb("test", "take", gate)
    errors = server.fire([site.fqcn, other.fqcn, "nobody"], "test", "take", weights()).result(LONG)
    assert errors[site.fqcn] == errors[other.fqcn] == ""
    assert errors["nobody"]
    gate.wait_entered(2)
    assert all(np.array_equal(seen, weights()) for seen in gate.seen)
    check_nothing_is_held(server)
    gate.open()


def test_a_broadcast_is_serialised_once_and_pulled_once_by_each(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = federation.start("server")
    sites = [federation.start(f"site-{n}", server, None) for n in range(8)]
    for site in sites:
        site.register_request_cb("test", "sum", lambda message: float(message.payload.sum()))
    model, made = weights(), []
    real = payload.encode_pieces

    def encode_pieces(value: object) -> Any:
        made.append(value is model)
        return real(value)

    monkeypatch.setattr(payload, "encode_pieces", encode_pieces)
    replies = server.broadcast([site.fqcn for site in sites], "test", "sum", model, LONG).result(LONG)
    assert [reply.payload for reply in replies.values()] == [model.sum()] * 8
    assert made.count(True) == 1
    assert [site.statistics().counters["pulls"] for site in sites] == [1] * 8
    check_nothing_is_held(server, *sites)


def test_many_leave_nothing(federation: Federation) -> None:
    server, _, site, _ = federation.tree()
    site.register_request_cb("test", "echo", echo)
    model = weights(2 * MIB)
    for _ in range(20):
        handles = [server.request(site.fqcn, "test", "echo", model, LONG) for _ in range(10)]
        assert all(np.array_equal(handle.result(LONG).payload, model) for handle in handles)
    check_nothing_is_held(server, site)
    assert not server._asking._waiting
    assert not server._asking._fetching
    assert not site._serving._cancels


def test_both_ways_at_once_on_few_workers(federation: Federation) -> None:
    federation.config = replace(QUICK, calls_min=1, calls_max=2, files_max=1)
    server = federation.start("server")
    site = federation.start("site-1", server, None)
    model = weights(2 * MIB)
    for cell in (server, site):
        cell.register_request_cb("test", "echo", echo)
    there = [server.request("site-1", "test", "echo", model, LONG) for _ in range(32)]
    back = [site.request("server", "test", "echo", model, LONG) for _ in range(32)]
    assert all(np.array_equal(handle.result(LONG).payload, model) for handle in (*there, *back))


# --------------------------------------------------------------------------------------------------- what goes wrong


def test_an_array_that_changes_after_the_verb_is_an_error_and_never_a_mix(federation: Federation) -> None:
    server, _, site, _ = federation.tree()
    gate = Gate()
    held = threading.Event()

    @looks_at_headers
    def wait(message: Message) -> None:
        assert isinstance(message.payload, LargeObjectRef)
        held.set()
        assert changed.wait(LONG)

    changed = threading.Event()
    site.add_incoming_request_filter("test", "echo", wait)
    site.register_request_cb("test", "echo", gate)
    model = weights()
    handle = server.request(site.fqcn, "test", "echo", model, LONG)
    assert held.wait(LONG)
    model += 1
    changed.set()
    reply = handle.reply(LONG)
    assert reply.return_code is COMM_ERROR
    assert "payload of server" in reply.error
    assert "has changed since it was offered" in reply.error
    assert gate.seen == []
    check_nothing_is_held(server)


def test_a_snapshot_is_what_it_was(federation: Federation) -> None:
    server, _, site, _ = federation.tree()
    site.register_request_cb("test", "echo", echo)
    model = weights()
    was = model.copy()
    handle = server.request(site.fqcn, "test", "echo", model, LONG, copy=True)
    model += 1
    assert np.array_equal(handle.result(LONG).payload, was)


OWNER = """
import numpy, sys
from zmqfl import Cell, CellConfig
with Cell("site-1", parent=sys.argv[1], config=CellConfig(heartbeat=0.1, dead_after=1.5)) as cell:
    cell.register_request_cb("test", "make", lambda message: numpy.ones(1 << 19))
    cell.register_request_cb("test", "die", lambda message: None)
    cell.request("server", "test", "take", numpy.ones(1 << 19), 30)
    sys.stdin.read()
"""


def test_an_owner_that_is_killed_is_named_to_who_waits_for_its_payload(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = federation.start("server")
    gate = Gate()
    server.register_request_cb("test", "take", gate)
    owner = subprocess.Popen([sys.executable, "-c", OWNER, server.url], stdin=subprocess.PIPE, cwd=ROOT)
    failures: list[Any] = []
    fetch = server._references.fetch

    def kill_first(bodies: Any, table: Table, done: Callable[[Any, Any], None], within: float | None = None) -> Any:
        if reply_is_due.is_set():
            owner.kill()

        def ended(frames: Any, error: Any) -> None:
            failures.append(error)
            done(frames, error)

        return fetch(bodies, table, ended, within)

    reply_is_due = threading.Event()
    monkeypatch.setattr(server._references, "fetch", kill_first)
    try:
        gate.wait_entered()  # its own request has gone through, so it is there
        reply_is_due.set()
        reply = server.request("site-1", "test", "make", None, LONG).reply(LONG)
        assert reply.return_code is COMM_ERROR
        assert "the payload of site-1 could not be had" in reply.error
        assert failures[-1] is not None
    finally:
        owner.kill()
        owner.communicate()
        gate.open()


def test_a_handler_never_runs_without_the_payload_of_an_owner_that_is_gone(federation: Federation) -> None:
    server, _, site, other = federation.tree()
    gate, held, gone = Gate(), threading.Event(), threading.Event()

    @looks_at_headers
    def wait(message: Message) -> None:
        held.set()
        assert gone.wait(LONG)

    server.add_incoming_request_filter("test", "echo", wait)
    server.register_request_cb("test", "echo", gate)
    handle = other.request("server", "test", "echo", weights(), LONG)
    assert held.wait(LONG)
    other.close(drain=0)
    gone.set()
    with pytest.raises(ClosedError):
        handle.result(LONG)
    until(lambda: not [each for each in server.transfers() if each.kind == "pull"])
    assert gate.seen == []
    assert site.request("server", "test", "nothing", None, LONG).reply(LONG).return_code is not None


def test_who_cancels_frees_and_ends_the_pull(federation: Federation) -> None:
    server, _, site, _ = federation.tree()
    gate, held, go = Gate(), threading.Event(), threading.Event()

    @looks_at_headers
    def wait(message: Message) -> None:
        held.set()
        assert go.wait(LONG)

    site.add_incoming_request_filter("test", "echo", wait)
    site.register_request_cb("test", "echo", gate)
    handle = server.request(site.fqcn, "test", "echo", weights(), LONG)
    assert held.wait(LONG)
    handle.cancel()
    go.set()
    check_nothing_is_held(server, site)
    assert gate.seen == []


def test_a_closing_cell_waits_until_its_replies_are_taken(federation: Federation) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server, None)
    made = threading.Event()

    def make(message: Message) -> Any:
        made.set()
        return weights(16 * MIB)

    site.register_request_cb("test", "make", make)
    handle = server.request("site-1", "test", "make", None, LONG)
    assert made.wait(LONG)
    site.close()
    assert np.array_equal(handle.result(LONG).payload, weights(16 * MIB))


def test_an_expired_payload_is_freed_with_a_line_in_the_log(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("zmqfl.cell.references.IDLE", 0.2)
    server = federation.start("server")
    held = hold_at(server, "site-1", asks=False)
    with caplog.at_level(logging.WARNING, "zmqfl.cell"):
        check_nothing_is_held(server)
    assert held.size > 4 * MIB
    assert "is freed: nobody has asked for it" in caplog.text


# ---------------------------------------------------------------------------------------------------------- the hostile

INVALID = CellReturnCode.INVALID_REQUEST
TREE = payload.encode_pieces(weights())[0][0]
RID = "R" * 32


def hold_at(cell: Cell, target: str = "relay.site-1", *, asks: bool = True) -> Held:
    held = cell._references.encode(weights(), "payload", [target], asks=asks).held
    assert held is not None
    return held


def at(place: Place, *runs: tuple[int, int, int], tree: bytes | memoryview = TREE) -> tuple[bytes | memoryview, ...]:
    return Table((place,), runs or ((0, 0, 1),)).encode(), tree


def table(*value: Any) -> tuple[bytes | memoryview, ...]:
    return payload.encode(list(value))[0], TREE


def less(cell: Cell) -> Place:
    return replace(hold_at(cell).place, size=99)


FORGED: list[tuple[str, Callable[[Cell], tuple[Any, ...]], CellReturnCode, str]] = [
    ("no bodies", lambda c: (), INVALID, "bodies"),
    ("no tree", lambda c: at(hold_at(c).place)[:1], INVALID, "bodies"),
    ("no table", lambda c: (payload.encode("R")[0], TREE), INVALID, "table of references"),
    ("no payload for a table", lambda c: (b"\xc1", TREE), INVALID, ""),
    ("no places", lambda c: table([], []), INVALID, "is none"),
    ("places of numbers", lambda c: table([[1, 2, 3]], []), INVALID, "is none"),
    ("a size that is none", lambda c: table([["server", RID, True]], [[0, 0, 1]]), INVALID, "is none"),
    ("no place with that number", lambda c: table([["server", RID, 1]], [[1, 0, 1]]), INVALID, "is none"),
    ("a run of none", lambda c: table([["server", RID, 1]], [[0, 0, 0]]), INVALID, "is none"),
    ("a run without end", lambda c: table([["server", RID, 1]], [[0, 0, 1 << 60]]), INVALID, "is none"),
    ("many places", lambda c: table([["server", RID, 1]] * 65, []), INVALID, "is none"),
    ("no owner", lambda c: at(Place("a b", RID, 1)), INVALID, "may not"),
    ("a third", lambda c: at(Place("site-2", RID, 1)), INVALID, "may not"),
    ("a guess", lambda c: at(Place("server", RID, 9)), COMM_ERROR, "no such reference"),
    ("huge", lambda c: at(Place("server", RID, 1 << 50)), CellReturnCode.MSG_TOO_BIG, "limit"),
    (
        "huge together",
        lambda c: table([["server", RID, 1 << 35], ["server", "S" * 32, 1 + (1 << 35)]], [[0, 0, 1]]),
        CellReturnCode.MSG_TOO_BIG,
        "limit",
    ),
    ("less than it is", lambda c: at(less(c)), COMM_ERROR, "where 99 were announced"),
    ("not bound to it", lambda c: at(hold_at(c, "site-9").place), COMM_ERROR, "no such reference"),
    ("no such piece", lambda c: at(hold_at(c).place, (0, 0, 2)), INVALID, "where there are 1"),
    ("a piece too many", lambda c: at(hold_at(c).place, tree=payload.encode(1)[0]), INVALID, "nothing mentions"),
    ("no such object", lambda c: at(Place("server", c.offer(bytes(99)).rid, 99)), COMM_ERROR, "holds no pieces"),
]


@pytest.mark.parametrize(("make", "code", "text"), [row[1:] for row in FORGED], ids=[row[0] for row in FORGED])
def test_a_forged_reference_is_refused(
    federation: Federation, make: Callable[[Cell], tuple[Any, ...]], code: CellReturnCode, text: str
) -> None:
    server, _, site, _ = federation.tree()
    gate = Gate()
    site.register_request_cb("test", "echo", gate)
    reply = send_forged(server, site.fqcn, make(server))
    assert isinstance(reply, Message)
    assert reply.return_code is code, reply.error
    assert text in reply.error
    assert gate.seen == []


# --------------------------------------------------------------------------------------------------------- pass through


def test_who_passes_through_pulls_nothing_and_reads_the_rest(federation: Federation) -> None:
    server, relay, site, _ = federation.tree()
    site.register_request_cb("test", "echo", echo)
    seen: list[Any] = []

    def forward(message: Message) -> Any:
        seen.append(message.payload)
        mine = {"twice": [message.payload["w"]] * 2, "own": np.arange(9000), "raw": message.payload["raw"]}
        return relay.request(site.fqcn, "test", "echo", mine, LONG)

    relay.register_pass_through_cb("test", "forward", forward)
    model: dict[str, Any] = {"w": weights(), "raw": bytes(range(256)) * 8192, "round": 3}
    got = server.request("relay", "test", "forward", model, LONG).result(LONG).payload
    assert np.array_equal(got["twice"][0], model["w"])
    assert np.array_equal(got["twice"][1], model["w"])
    assert not np.shares_memory(*got["twice"])
    assert got["raw"] == model["raw"]
    assert np.array_equal(got["own"], np.arange(9000))
    (passed,) = seen
    assert passed["round"] == 3
    assert isinstance(passed["w"], LargeObjectRef)
    assert (passed["w"].owner, passed["w"].nbytes) == ("server", 4 * MIB)
    check_nothing_is_held(server, relay, site)


def test_a_request_is_passed_on_without_a_pull_in_between(federation: Federation) -> None:
    server, relay, site, _ = federation.tree()
    site.register_request_cb("test", "sum", lambda message: float(message.payload["w"].sum()))
    relay.register_pass_through_cb(
        "test", "forward", lambda message: relay.request(site.fqcn, "test", "sum", message.payload, LONG)
    )
    model = weights()
    assert server.request("relay", "test", "forward", {"w": model}, LONG).result(LONG).payload == model.sum()
    assert relay.statistics().counters.get("pulls", 0) == 0
    check_nothing_is_held(server, relay, site)


def test_a_reply_is_passed_on_without_a_pull_in_between(federation: Federation) -> None:
    server, relay, site, _ = federation.tree()
    server.register_request_cb("test", "model", lambda message: {"w": weights(), "round": 4})
    seen: list[Any] = []

    def ask(message: Message) -> Any:
        reply = relay.request("server", "test", "model", None, LONG, pass_through=True).result(LONG)
        seen.append(reply.payload)
        return reply.payload

    relay.register_request_cb("test", "model", ask)
    got = site.request("relay", "test", "model", None, LONG).result(LONG).payload
    check_same(got, {"w": weights(), "round": 4})
    assert isinstance(seen[0]["w"], LargeObjectRef)
    assert relay.statistics().counters.get("pulls", 0) == 0


@pytest.mark.parametrize("headers", [{}, {MessageHeaderKey.PASS_THROUGH: True}], ids=["unmarked", "marked"])
@pytest.mark.parametrize("owner", ["server", "site-2", "relay.site-1"])
def test_only_a_cell_above_may_be_referred_to_and_only_with_the_mark(
    federation: Federation, owner: str, headers: dict[str, Any]
) -> None:
    server, relay, site, _ = federation.tree()
    gate = Gate()
    gate.open()
    site.register_request_cb("test", "echo", gate)
    place = hold_at(server, "relay").place
    reply = send_forged(relay, site.fqcn, at(replace(place, owner=owner)), headers)
    assert isinstance(reply, Message)
    if owner == "server" and headers:
        assert reply.ok, reply.error
        assert np.array_equal(gate.seen[0], weights())
    else:
        assert reply.return_code is INVALID
        assert gate.seen == []


def test_no_user_can_set_the_mark(federation: Federation) -> None:
    server, _, site, _ = federation.tree()
    site.register_request_cb("test", "headers", lambda message: [*message.headers])
    sent = Message({MessageHeaderKey.PASS_THROUGH: True}, weights())
    reply = server.request(site.fqcn, "test", "headers", sent, LONG).result(LONG)
    assert MessageHeaderKey.PASS_THROUGH not in reply.payload


def test_a_small_payload_passes_as_it_is(federation: Federation) -> None:
    server, relay, _, _ = federation.tree()
    relay.register_pass_through_cb("test", "echo", echo)
    assert server.request("relay", "test", "echo", {"n": 1}, LONG).result(LONG).payload == {"n": 1}
    assert server.request("relay", "test", "echo", {"n": 1}, LONG, pass_through=True).result(LONG).payload == {"n": 1}


# ------------------------------------------------------------------------------------------------------ how long it is


def test_a_payload_is_freed_when_all_targets_have_it_though_the_handler_runs(federation: Federation) -> None:
    server, _, site, other = federation.tree()
    gate = Gate()
    for target in (site, other):
        target.register_request_cb("test", "train", gate)
    handle = server.broadcast([site.fqcn, other.fqcn], "test", "train", weights(), LONG)
    gate.wait_entered(2)
    check_nothing_is_held(server)
    assert not handle.done()
    gate.open()
    handle.result(LONG)


def test_nothing_is_held_for_targets_that_cannot_be(federation: Federation) -> None:
    server = federation.start("server")
    assert server.request("a b", "test", "echo", weights()).reply(LONG).return_code is CellReturnCode.INVALID_TARGET
    assert server.request("nobody", "test", "echo", weights()).reply(LONG).return_code is not CellReturnCode.OK
    assert server.broadcast([], "test", "echo", weights()).result(LONG) == {}
    check_nothing_is_held(server)


def test_statistics_tell_what_is_held(federation: Federation) -> None:
    server = federation.start("server")
    held = hold_at(server)
    told = server.statistics()
    assert (told.references, told.reference_bytes) == (1, held.size)
    held.free()
    held.free()
    told = server.statistics()
    assert (told.references, told.reference_bytes) == (0, 0)
