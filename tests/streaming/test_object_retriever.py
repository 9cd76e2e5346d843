"""Objects that are retrieved between real cells: the check lines R01, R02, R04, R05, R07 of the reference "flare"."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from tests.streaming.retrievers import Asking, Countdown, pair, start
from tests.streaming.sites import Numbers, Sites
from tests.system.federation import LONG, Gate, until
from zmqfl import Message
from zmqfl.context.event_type import EventType
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.keys import FLContextKey
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable
from zmqfl.errors import ArgumentError, EncodeError, WouldDeadlockError
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.contracts import StreamContext
from zmqfl.streaming.object_retriever import ObjectRetriever
from zmqfl.streaming.retrievals import ID_KEY

OK, ABORTED = ReturnCode.OK, ReturnCode.TASK_ABORTED


def ask(retriever: Countdown, engine: CellEngine, site: str, count: Any = 3, timeout: float = LONG) -> Any:
    with engine.new_context() as fl_ctx:
        return retriever.retrieve(site, fl_ctx, timeout, count=count)


def why(retriever: Countdown, engine: CellEngine, site: str, count: Any = 3, timeout: float = LONG) -> Any:
    with engine.new_context() as fl_ctx:
        retrieved = retriever.fetch(site, fl_ctx, timeout, {"count": count})
    return retrieved.rc, retrieved.reason


def held(gate: Gate, at: int = 0) -> Any:
    """Stops at a number until the gate is open."""
    return lambda number: gate(Message(payload=number)) if number == at else None


# -- good ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asks", "gives"),
    [
        ("site-2", "server"), ("server", "site-2"), ("site-2", "relay.site-1"), ("relay.site-1", "site-2"),
        ("server", "relay.site-1"), ("relay.site-1", "server"),
    ],
)  # fmt: skip
def test_ret_R01_every_direction(sites: Sites, asks: str, gives: str) -> None:
    engines = sites.tree()
    mine, theirs = pair(engines[asks], engines[gives])
    assert ask(mine, engines[asks], gives) == (OK, [0, 1, 2])
    assert theirs.targets == [asks]
    assert theirs.validated == [{"count": 3}]
    assert mine.factory.returned == 1


def test_ret_R01_the_server_under_another_name(sites: Sites) -> None:
    root = sites.federation.start("hub")
    engine, other = sites.engine(root, identity_name="project"), sites.engine(sites.federation.start("a", root, None))
    mine, theirs = pair(engine, other)
    assert ask(mine, engine, "a") == (OK, [0, 1, 2])  # it calls itself "project", and no cell is called so
    assert ask(theirs, other, "server") == (OK, [0, 1, 2])
    assert ask(theirs, other, "hub", 1) == (OK, [0])


def test_both_ask_each_other_and_many_at_once(sites: Sites) -> None:
    server, site = sites.star(1)
    mine, theirs = pair(server, site)
    asking = [Asking(lambda n=n: ask(mine, server, "site-1", n)) for n in range(1, 9)]  # type: ignore[misc]
    asking += [Asking(lambda n=n: ask(theirs, site, "server", n)) for n in range(1, 9)]  # type: ignore[misc]
    assert [each.end() for each in asking] == [(OK, list(range(n))) for n in range(1, 9)] * 2
    assert len(mine._retrievals) == len(theirs._retrievals) == 0


def test_public_props_and_names_of_the_cells(sites: Sites) -> None:
    server, site = sites.star(1)
    seen: list[Any] = []

    class Curious(Countdown):
        def validate_request(self, request: Shareable, fl_ctx: FLContext) -> tuple[str, Any]:
            self.look("request", fl_ctx)
            return super().validate_request(request, fl_ctx)

        def do_stream(
            self, target: str, request: Shareable, fl_ctx: FLContext, stream_ctx: StreamContext, validated_data: Any
        ) -> Any:
            self.look("stream", fl_ctx)
            contexts.append(fl_ctx)
            return super().do_stream(target, request, fl_ctx, stream_ctx, validated_data)

        def look(self, what: str, fl_ctx: FLContext) -> None:
            peer = fl_ctx.get_peer_context()
            assert peer is not None
            names = fl_ctx.get_identity_name(), fl_ctx.get_prop(FLContextKey.PEER_FQCN)
            seen.append((what, *names, peer.get_identity_name(), peer.get_prop("round")))
            contexts.append(fl_ctx)

    contexts: list[FLContext] = []
    mine, _ = start(server, Curious()), start(site, Curious())
    with server.new_context() as fl_ctx:
        fl_ctx.set_prop("round", 7, private=False, sticky=False)
        assert mine.retrieve("site-1", fl_ctx, LONG, count=1) == (OK, [0])
    assert seen == [("request", "site-1", "server", "server", 7), ("stream", "site-1", "server", "server", 7)]
    assert contexts[0] is not contexts[1]  # each thread has a context of its own


def test_program_without_events(sites: Sites) -> None:
    server, site = sites.star(1)
    mine, theirs = Countdown(), Countdown()
    for retriever, engine in (mine, server), (theirs, site):
        retriever.register(engine.new_context())
        retriever.register(engine.new_context())  # again
    assert ask(mine, server, "site-1") == (OK, [0, 1, 2])


# -- bad ends ----------------------------------------------------------------------------------------------------------


def test_ret_R02_a_refusal_comes_at_once(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    server, site = sites.star(1)
    mine, theirs = pair(server, site)
    assert ask(mine, server, "site-1", "x") == (ReturnCode.BAD_REQUEST_DATA, None)
    assert "nothing from site-1: BAD_REQUEST_DATA: count must be an int" in caplog.text
    assert why(mine, server, "site-1", "raise") == (ReturnCode.EXECUTION_EXCEPTION, "KeyError: 'no such count'")
    assert theirs.targets == []
    assert len(mine._retrievals) == 0


def test_ret_R02_no_such_retriever_or_site(sites: Sites) -> None:
    server, _ = sites.star(1)
    mine = start(server, Countdown())
    code, reason = why(mine, server, "site-1")
    assert (code, reason) == (
        ReturnCode.TOPIC_UNKNOWN, "no aux handler for topic 'Countdown:Countdown' at site-1",
    )  # fmt: skip
    assert ask(mine, server, "nobody")[0] == ReturnCode.ERROR
    assert len(mine._retrievals) == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"from_site": 3}, "from_site"), ({"from_site": ""}, "from_site"), ({"timeout": 0}, "timeout"),
        ({"timeout": "5"}, "timeout"), ({"fl_ctx": None}, "fl_ctx"), ({"_rtr_tx_id_": 1}, "_rtr_tx_id_"),
    ],
)  # fmt: skip
def test_arguments(sites: Sites, arguments: dict[str, Any], error: str) -> None:
    [server] = sites.star(0)
    mine = start(server, Countdown())
    with pytest.raises(ArgumentError, match=error):
        mine.retrieve(**{"from_site": "server", "fl_ctx": server.new_context(), "timeout": 1.0, **arguments})
    assert len(mine._retrievals) == 0


def test_attributes_that_cannot_travel(sites: Sites) -> None:
    [server] = sites.star(0)
    mine = start(server, Countdown())
    with pytest.raises(EncodeError):
        ask(mine, server, "server", threading.Lock())
    assert len(mine._retrievals) == 0


def test_inside_a_loop(sites: Sites) -> None:
    server, site = sites.star(1)
    mine, theirs = pair(server, site)

    async def wrong() -> None:
        ask(mine, server, "site-1")

    with pytest.raises(WouldDeadlockError):
        asyncio.run(wrong())
    assert theirs.validated == []  # nobody was asked
    assert len(mine._retrievals) == 0


def test_ret_R05_the_provider_fails_in_the_middle(sites: Sites) -> None:
    server, site = sites.star(1)

    def fail(number: int) -> None:
        if number == 2:
            raise OSError("the disk is gone")

    mine, theirs = pair(server, site, before=fail)
    assert why(mine, server, "site-1", 5) == (ReturnCode.EXECUTION_EXCEPTION, "OSError: the disk is gone")
    assert ask(mine, server, "site-1", 2) == (OK, [0, 1])
    until(lambda: len(theirs.ended) == 2)


def test_ret_R05_the_provider_fails_before_it_begins(sites: Sites) -> None:
    server, site = sites.star(1)

    class Broken(Countdown):
        def do_stream(self, *_: Any) -> Any:
            if self.topic == "raises":
                raise OSError("the disk is gone")
            return {"code": ReturnCode.SERVER_NOT_READY, "pair": (ReturnCode.ERROR, False), "no": False}[self.topic]

    ends = {}
    for topic in "raises", "code", "pair", "no":
        mine, _ = start(server, Broken(topic)), start(site, Broken(topic))
        ends[topic] = why(mine, server, "site-1")
    general = "the stream failed; the log there says why"
    assert ends == {
        "raises": (ReturnCode.EXECUTION_EXCEPTION, "OSError: the disk is gone"),
        "code": (ReturnCode.SERVER_NOT_READY, general), "pair": (ReturnCode.ERROR, general),
        "no": (ReturnCode.ERROR, general),
    }  # fmt: skip


def test_ret_R05_the_provider_dies(sites: Sites) -> None:
    server, site = sites.star(1)
    gate = Gate()
    mine, _ = pair(server, site, before=held(gate, 2))
    asking = Asking(lambda: ask(mine, server, "site-1"))
    gate.wait_entered()
    closing = threading.Thread(target=site.get_cell().close, args=(0,))
    closing.start()
    code, data = asking.end()
    gate.open()
    closing.join(LONG)
    assert code in (ReturnCode.COMMUNICATION_ERROR, ABORTED)
    assert data is None


def test_a_failure_here_ends_it_on_both_sides(sites: Sites) -> None:
    server, site = sites.star(1)

    def full(number: int) -> None:
        raise OSError("full")

    mine, theirs = start(server, Countdown(taken=full)), start(site, Countdown())
    assert ask(mine, server, "site-1") == (ReturnCode.EXECUTION_EXCEPTION, None)
    until(lambda: theirs.ended == [ReturnCode.ERROR])


def test_a_result_that_cannot_be_had(sites: Sites) -> None:
    server, site = sites.star(1)

    class Broken(Countdown):
        def get_result(self, stream_ctx: StreamContext) -> Any:
            raise KeyError("numbers")

    mine, _ = start(server, Broken()), start(site, Broken())
    assert why(mine, server, "site-1") == (ReturnCode.EXECUTION_EXCEPTION, "KeyError: 'numbers'")


def test_who_gives_up_tells_the_provider(sites: Sites) -> None:
    """It has not even begun to send, and stops nevertheless."""
    server, site = sites.star(1)
    begun, told = threading.Event(), threading.Event()

    class Patient(Countdown):
        def do_stream(
            self, target: str, request: Shareable, fl_ctx: FLContext, stream_ctx: StreamContext, validated_data: Any
        ) -> Any:
            signal = fl_ctx.get_run_abort_signal()
            assert signal is not None
            begun.set()
            if signal.wait(LONG):
                told.set()
            return super().do_stream(target, request, fl_ctx, stream_ctx, validated_data)

    mine, theirs = start(server, Patient()), start(site, Patient())
    assert ask(mine, server, "site-1", timeout=1) == (ReturnCode.TIMEOUT, None)
    assert begun.wait(LONG)
    assert told.wait(LONG)
    until(lambda: theirs.ended == [ABORTED])
    assert len(mine._retrievals) == 0
    assert theirs._service._wishes == {}


def test_who_gives_up_in_the_middle_takes_nothing_more(sites: Sites) -> None:
    server, site = sites.star(1)
    gate = Gate()
    mine, theirs = pair(server, site, before=held(gate, 3))
    assert ask(mine, server, "site-1", 9, timeout=0.3) == (ReturnCode.TIMEOUT, None)
    gate.open()
    until(lambda: theirs.ended == [ABORTED])
    until(lambda: mine.factory.returned == 1)


@pytest.mark.parametrize("where", ["here", "there"])
def test_the_run_is_aborted(sites: Sites, where: str) -> None:
    server, site = sites.star(1)
    gate = Gate()
    mine, theirs = pair(server, site, before=held(gate, 1))
    asking = Asking(lambda: ask(mine, server, "site-1"))
    gate.wait_entered()
    (server if where == "here" else site).abort_signal.trigger()
    if where == "here":
        assert asking.end() == (ABORTED, None)  # without waiting for the other site
    gate.open()
    assert asking.end() == (ABORTED, None)
    until(lambda: theirs.ended == [ABORTED])
    assert ask(mine, server, "site-1") == (ABORTED, None)


def test_the_run_is_aborted_before_the_site_has_replied(sites: Sites) -> None:
    server, site = sites.star(1)
    gate = Gate()

    class Slow(Countdown):
        def validate_request(self, request: Shareable, fl_ctx: FLContext) -> tuple[str, Any]:
            gate(Message(payload=0))
            return super().validate_request(request, fl_ctx)

    mine, theirs = start(server, Slow()), start(site, Slow())
    asking = Asking(lambda: ask(mine, server, "site-1"))
    gate.wait_entered()
    server.abort_signal.trigger()
    assert asking.end() == (ABORTED, None)
    gate.open()
    until(lambda: theirs.validated and not theirs._service._wishes)
    assert mine.factory.returned == 0  # its stream came too late and was refused, if it began at all
    assert len(mine._retrievals) == 0


# -- who may answer ----------------------------------------------------------------------------------------------------


def test_only_the_cell_that_was_asked_can_answer(sites: Sites) -> None:
    """A third cell knows the id, and tries to answer, to end and to give up what is not its own."""
    server, site, foreign = sites.star(2)
    gate = Gate()
    mine, theirs = pair(server, site, before=held(gate))
    forger = start(foreign, Countdown())
    asking = Asking(lambda: ask(mine, server, "site-1"))
    gate.wait_entered()
    [id] = mine._retrievals._by_id
    fl_ctx = foreign.new_context()
    code, _ = foreign.stream_objects("Countdown", "Countdown", {ID_KEY: id}, ["server"], Numbers(9), fl_ctx)
    assert code == ReturnCode.ERROR
    for kind, target in ("failed", "server"), ("give up", "site-1"):
        notice = Shareable({ID_KEY: id})
        notice.set_header("retrieval", kind)
        notice.set_return_code(ReturnCode.ERROR)
        [reply] = foreign.send_aux_request(target, forger._aux_topic, notice, LONG, fl_ctx).values()
        assert reply.get_return_code() == OK
    gate.open()
    assert asking.end() == (OK, [0, 1, 2])
    until(lambda: theirs.ended == [OK])


@pytest.mark.parametrize("stream_ctx", [{}, {ID_KEY: "unknown"}, {ID_KEY: 3}, {ID_KEY: ["x"]}])
def test_a_stream_that_nobody_asked_for(sites: Sites, stream_ctx: dict[str, Any]) -> None:
    server, site = sites.star(1)
    mine, _ = pair(server, site)
    code, _ = site.stream_objects("Countdown", "Countdown", stream_ctx, ["server"], Numbers(3), site.new_context())
    assert code == ReturnCode.ERROR
    assert mine.factory.returned == 0


def test_the_same_id_twice(sites: Sites) -> None:
    server, site = sites.star(1)
    gate = Gate()
    mine, theirs = pair(server, site, before=held(gate))
    asking = Asking(lambda: ask(mine, server, "site-1"))
    gate.wait_entered()
    [id] = mine._retrievals._by_id
    fl_ctx = server.new_context()
    for request in Shareable({ID_KEY: id, "count": 3}), Shareable({ID_KEY: "", "count": 3}), Shareable({"count": 3}):
        [reply] = server.send_aux_request(["site-1"], mine._aux_topic, request, LONG, fl_ctx).values()
        assert reply.get_return_code() == ReturnCode.BAD_REQUEST_DATA
    gate.open()
    assert asking.end() == (OK, [0, 1, 2])
    assert theirs.targets == ["server"]


# -- two at one site ---------------------------------------------------------------------------------------------------


def test_ret_R07_two_topics(sites: Sites) -> None:
    server, site = sites.star(1)
    mine = [start(server, Countdown(topic)) for topic in ("a", "b")]
    theirs = [start(site, Countdown(topic)) for topic in ("a", "b")]
    assert ask(mine[0], server, "site-1", 1) == (OK, [0])
    assert ask(mine[1], server, "site-1", 2) == (OK, [0, 1])
    assert [each.validated for each in theirs] == [[{"count": 1}], [{"count": 2}]]


def test_ret_R07_the_same_topic_twice(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    server, site = sites.star(1)

    class Listener(FLComponent):
        heard: list[Any]

        def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
            if event_type == EventType.FATAL_SYSTEM_ERROR:
                self.heard.append(fl_ctx.get_prop(FLContextKey.EVENT_DATA))

    listener = Listener()
    listener.heard = []
    server.add_component("listener", listener)
    first, _ = pair(server, site)
    second = start(server, Countdown(), "second")
    said = "a Countdown with topic 'Countdown' is at this site already; give each a topic of its own"
    for _ in range(2):
        with pytest.raises(ValueError, match=said):
            ask(second, server, "site-1")
    with pytest.raises(ValueError, match=said):
        second.register(server.new_context())
    with pytest.raises(ValueError, match=said):
        second.handle_event(EventType.START_RUN, server.new_context())
    assert said in caplog.text
    assert said in listener.heard[0]  # the run ends by it
    assert ask(first, server, "site-1") == (OK, [0, 1, 2])


def test_it_must_be_started(sites: Sites) -> None:
    server, site = sites.star(1)
    with pytest.raises(RuntimeError, match="was not started at this site"):
        ask(Countdown(), server, "site-1")
    mine = start(server, Countdown())
    with pytest.raises(RuntimeError, match="was not started at this site"):
        ask(mine, site, "server")


@pytest.mark.parametrize("engine", [None, object()])
def test_an_engine_that_does_not_stream(engine: Any) -> None:
    retriever = Countdown()
    with pytest.raises(RuntimeError, match="needs one that streams and has aux messages"):
        retriever.register(FLContextManager(engine).new_context())


def test_names() -> None:
    assert (Countdown().channel, Countdown().topic, Countdown("t").topic) == ("Countdown", "Countdown", "t")
    with pytest.raises(ArgumentError, match="topic"):
        Countdown("")
    with pytest.raises(TypeError, match="abstract"):
        ObjectRetriever()  # type: ignore[abstract]


def test_other_events_are_nothing_to_it(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    [server] = sites.star(0)
    server.add_component("countdown", Countdown())
    with caplog.at_level(logging.WARNING):
        server.fire_event(EventType.END_RUN, server.new_context())
    assert caplog.text == ""
