"""Containers that are pushed, between real cells: the check lines P19 and P20 of the reference "flare"."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from tests.streaming.sites import Ends, Sites
from tests.streaming.test_file_objects import Loop
from tests.system.federation import LONG, Gate
from tests.wire.values import assert_same
from zmqfl import Message
from zmqfl.cell.container_streams import ContainerConsumer, ContainerProducer
from zmqfl.cell.containers import SIZE_KEY, TYPE_KEY
from zmqfl.cell.streams import Chunk
from zmqfl.config import CellConfig
from zmqfl.context.fl_context import FLContextManager
from zmqfl.context.return_code import ReturnCode
from zmqfl.errors import EncodeError, SourceChangedError
from zmqfl.protocol.commands import Outcome
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.container_streamer import ContainerStreamer
from zmqfl.wire.codecs import RECORDS

OK, ERROR, ABORTED = ReturnCode.OK, ReturnCode.ERROR, ReturnCode.TASK_ABORTED
MIB = 1024 * 1024

CONTAINERS = [
    {"w": np.arange(300_000.0), "b": np.zeros((3, 4), "<f4"), "epoch": 3, ("a", 1): {"nested": [1, (2, 3)]}},
    [1, "a", None, np.float32(1.5), [1, 2], b"x" * 100_000],
    {1, "a", (2, 3)},
    (1, [2], {"k": (3,)}),
    frozenset({1, 2.5, "x"}),
    OrderedDict([("z", 1), ("a", np.arange(5))]),
    deque([1, 2, 3], maxlen=5),
    deque([1, 2, 3]),
]


def receive(engines: Iterable[CellEngine]) -> dict[str, Ends]:
    """Have each engine receive containers of ("models", "best")."""
    ends = {}
    for engine in engines:
        ends[engine.get_cell().fqcn] = each = Ends()
        with engine.new_context() as fl_ctx:
            ContainerStreamer.register_stream_processing(fl_ctx, "models", "best", each, round=3)
    return ends


def send(engine: CellEngine, container: Any, targets: Any, **options: Any) -> tuple[ReturnCode, bool]:
    options.setdefault("entry_timeout", LONG)
    stream_ctx = options.pop("stream_ctx", {})
    with engine.new_context() as fl_ctx:
        return ContainerStreamer.stream_container("models", "best", stream_ctx, targets, container, fl_ctx, **options)


# -- good ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: type(container).__name__)
def test_push_P19_each_type_comes_out_the_same(sites: Sites, container: Any) -> None:
    server, site = sites.star(1)
    ends = receive([server])["server"]
    assert send(site, container, ["server"]) == (OK, True)
    [context] = ends.wait()
    got = ContainerStreamer.get_result(context)
    assert type(got) is type(container)
    assert getattr(got, "maxlen", None) == getattr(container, "maxlen", None)
    plain: Any = list if isinstance(container, deque) else dict if isinstance(container, OrderedDict) else type(got)
    assert_same(plain(got), plain(container))
    assert list(map(str, got)) == list(map(str, container)) or isinstance(container, set | frozenset)
    assert ContainerStreamer.get_type(context) == type(container).__name__
    assert ContainerStreamer.get_size(context) == len(container)
    assert (ContainerStreamer.get_rc(context), ends.kwargs) == (OK, [{"round": 3}])


@pytest.mark.parametrize("kind", [dict, list, set, tuple, frozenset, OrderedDict, deque, defaultdict])
def test_push_P19_empty_containers(sites: Sites, kind: type[Any]) -> None:
    server, site = sites.star(1)
    ends = receive([server])["server"]
    assert send(site, kind(), ["server"]) == (OK, True)
    got = ContainerStreamer.get_result(ends.wait()[0])
    assert type(got) is kind
    assert len(got) == 0


def test_push_P19_a_defaultdict_arrives_without_its_factory(sites: Sites) -> None:
    server, site = sites.star(1)
    ends = receive([server])["server"]
    assert send(site, defaultdict(list, a=[1]), ["server"]) == (OK, True)
    got = ContainerStreamer.get_result(ends.wait()[0])
    assert (type(got), got, got.default_factory) == (defaultdict, {"a": [1]}, None)


def test_push_P19_many_small_entries_are_few_chunks(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    server, site = sites.star(1)
    chunks: list[Chunk] = []
    consume = ContainerConsumer.consume

    def count(consumer: ContainerConsumer, chunk: Chunk) -> tuple[bool, Outcome]:
        chunks.append(chunk)
        return consume(consumer, chunk)

    monkeypatch.setattr(ContainerConsumer, "consume", count)
    ends = receive([server])["server"]
    container = {f"key-{number}": number for number in range(10_000)}
    assert send(site, container, ["server"]) == (OK, True)
    assert ContainerStreamer.get_result(ends.wait()[0]) == container
    assert len(chunks) == 1


def test_push_P19_big_entries_are_many_chunks_and_writable(sites: Sites) -> None:
    server, *engines = sites.star(3)
    ends = receive(engines)
    container = {"w": np.arange(MIB), "b": np.asfortranarray(np.arange(2.0 * MIB).reshape(1024, 2048)), "n": 1}
    assert send(server, container, list(ends)) == (OK, True)
    for each in ends.values():
        got = ContainerStreamer.get_result(each.wait()[0])
        assert_same(got, container)
        got["w"][0] = 7
    assert container["w"][0] == 0  # type: ignore[index]


@pytest.mark.parametrize(
    ("owner", "target"),
    [("server", "site-2"), ("site-2", "server"), ("site-2", "relay.site-1"), ("relay.site-1", "server")],
)
def test_push_P19_every_direction(sites: Sites, owner: str, target: str) -> None:
    engines = sites.tree()
    ends = receive([engines[target]])[target]
    container = {"w": np.arange(400_000), "n": 1}
    assert send(engines[owner], container, [target]) == (OK, True)
    assert_same(ContainerStreamer.get_result(ends.wait()[0]), container)
    assert ends.peers == [owner]


def test_the_owners_context_arrives_and_is_not_changed(sites: Sites) -> None:
    server, site = sites.star(1)
    ends = receive([server])["server"]
    stream_ctx = {"round": 3, SIZE_KEY: 99, "ContainerStreamer.result": "mine"}
    assert send(site, [1], "server", stream_ctx=stream_ctx) == (OK, True)
    [context] = ends.wait()
    assert (context["round"], context[SIZE_KEY], ContainerStreamer.get_result(context)) == (3, 1, [1])
    assert stream_ctx == {"round": 3, SIZE_KEY: 99, "ContainerStreamer.result": "mine"}
    assert send(site, [1], "server", stream_ctx=None, entry_timeout=5) == (OK, True)


# -- bad ends ----------------------------------------------------------------------------------------------------------


class Model(dict[str, int]):
    pass


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (np.zeros(3), r"numpy.ndarray is no container .*put it into a list or a dict"),
        ("text", r"builtins.str is no container that can be streamed \(dict, OrderedDict"),
        (b"x", "builtins.bytes is no container"),
        (None, "NoneType is no container"),
        (Model(a=1), r"test_container_streamer.Model would arrive as dict; convert it to one first"),
    ],
)
def test_push_P19_what_is_no_container(sites: Sites, wrong: Any, reason: str) -> None:
    [server] = sites.star(0)
    with pytest.raises(ValueError, match=reason):
        send(server, wrong, ["server"])
    with pytest.raises(TypeError, match=reason):
        send(server, wrong, ["server"])


def test_push_P19_an_entry_that_cannot_travel(sites: Sites) -> None:
    server, *engines = sites.star(2)
    ends = receive(engines)
    container = {"w": np.zeros(3 * MIB), "bad": {"x": [1, object()]}}
    with pytest.raises(
        EncodeError, match=r"entry 'bad' of the dict cannot be sent: payload\[1\]\['x'\]\[1\]: builtins.obj"
    ):
        send(server, container, list(ends))
    assert [each.contexts for each in ends.values()] == [[], []]  # it was found before anything was sent


def test_push_P19_an_entry_that_cannot_travel_any_more(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    server, *engines = sites.star(2)
    ends = receive(engines)
    late: list[Any] = [1]
    container = {"w": np.zeros(9 * MIB, np.uint8), "late": late}
    consume = ContainerConsumer.consume

    def change(consumer: ContainerConsumer, chunk: Chunk) -> tuple[bool, Outcome]:
        late[0] = object()
        return consume(consumer, chunk)

    monkeypatch.setattr(ContainerConsumer, "consume", change)
    with pytest.raises(EncodeError, match="entry 'late' of the dict cannot be sent"):
        send(server, container, list(ends))
    for each in ends.values():
        [context] = each.wait()
        assert (ContainerStreamer.get_rc(context), ContainerStreamer.get_result(context)) == (ABORTED, None)


@pytest.mark.parametrize("what", ["an entry more", "an array"])
def test_push_P19_a_dict_that_changes_meanwhile(sites: Sites, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    server, *engines = sites.star(2)
    ends = receive(engines)
    container = {number: np.zeros(MIB, np.uint8) for number in range(30)}
    consume = ContainerConsumer.consume

    def change(consumer: ContainerConsumer, chunk: Chunk) -> tuple[bool, Outcome]:
        if what == "an array":
            container[29][5] += 1
        else:
            container[99] = np.zeros(1, np.uint8)
        return consume(consumer, chunk)

    monkeypatch.setattr(ContainerConsumer, "consume", change)
    with pytest.raises(SourceChangedError, match="dict: was changed while it was sent"):
        send(server, container, list(ends))
    for each in ends.values():
        [context] = each.wait()
        assert (ContainerStreamer.get_rc(context), ContainerStreamer.get_result(context)) == (ABORTED, None)


def test_one_of_two_fails(sites: Sites, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    server, one, two = sites.star(2)
    ends = receive([one, two])
    consume = ContainerConsumer.consume
    broken = threading.Lock()
    assert broken.acquire()

    def fail(consumer: ContainerConsumer, chunk: Chunk) -> tuple[bool, Outcome]:
        if chunk.headers.get("last") and broken.acquire(blocking=False):
            raise KeyError("full")
        return consume(consumer, chunk)

    monkeypatch.setattr(ContainerConsumer, "consume", fail)
    broken.release()
    assert send(server, {"w": np.zeros(3 * MIB, np.uint8)}, list(ends)) == (ERROR, False)
    assert "KeyError" in caplog.text
    contexts = [each.wait()[0] for each in ends.values()]
    assert [ContainerStreamer.get_result(context) for context in contexts] == [None, None]
    assert {ContainerStreamer.get_rc(context) for context in contexts} == {ReturnCode.EXECUTION_EXCEPTION, ABORTED}


def test_the_run_is_aborted(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    server, site = sites.star(1)
    ends = receive([site])["site-1"]
    gate = Gate()
    consume = ContainerConsumer.consume

    def wait(consumer: ContainerConsumer, chunk: Chunk) -> tuple[bool, Outcome]:
        gate(Message(payload=0))
        return consume(consumer, chunk)

    monkeypatch.setattr(ContainerConsumer, "consume", wait)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(send(server, [bytes(MIB)] * 30, ["site-1"])))
    thread.start()
    gate.wait_entered()
    server.abort_signal.trigger()
    gate.open()
    thread.join(LONG)
    assert results == [(ABORTED, False)]
    [context] = ends.wait()
    assert (ContainerStreamer.get_rc(context), ContainerStreamer.get_result(context)) == (ABORTED, None)


@pytest.mark.parametrize("forged", ["threading.Thread", "os.system", "builtins.dict", "value", "", None, 3, ["dict"]])
def test_push_P20_a_forged_type_is_refused(
    sites: Sites, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, forged: Any
) -> None:
    server, site = sites.star(1)
    ends = receive([server])["server"]
    monkeypatch.setattr("zmqfl.cell.container_streams.facts_of", lambda value: {TYPE_KEY: forged, SIZE_KEY: 1})
    assert send(site, {"a": 1}, ["server"]) == (ERROR, False)
    assert "container of type" in caplog.text
    assert ends.contexts == []


@pytest.mark.parametrize("forged", ["threading.Thread", "os.system"])
def test_push_P20_through_a_relay(
    sites: Sites, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, forged: str
) -> None:
    engines = sites.tree()
    receive([engines["relay.site-1"]])
    monkeypatch.setattr("zmqfl.cell.container_streams.facts_of", lambda value: {TYPE_KEY: forged, SIZE_KEY: 1})
    assert send(engines["site-2"], {"a": 1}, ["relay.site-1"]) == (ERROR, False)
    assert f"container of type '{forged}'" in caplog.text


def test_a_container_above_the_limit_of_the_receiver(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    server = sites.engine(sites.federation.start("server", config=CellConfig(object_limit=MIB)))
    site = sites.engine(sites.federation.start("site-1", server.get_cell(), None))
    ends = receive([server])["server"]
    assert send(site, {"w": np.zeros(3 * MIB, np.uint8)}, ["server"]) == (ERROR, False)
    assert "are more than the 1048576 of `object_limit` here" in caplog.text
    [context] = ends.wait()
    assert ContainerStreamer.get_result(context) is None


def test_chunks_of_another_kind_are_refused(sites: Sites, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    server, site = sites.star(1)
    ends = receive([server])["server"]
    produce = ContainerProducer.produce

    def other(producer: ContainerProducer) -> Chunk | None:
        chunk = produce(producer)
        return None if chunk is None else Chunk(chunk.headers, RECORDS + 1, chunk.bodies)

    monkeypatch.setattr(ContainerProducer, "produce", other)
    assert send(site, [1], ["server"]) == (ERROR, False)
    assert "best takes containers and objects, and this is no chunk of one" in caplog.text
    assert ContainerStreamer.get_rc(ends.wait()[0]) == ReturnCode.BAD_REQUEST_DATA


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"entry_timeout": -1}, ValueError),
        ({"entry_timeout": "5"}, TypeError),
        ({"stream_ctx": [1]}, TypeError),
    ],
)
def test_arguments(sites: Sites, options: Any, error: type[Exception]) -> None:
    [server] = sites.star(0)
    with pytest.raises(error, match=next(iter(options))):
        send(server, [1], ["server"], **options)
    with pytest.raises(TypeError, match="stream_done_cb"):
        ContainerStreamer.register_stream_processing(server.new_context(), "a", "b", 3)


@pytest.mark.parametrize("engine", [None, object()])
def test_an_engine_that_does_not_stream(engine: Any) -> None:
    fl_ctx = FLContextManager(engine).new_context()
    with pytest.raises(RuntimeError, match="engine"):
        ContainerStreamer.register_stream_processing(fl_ctx, "c", "t")
    with pytest.raises(RuntimeError, match="engine"):
        ContainerStreamer.stream_container("c", "t", {}, ["x"], [1], fl_ctx)


@pytest.mark.parametrize("targets", [[], ["nobody"], ["bad..name"]])
def test_targets_that_are_none(sites: Sites, targets: list[str]) -> None:
    _, site = sites.star(1)
    assert send(site, [1], targets) == (ERROR, False)


def test_secure_and_optional_are_passed_on(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    _, site = sites.star(1)
    with caplog.at_level(logging.INFO, "zmqfl.streaming"):
        assert send(site, [1], [], optional=True) == (ERROR, False)
        assert caplog.text == ""


# -- engines that know no cells ----------------------------------------------------------------------------------------


def loop_send(engine: Loop, container: Any) -> tuple[ReturnCode, bool]:
    fl_ctx = engine.manager.new_context()
    return ContainerStreamer.stream_container("models", "best", {"round": 3}, ["me"], container, fl_ctx, secure=True)


@pytest.mark.parametrize("container", [*CONTAINERS, {}], ids=lambda container: type(container).__name__)
def test_push_P19_through_another_engine(container: Any) -> None:
    engine, contexts = Loop(), list[Any]()
    fl_ctx = engine.manager.new_context()
    ContainerStreamer.register_stream_processing(
        fl_ctx, "models", "best", lambda stream_ctx, fl_ctx, **kwargs: contexts.append((stream_ctx, kwargs)), more=1
    )
    assert loop_send(engine, container) == (OK, True)
    [(context, kwargs)] = contexts
    got = ContainerStreamer.get_result(context)
    assert type(got) is type(container)
    assert len(got) == len(container)
    assert (context["round"], kwargs, engine.arguments) == (3, {"more": 1}, (["me"], False, True))
