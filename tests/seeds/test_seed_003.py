"""Seed 003, FLContext: its code blocks, names and promises. A test per line of the check list.

Lines 7 and 8, and what line 9 says of tasks, need the run of a federation; here requests between components carry the
public props of both sides, and a stream those of its sender.
"""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.seeds.test_seed_000 import REQUIRED, parameters
from tests.streaming.sites import Judge, Sites
from tests.system.federation import LONG, until
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import AppConstants, FLContextKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable
from zmqfl.context.workspace import Workspace
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.contracts import ConsumerFactory, ObjectConsumer, StreamContext

JOB = "job-7f3c"
PERMANENT = {"__run_num__": JOB}


def pair(sites: Sites, **options: Any) -> tuple[CellEngine, CellEngine]:
    """A server and a client of one job."""
    server = sites.federation.start("server")
    client = sites.federation.start("site-1", server, None)
    return tuple(sites.engine(cell, job_id=JOB, **options) for cell in (server, client))  # type: ignore[return-value]


def ask(client: CellEngine, fl_ctx: FLContext) -> Shareable:
    """ "Ask for the next task", as a request between components."""
    return client.send_aux_request("server", "get_task", Shareable(), LONG, fl_ctx)["server"]


# -- 003.1, 003.2: props -----------------------------------------------------------------------------------------------


def test_003_1_a_private_prop_stays_in_this_process_and_a_public_one_goes_to_the_peer(sites: Sites) -> None:
    server, client = pair(sites)
    seen: list[dict[str, Any]] = []

    def handle(topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        peer = fl_ctx.get_peer_context()
        assert peer is not None
        seen.append(peer.get_all_public_props())
        return Shareable()

    server.register_aux_message_handler("get_task", handle)
    with client.new_context() as fl_ctx:
        fl_ctx.set_prop("private", 1, private=True, sticky=False)
        fl_ctx.set_prop("public", 2, private=False, sticky=False)
        ask(client, fl_ctx)
        assert (fl_ctx.get_prop("private"), fl_ctx.get_prop("public")) == (1, 2)
    assert seen == [{**PERMANENT, "__identity_name__": "site-1", "public": 2}]


def test_003_1_a_sticky_prop_is_in_all_future_contexts_and_another_in_this_one_only(sites: Sites) -> None:
    _, client = pair(sites)
    with client.new_context() as fl_ctx:
        fl_ctx.set_prop("sticky", "kept", sticky=True)
        fl_ctx.set_prop("fleeting", "gone", sticky=False)
    for _ in range(2):
        later = client.new_context()
        assert (later.get_prop("sticky"), later.get_prop("fleeting")) == ("kept", None)


def test_003_2_set_get_and_remove_are_as_the_seed_writes_them() -> None:
    set_prop = {"self": REQUIRED, "key": REQUIRED, "value": REQUIRED, "private": True, "sticky": True}
    assert parameters(FLContext.set_prop) == set_prop
    assert parameters(FLContext.get_prop) == {"self": REQUIRED, "key": REQUIRED, "default": None}
    assert list(parameters(FLContext.remove_prop))[:2] == ["self", "key"]
    assert list(inspect.signature(FLContext.remove_prop).parameters.values())[1].default is REQUIRED


def test_003_2_a_value_is_updated_and_attributes_never_change(sites: Sites) -> None:
    _, client = pair(sites)
    fl_ctx = client.new_context()
    assert fl_ctx.set_prop("x", 1, private=False, sticky=True)
    assert fl_ctx.set_prop("x", 2, private=False, sticky=True)
    for private, sticky in ((True, True), (False, False), (True, False)):
        assert not fl_ctx.set_prop("x", 3, private=private, sticky=sticky)
    assert fl_ctx.get_prop_detail("x") == {"value": 2, "private": False, "sticky": True}
    assert (fl_ctx.get_prop("y"), fl_ctx.get_prop("y", 5)) == (None, 5)


@pytest.mark.parametrize("key", [None, 1, b"x", ("x",)])
def test_003_2_names_are_strings(sites: Sites, key: Any) -> None:
    with pytest.raises(ValueError, match="must be a str"):
        FLContext().set_prop(key, 1)


def test_003_2_a_prop_is_removed_from_this_context_only_and_reserved_ones_never(sites: Sites) -> None:
    _, client = pair(sites)
    with client.new_context() as fl_ctx:
        fl_ctx.set_prop("x", 1)
    fl_ctx = client.new_context()
    fl_ctx.remove_prop("x")
    for name in ("__engine__", "__identity_name__", "__run_num__"):
        fl_ctx.remove_prop(name)
        assert fl_ctx.get_prop(name) is not None
    assert fl_ctx.get_prop("x") is None
    assert client.new_context().get_prop("x") == 1


# -- 003.3: permanent props --------------------------------------------------------------------------------------------


def test_003_3_engine_job_and_identity_are_in_each_context(sites: Sites, tmp_path: Path) -> None:
    server, client = pair(sites, workspace=Workspace(str(tmp_path), "site"))
    for engine, name in ((server, "server"), (client, "site-1")):
        fl_ctx = engine.new_context()
        assert fl_ctx.get_engine() is engine
        assert (fl_ctx.get_job_id(), fl_ctx.get_identity_name()) == (JOB, name)
        assert fl_ctx.get_peer_context() is None, "it works on no message of a peer"
        assert fl_ctx.get_workspace() is engine.get_workspace()


@pytest.mark.parametrize("key", ["APP_ROOT", "ARGS", "WORKSPACE_ROOT", "WORKSPACE_OBJECT", "SECURE_MODE"])
def test_003_3_the_names_of_what_a_run_adds(key: str) -> None:
    name = getattr(FLContextKey, key)
    assert name == f"__{key.lower()}__"
    fl_ctx = FLContext()
    assert fl_ctx.get_prop(name, True) is True, "the default, as the seed asks for SECURE_MODE"


# -- 003.4, 003.5: the life of a context -------------------------------------------------------------------------------


def test_003_4_sticky_props_go_back_when_the_context_is_finalised_and_not_before(sites: Sites) -> None:
    _, client = pair(sites)
    with client.new_context() as ctx:
        ctx.set_prop("x", 1)
        during = client.new_context()
        assert during.get_prop("x") is None
    assert during.get_prop("x") is None, "it was created before"
    assert client.new_context().get_prop("x") == 1
    with client.new_context() as ctx:
        ctx.set_prop("x", 2)
        assert client.new_context().get_prop("x") == 1
    assert client.new_context().get_prop("x") == 2


def test_003_4_components_share_data_through_the_context_that_is_passed_to_them(sites: Sites) -> None:
    _, client = pair(sites)

    def one(fl_ctx: FLContext) -> None:
        fl_ctx.set_prop("made", [1, 2])

    def other(fl_ctx: FLContext) -> Any:
        return fl_ctx.get_prop("made")

    with client.new_context() as fl_ctx:
        one(fl_ctx)
        assert other(fl_ctx) == [1, 2]


def test_003_5_an_ad_hoc_context_writes_back_also_after_an_exception(sites: Sites) -> None:
    _, client = pair(sites)

    def processing_logic(ctx: FLContext) -> None:
        with ctx:
            ctx.set_prop("x", 1)
            raise KeyError("x")

    with pytest.raises(KeyError):
        processing_logic(client.new_context())
    assert client.new_context().get_prop("x") == 1


def test_003_5_one_context_per_thread(sites: Sites) -> None:
    _, client = pair(sites)
    together = threading.Barrier(8, timeout=LONG)

    def work(number: int) -> Any:
        ctx = client.new_context()
        with ctx:
            ctx.set_prop("mine", number, sticky=False)
            ctx.set_prop(f"of-{number}", number)
            together.wait()
            return ctx.get_prop("mine")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))
    fl_ctx = client.new_context()
    assert [fl_ctx.get_prop(f"of-{number}") for number in range(8)] == list(range(8))


