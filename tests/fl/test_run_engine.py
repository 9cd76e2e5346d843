"""Engines of a run: other sites by their names, aux messages, components, events."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fl.runs import Trace
from tests.system.federation import LONG, Federation
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.fl.client import Client
from zmqfl.fl.run_engine import ClientEngine, RunEngine, ServerEngine

CELLS = {"server": "hub.job", "site-1": "site-1.job", "site-2": "site-2.job"}


@pytest.fixture
def engines() -> Iterator[dict[str, RunEngine]]:
    """The server of a job below the hub, and two clients below their sites."""
    federation = Federation()
    hub = federation.start("hub")
    engines: dict[str, RunEngine] = {
        "server": ServerEngine(federation.start("hub.job", hub), "server", "job", CELLS, None)
    }
    for name in "site-1", "site-2":
        site = federation.start(name, hub)
        engines[name] = ClientEngine(federation.start(f"{name}.job", site, None), name, "job", CELLS, None)
    yield engines
    for engine in engines.values():
        engine.shutdown_streamer()
    federation.close()


def test_names_of_sites(engines: dict[str, RunEngine]) -> None:
    for engine in engines.values():
        found = [engine.cell_of(name) for name in ("server", "SERVER", "server_parent", "site-1", "relay.x")]
        assert found == ["hub.job", "hub.job", "hub.job", "site-1.job", "relay.x"]
        assert (engine.site_at("site-2.job"), engine.site_at("site-2")) == ("site-2", None)
        assert [client.name for client in engine.get_clients()] == ["site-1", "site-2"]
        assert all(isinstance(client, Client) for client in engine.get_clients())
    clients, invalid = engines["server"].validate_targets(["site-2", "mallory", "site-1"])
    assert ([client.get_fqcn() for client in clients], invalid) == (["site-2.job", "site-1.job"], ["mallory"])


@pytest.mark.parametrize(
    ("who", "targets", "names"),
    [
        ("server", None, ["site-1", "site-2"]),
        ("server", "@ALL", ["site-1", "site-2"]),
        ("server", ["site-2"], ["site-2"]),
        ("site-1", None, ["server"]),
        ("site-1", "@ALL", ["server", "site-2"]),
        ("site-1", "site-2", ["site-2"]),
        ("site-1", ["server", "site-2"], ["server", "site-2"]),
    ],
)
def test_aux_messages_to_all_sorts_of_targets(
    engines: dict[str, RunEngine], who: str, targets: Any, names: list[str]
) -> None:
    def answer(name: str) -> Callable[..., Shareable]:
        return lambda topic, request, fl_ctx: Shareable({"i": name, "x": request["x"]})

    for name, engine in engines.items():
        engine.register_aux_message_handler("who", answer(name))
    engine = engines[who]
    with engine.new_context() as fl_ctx:
        replies = engine.send_aux_request(targets, "who", Shareable({"x": 3}), LONG, fl_ctx)
    assert [(name, reply["i"], reply["x"]) for name, reply in replies.items()] == [(name, name, 3) for name in names]


def test_fire_and_forget(engines: dict[str, RunEngine]) -> None:
    heard: queue.Queue[str] = queue.Queue()

    def hear(topic: str, request: Shareable, fl_ctx: FLContext) -> None:
        heard.put(request["from"])

    for engine in engines.values():
        engine.register_aux_message_handler("hear", hear)
    client, server = engines["site-1"], engines["server"]
    assert isinstance(client, ClientEngine)
    assert client.fire_and_forget_aux_request("hear", Shareable({"from": "c"}), client.new_context()) == {"server": ""}
    assert heard.get(timeout=LONG) == "c"
    told = server.fire_and_forget_aux_request(["site-2"], "hear", Shareable({"from": "s"}), server.new_context())
    assert told == {"site-2": ""}
    assert heard.get(timeout=LONG) == "s"


def test_events_reach_components_and_listeners_once(engines: dict[str, RunEngine]) -> None:
    engine = engines["server"]
    log: list[tuple[int, str]] = []

    def listener(number: int) -> Trace:
        return Trace(seen=lambda event, fl_ctx: log.append((number, event)))

    first, second = listener(1), listener(2)
    fatal: list[str] = []
    engine.on_fatal = fatal.append
    engine.add_listener(second)
    engine.add_component("first", first)
    engine.add_listener(first)
    engine.add_component("thing", object())
    with engine.new_context() as fl_ctx:
        engine.fire_event("e", fl_ctx)
        engine.panic("the disk is full", fl_ctx)
    assert log == [(n, event) for event in ("e", EventType.FATAL_SYSTEM_ERROR) for n in (1, 2)]
    assert fatal == ["the disk is full"]
    assert set(engine.components) == {"first", "thing"}


def test_props_of_all_contexts(engines: dict[str, RunEngine]) -> None:
    engine = engines["site-1"]
    engine.note({"a": 1}, {"b": 2})
    fl_ctx: FLContext = engine.new_context()
    assert (fl_ctx.get_prop("a"), fl_ctx.get_prop("b"), "b" in fl_ctx.get_all_public_props()) == (1, 2, False)
    assert fl_ctx.get_identity_name() == "site-1"
