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
from zmqfl.cell.references import PASSED_THROUGH, LargeObjectRef, encode_ref
from zmqfl.config import MIB
from zmqfl.errors import CellReturnCode, ClosedError, RequestFailed
from zmqfl.wire import payload
from zmqfl.wire.codecs import REFERENCE

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
        return replace(out, codec=REFERENCE, bodies=body, headers=headers or {})

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
        assert PASSED_THROUGH not in reply.headers
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

    def kill_first(ref: LargeObjectRef, done: Callable[[Any, Any], object]) -> Any:
        if reply_is_due.is_set():
            owner.kill()

        def ended(value: Any, error: Any) -> None:
            failures.append(error)
            done(value, error)

        return fetch(ref, ended)

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
    held = server._references.leave(*payload.encode_pieces(weights()), ["site-1"], copy=False, until_taken=True)
    with caplog.at_level(logging.WARNING, "zmqfl.cell"):
        check_nothing_is_held(server)
    assert held.ref.size > 4 * MIB
    assert "is freed: nobody has asked for it" in caplog.text


# ---------------------------------------------------------------------------------------------------------- the hostile

FORGED: list[tuple[str, Callable[[Cell], tuple[Any, ...]], CellReturnCode, str]] = [
    ("no table", lambda c: tuple(payload.encode("R")), CellReturnCode.INVALID_REQUEST, "no list of owner"),
    ("no bytes", lambda c: (b"\xc1",), CellReturnCode.INVALID_REQUEST, ""),
    ("no owner", lambda c: encode_ref(LargeObjectRef("a b", "R" * 32, 1)), CellReturnCode.INVALID_REQUEST, ""),
    ("a third", lambda c: encode_ref(LargeObjectRef("site-2", "R" * 32, 1)), CellReturnCode.INVALID_REQUEST, "may not"),
    ("a guess", lambda c: encode_ref(LargeObjectRef("server", "R" * 32, 9)), COMM_ERROR, "no such reference"),
    ("huge", lambda c: encode_ref(LargeObjectRef("server", "R" * 32, 1 << 50)), CellReturnCode.MSG_TOO_BIG, "limit"),
    ("less than it is", lambda c: encode_ref(replace(left(c), size=99)), COMM_ERROR, "where 99 were announced"),
    ("not bound to it", lambda c: encode_ref(left(c, "site-9")), COMM_ERROR, "no such reference"),
    (
        "no payload",
        lambda c: encode_ref(LargeObjectRef("server", c.offer(bytes(99)).rid, 99)),
        COMM_ERROR,
        "no payload",
    ),
]


def left(cell: Cell, target: str = "relay.site-1") -> LargeObjectRef:
    return cell._references.leave(*payload.encode_pieces(weights()), [target], copy=False, until_taken=False).ref


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


def test_who_passes_through_pulls_nothing(federation: Federation) -> None:
    server, relay, site, _ = federation.tree()
    site.register_request_cb("test", "sum", lambda message: float(message.payload["w"].sum()))
    seen: list[Any] = []

    def forward(message: Message) -> Any:
        seen.append(message.payload)
        return relay.request(site.fqcn, "test", "sum", message.payload, LONG)

    relay.register_pass_through_cb("test", "forward", forward)
    model = weights()
    assert server.request("relay", "test", "forward", {"w": model}, LONG).result(LONG).payload == model.sum()
    (ref,) = seen
    assert isinstance(ref, LargeObjectRef)
    assert ref.owner == "server"
    assert relay.statistics().counters.get("pulls", 0) == 0
    check_nothing_is_held(server, relay, site)


def test_without_the_mark_another_ones_payload_is_refused(federation: Federation) -> None:
    server, relay, site, _ = federation.tree()
    gate = Gate()
    site.register_request_cb("test", "echo", gate)
    reply = send_forged(relay, site.fqcn, encode_ref(left(server, "relay")))
    assert isinstance(reply, Message)
    assert reply.return_code is CellReturnCode.INVALID_REQUEST
    marked = send_forged(relay, site.fqcn, encode_ref(LargeObjectRef("site-2", "R" * 32, 9)), {PASSED_THROUGH: 1})
    assert isinstance(marked, Message)
    assert "may not" in marked.error
    assert gate.seen == []


def test_a_small_payload_passes_as_it_is(federation: Federation) -> None:
    server, relay, _, _ = federation.tree()
    relay.register_pass_through_cb("test", "echo", echo)
    assert server.request("relay", "test", "echo", {"n": 1}, LONG).result(LONG).payload == {"n": 1}