# -- 003.6, 003.9: the peer context ------------------------------------------------------------------------------------


def test_003_6_the_shared_context_is_read_as_the_seed_reads_it(sites: Sites) -> None:
    server, client = pair(sites)
    read: dict[str, Any] = {}

    def handle(topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        shared_context = fl_ctx.get_prop(FLContextKey.PEER_CONTEXT)
        client_name = shared_context.get_prop(FLContextKey.CLIENT_NAME)
        current_round = shared_context.get_prop(AppConstants.CURRENT_ROUND)
        number_steps = shared_context.get_prop(AppConstants.NUM_STEPS_CURRENT_ROUND)
        read.update(name=client_name, round=current_round, steps=number_steps)
        read.update(same=shared_context is fl_ctx.get_peer_context())
        return Shareable()

    server.register_aux_message_handler("get_task", handle)
    with client.new_context() as fl_ctx:
        fl_ctx.set_prop(FLContextKey.CLIENT_NAME, "site-1", private=False, sticky=False)
        fl_ctx.set_prop(AppConstants.CURRENT_ROUND, 3, private=False, sticky=False)
        fl_ctx.set_prop(AppConstants.NUM_STEPS_CURRENT_ROUND, 40, private=False, sticky=False)
        ask(client, fl_ctx)
    assert read == {"name": "site-1", "round": 3, "steps": 40, "same": True}


def test_003_6_the_peer_context_is_read_only(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    server, client = pair(sites)
    after: list[Any] = []

    def handle(topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        peer = fl_ctx.get_peer_context()
        assert peer is not None
        assert peer.is_frozen
        after.append((peer.set_prop("x", 2, private=False, sticky=False), peer.set_prop("new", 1)))
        peer.remove_prop("x")
        peer.put("x", 3, private=False, sticky=False)
        after.append(peer.get_all_public_props())
        return Shareable()

    server.register_aux_message_handler("get_task", handle)
    with client.new_context() as fl_ctx:
        fl_ctx.set_prop("x", 1, private=False, sticky=False)
        assert ask(client, fl_ctx).get_return_code() == ReturnCode.OK
    assert after == [(False, False), {**PERMANENT, "__identity_name__": "site-1", "x": 1}]
    assert "read-only" in caplog.text


def test_003_9_and_ctx_C12_the_public_props_of_both_sides_are_exchanged_and_no_private_ones(sites: Sites) -> None:
    server, client = pair(sites)
    at_server: dict[str, Any] = {}

    def handle(topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        peer = fl_ctx.get_peer_context()
        assert peer is not None
        at_server.update(job=peer.get_job_id(), name=peer.get_identity_name(), props=peer.get_all_public_props())
        assert fl_ctx.get_identity_name() == "server", "X is the server's, and holds the other"
        fl_ctx.set_prop("added", "by a component", private=False, sticky=False)
        fl_ctx.set_prop("kept back", 1, sticky=False)
        return Shareable()

    server.register_aux_message_handler("get_task", handle)
    with server.new_context() as fl_ctx:
        fl_ctx.set_prop("of the server", 1, private=False)
    with client.new_context() as fl_ctx:
        fl_ctx.set_prop("of the client", 2, private=False)
        fl_ctx.set_prop("secret", 3)
        reply = ask(client, fl_ctx)
    assert at_server == {
        "job": JOB, "name": "site-1", "props": {**PERMANENT, "__identity_name__": "site-1", "of the client": 2},
    }  # fmt: skip
    assert reply.get_peer_props() == {
        **PERMANENT, "__identity_name__": "server", "of the server": 1, "added": "by a component",
    }  # fmt: skip


class Taking(ConsumerFactory, ObjectConsumer):
    """Remembers the peer context of each chunk."""

    def __init__(self) -> None:
        self.peers: list[FLContext | None] = []

    def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> ObjectConsumer:
        return self

    def consume(self, shareable: Shareable, stream_ctx: StreamContext, fl_ctx: FLContext) -> tuple[bool, Any]:
        self.peers.append(fl_ctx.get_peer_context())
        return True, Shareable()

    def finalize(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        pass


def test_003_9_and_ctx_C12_a_stream_brings_the_public_props_of_its_sender(sites: Sites) -> None:
    server, client = pair(sites)
    taking = Taking()
    server.register_stream_processing("c", "t", taking)
    with client.new_context() as fl_ctx:
        fl_ctx.set_prop("round", 3, private=False)
        fl_ctx.set_prop("secret", 3)
        assert client.stream_objects("c", "t", {}, ["server"], Judge(2), fl_ctx)[0] == ReturnCode.OK
    assert len(taking.peers) == 2
    for peer in taking.peers:
        assert peer is not None
        assert peer.is_frozen
        assert peer.get_all_public_props() == {**PERMANENT, "__identity_name__": "site-1", "round": 3}


# -- 003.10 ------------------------------------------------------------------------------------------------------------


def test_003_10_and_ctx_C13_what_cannot_be_serialised_costs_a_warning_and_never_the_message(
    sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = pair(sites)
    server.register_aux_message_handler(
        "get_task", lambda topic, request, fl_ctx: Shareable({"props": request.get_peer_props()})
    )
    with client.new_context() as fl_ctx:
        fl_ctx.set_prop("lock", threading.Lock(), private=False, sticky=False)
        fl_ctx.set_prop("good", 1, private=False, sticky=False)
        reply = ask(client, fl_ctx)
    assert reply.get_return_code() == ReturnCode.OK
    assert reply["props"] == {**PERMANENT, "__identity_name__": "site-1", "good": 1}
    assert "public prop 'lock' stays behind" in caplog.text


def test_003_10_several_contexts_live_at_once_and_each_has_its_own_peer(sites: Sites) -> None:
    server, *clients = sites.star(4)
    together = threading.Barrier(len(clients), timeout=LONG)
    seen: set[tuple[str, int]] = set()

    def handle(topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        together.wait()  # all of them are in a handler now
        peer = fl_ctx.get_peer_context()
        assert peer is not None
        seen.add((peer.get_identity_name(), peer.get_prop("number")))
        return Shareable()

    def work(number: int) -> str:
        with clients[number].new_context() as fl_ctx:
            fl_ctx.set_prop("number", number, private=False, sticky=False)
            return ask(clients[number], fl_ctx).get_return_code()

    server.register_aux_message_handler("get_task", handle)
    with ThreadPoolExecutor(len(clients)) as pool:
        assert set(pool.map(work, range(len(clients)))) == {ReturnCode.OK}
    assert seen == {(f"site-{number + 1}", number) for number in range(len(clients))}


# -- on the plane (design 26) ------------------------------------------------------------------------------------------


def test_public_sticky_props_reach_every_peer_and_no_private_or_fleeting_one(sites: Sites) -> None:
    server, client = pair(sites, publish_props=True)
    with client.new_context() as fl_ctx:
        fl_ctx.set_prop("round", 3, private=False)
        fl_ctx.set_prop("fleeting", 3, private=False, sticky=False)
        fl_ctx.set_prop("secret", 3)
        assert server.get_cell().props.of("site-1") == {}, "not before it is finalised"
    until(lambda: server.get_cell().props.of("site-1") == {"round": 3})
