"""An engine for programs without a runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.streaming.sites import Collectors, Ends, Judge, Sites
from tests.system.federation import LONG, until
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable
from zmqfl.context.workspace import Workspace
from zmqfl.errors import ArgumentError
from zmqfl.streaming.cell_streams import CellStreamEngine
from zmqfl.streaming.contracts import StreamableEngine


class Listener(FLComponent):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        self.heard.append(event_type)


def test_the_context_of_a_site(sites: Sites, tmp_path: Path) -> None:
    [server] = sites.star(0)
    cell = server.get_cell()
    engine = sites.engine(cell, identity_name="hub", job_id="job-7", workspace=Workspace(str(tmp_path), "hub"))
    with engine.new_context() as fl_ctx:
        assert fl_ctx.get_engine() is engine
        assert fl_ctx.get_engine().get_cell() is cell
        assert (fl_ctx.get_identity_name(), fl_ctx.get_job_id()) == ("hub", "job-7")
        assert fl_ctx.get_workspace() is engine.get_workspace()
        assert fl_ctx.get_run_abort_signal() is engine.abort_signal
        fl_ctx.set_prop("kept", 1)
    assert engine.new_context().get_prop("kept") == 1
    assert server.new_context().get_identity_name() == "server"
    assert server.get_workspace() is None
    assert isinstance(engine, CellStreamEngine)
    assert isinstance(engine, StreamableEngine)


def test_sticky_props_at_once(sites: Sites) -> None:
    [server] = sites.star(0)
    engine = sites.engine(server.get_cell(), sticky_sync="immediate")
    early = engine.new_context()
    engine.new_context().set_prop("x", 1)
    assert early.get_prop("x") == 1


def test_clients_and_targets(sites: Sites) -> None:
    engines = sites.tree()
    assert sorted(engines["server"].get_clients()) == ["relay", "site-2"]
    assert engines["relay"].get_clients() == ["relay.site-1"]
    assert engines["site-2"].get_clients() == []
    names = ["server", "SERVER_PARENT", "relay.site-1", "unknown-yet", "bad..name", ""]
    assert engines["site-2"].validate_targets(names) == (names[:4], names[4:])


def test_components_hear_events_in_the_order_of_their_coming(sites: Sites) -> None:
    [server] = sites.star(0)
    listener, thing = Listener(), object()
    server.add_component("listener", listener)
    server.add_component("thing", thing)
    assert server.get_component("thing") is thing
    assert server.get_component("nothing") is None
    server.fire_event("_start_run", server.new_context())
    assert listener.heard == ["_start_run"]
    listener.fire_event("again", server.new_context())
    assert listener.heard == ["_start_run", "again"]
    for wrong in "thing", "", 3:
        with pytest.raises(ArgumentError, match=r"component"):
            server.add_component(wrong, object())  # type: ignore[arg-type]
    assert repr(server) == "<CellEngine of server, components listener, thing>"


@pytest.mark.parametrize("targets", [None, "server", ["server"], "Server_Parent", ["hub"]])
def test_the_root_has_three_names(sites: Sites, targets: Any) -> None:
    hub = sites.federation.start("hub")
    site = sites.engine(sites.federation.start("site-1", hub, None))
    ends = Ends()
    engine = sites.engine(hub)
    engine.register_stream_processing("c", "t", Collectors(), ends)
    engine.register_aux_message_handler("who", lambda topic, request, fl_ctx: Shareable({"i": "hub"}))
    producer = Judge(1)
    assert site.stream_objects("c", "t", {}, targets, producer, site.new_context()) == (ReturnCode.OK, True)
    name = "server" if targets is None else targets if isinstance(targets, str) else targets[0]
    assert list(producer.replies[0]) == [name]
    replies = site.send_aux_request(targets, "who", Shareable(), LONG, site.new_context())
    assert {key: reply["i"] for key, reply in replies.items()} == {name: "hub"}


def test_a_root_that_is_not_known_yet(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    cell = sites.federation.start("site-1", "tcp://127.0.0.1:9", None, connected=False)
    engine = sites.engine(cell)
    result = engine.stream_objects("c", "t", {}, None, Judge(1), engine.new_context())
    assert result == (ReturnCode.ERROR, False)
    assert "no target is called 'server'" in caplog.text


def test_aux_messages(sites: Sites) -> None:
    server, one, two = sites.star(2)
    for engine in one, two:
        name = engine.get_cell().fqcn
        engine.register_aux_message_handler(
            "add", lambda topic, request, fl_ctx, name=name: Shareable({"y": request["x"] + 1, "from": name})
        )
    fl_ctx = server.new_context()
    replies = server.send_aux_request(None, "add", Shareable({"x": 1}), LONG, fl_ctx)
    assert {name: reply["y"] for name, reply in replies.items()} == {"site-1": 2, "site-2": 2}
    each = {"site-1": Shareable({"x": 1}), "site-2": Shareable({"x": 5})}
    replies = server.multicast_aux_requests("add", each, LONG, fl_ctx)
    assert [replies[name]["y"] for name in each] == [2, 6]
    heard: list[int] = []

    def hear(topic: str, request: Shareable, fl_ctx: FLContext) -> None:
        heard.append(request["x"])

    one.register_aux_message_handler("hear", hear)
    assert server.fire_and_forget_aux_request("site-1", "hear", Shareable({"x": 3}), fl_ctx) == {"site-1": ""}
    until(lambda: heard == [3])


def test_streams_through_the_engine(sites: Sites) -> None:
    server, site = sites.star(1)
    factory, ends = Collectors(), Ends()
    chunks: list[Any] = []

    def consumed(reply: Any, stream_ctx: Any, fl_ctx: FLContext, a: int) -> None:
        chunks.append(reply[0])

    server.register_stream_processing("c", "t", factory, ends, consumed_cb=consumed, a=1)
    result = site.stream_objects("c", "t", {"x": 1}, ["server"], Judge(2), site.new_context(), optional=True)
    assert result == (ReturnCode.OK, True)
    ends.wait()
    assert (ends.kwargs, chunks) == ([{"a": 1}], [True, False])
    assert site.streamer.stream_no_wait("c", "t", {}, ["server"], Judge(2), site.new_context()).result(LONG)[1] is True
    site.shutdown_streamer()
    with pytest.raises(RuntimeError):
        site.stream_objects("c", "t", {}, ["server"], Judge(2), site.new_context())
