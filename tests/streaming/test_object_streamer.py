"""Streams of objects between real cells."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import numpy as np
import pytest

from tests.streaming.sites import Collectors, Ends, Judge, Numbers, Sites
from tests.streaming.strangers import Stranger
from tests.system.federation import LONG, Gate, until
from zmqfl import Message
from zmqfl.blobs.source import BufferSource
from zmqfl.cell.file_streams import FileProducer
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable
from zmqfl.errors import ArgumentError, ClosedError, EncodeError, WouldDeadlockError
from zmqfl.protocol.push_sender import END, ROUND
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.contracts import END_RESULT, ObjectProducer, StreamContext

CHANNEL, TOPIC = "objects", "numbers"
ABORTED, EXCEPTION = ReturnCode.TASK_ABORTED, ReturnCode.EXECUTION_EXCEPTION


def receive(engine: CellEngine, factory: Collectors | None = None, **options: Any) -> tuple[Collectors, Ends]:
    factory, ends = factory or Collectors(), Ends(options.pop("answer", None))
    engine.register_stream_processing(CHANNEL, TOPIC, factory, ends, **options)
    return factory, ends


def send(
    engine: CellEngine, targets: Any, producer: ObjectProducer, stream_ctx: Any = None, **options: Any
) -> tuple[ReturnCode, Any]:
    with engine.new_context() as fl_ctx:
        return engine.streamer.stream(CHANNEL, TOPIC, stream_ctx, targets, producer, fl_ctx, **options)


class Broken(Numbers):
    """Fails at one of its chunks."""

    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__(10, before=self._fail)
        self.at = at
        self.failure = error

    def _fail(self, number: int) -> None:
        if number == self.at:
            raise self.failure


# -- good ends ---------------------------------------------------------------------------------------------------------


def test_a_stream_of_objects(sites: Sites) -> None:
    server, site = sites.star(1)
    factory, ends = receive(server, answer={"loss": 0.5}, extra=7)
    producer = Judge(3, result="all well")
    assert send(site, ["server"], producer, {"round": 5}) == (ReturnCode.OK, "all well")
    assert factory.log == [0, 1, 2, "finalize OK", "returned"]
    assert ends.wait() == [{"round": 5, "__channel__": CHANNEL, "__topic__": TOPIC, "__RC__": "OK"}]
    assert (ends.kwargs, ends.peers) == ([{"extra": 7}], ["site-1"])
    assert [each["server"]["got"] for each in producer.replies] == [0, 1, 2]


def test_push_P16_the_end_result_is_in_the_last_reply(sites: Sites) -> None:
    server, one, two = sites.star(2)
    for engine in one, two:
        receive(engine, answer={"from": engine.get_cell().fqcn, "w": np.arange(3000)})
    producer = Judge(2)
    assert send(server, ["site-1", "site-2"], producer) == (ReturnCode.OK, True)
    assert all(reply.get_header(END_RESULT) is None for reply in producer.replies[0].values())
    for name, reply in producer.replies[1].items():
        result = reply.get_header(END_RESULT)
        assert (reply["got"], result["from"], result["w"][2999]) == (1, name, 2999)


def test_push_P18_none_after_some_chunks_is_ok_everywhere(sites: Sites) -> None:
    server, one, two = sites.star(2)
    received = [receive(engine, Collectors(endless=True)) for engine in (one, two)]
    assert send(server, ["site-1", "site-2"], Numbers(3)) == (ReturnCode.OK, None)
    for factory, ends in received:
        assert factory.log == [0, 1, 2, "finalize OK", "returned"]
        ends.wait()
        assert ends.codes == [ReturnCode.OK]


def test_a_stream_without_chunks(sites: Sites) -> None:
    server, site = sites.star(1)
    factory, ends = receive(server)
    assert send(site, ["server"], Numbers(0)) == (ReturnCode.OK, None)
    ends.wait()
    assert factory.log == ["finalize OK", "returned"]


def test_a_true_result_ends_it_early_and_well(sites: Sites) -> None:
    server, site = sites.star(1)
    factory, ends = receive(server)
    assert send(site, ["server"], Judge(9, "enough", after=2)) == (ReturnCode.OK, "enough")
    ends.wait()
    assert factory.log == [0, 1, "finalize OK", "returned"]


@pytest.mark.parametrize("look_ahead", [False, True])
def test_big_chunks(sites: Sites, look_ahead: bool) -> None:
    class Arrays(Numbers):
        looks_ahead = look_ahead

        def produce(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> tuple[Shareable | None, float]:
            shareable, timeout = super().produce(stream_ctx, fl_ctx)
            if shareable is not None:
                shareable["w"] = np.full(300_000, self.made, dtype=np.float64)  # more than a segment
            return shareable, timeout

    server, site = sites.star(1)
    sums: list[float] = []
    factory = Collectors()
    server.register_stream_processing(
        CHANNEL, TOPIC, factory, consumed_cb=lambda reply, stream_ctx, fl_ctx, **_: sums.append(reply[1]["got"])
    )
    assert send(site, ["server"], Judge(4))[0] is ReturnCode.OK
    assert send(site, ["server"], Arrays(4)) == (ReturnCode.OK, None)
    assert sums == [0, 1, 2, 3] * 2


def test_callbacks_may_be_coroutines(sites: Sites) -> None:
    server, site = sites.star(1)
    heard: list[Any] = []

    async def done(stream_ctx: StreamContext, fl_ctx: FLContext) -> str:
        heard.append(asyncio.get_running_loop())
        return "seen"

    async def main() -> None:
        server.register_stream_processing(CHANNEL, TOPIC, Collectors(), done)
        producer = Judge(1)
        await asyncio.to_thread(send, site, ["server"], producer)
        assert heard == [asyncio.get_running_loop()]
        assert producer.replies[0]["server"].get_header(END_RESULT) == "seen"

    asyncio.run(main())


def test_the_most_specific_registration_receives_and_a_second_replaces_the_first(sites: Sites) -> None:
    server, site = sites.star(1)
    general = Collectors()
    server.register_stream_processing(CHANNEL, "*", Collectors())
    server.register_stream_processing(CHANNEL, "*", general)
    factory, _ = receive(server)
    with site.new_context() as fl_ctx:
        for topic in TOPIC, "other":
            assert site.stream_objects(CHANNEL, topic, {}, ["server"], Numbers(1), fl_ctx)[0] is ReturnCode.OK
    assert general.log == factory.log == [0, "finalize OK", "returned"]


@pytest.mark.parametrize(
    ("owner", "target"),
    [("server", "site-2"), ("site-2", "server"), ("site-2", "relay.site-1"), ("relay.site-1", "server")],
)
def test_every_direction(sites: Sites, owner: str, target: str) -> None:
    engines = sites.tree()
    _, ends = receive(engines[target])
    assert send(engines[owner], [target], Judge(3)) == (ReturnCode.OK, True)
    ends.wait()
    assert (ends.codes, ends.peers) == ([ReturnCode.OK], [owner])


def test_a_cell_may_stream_to_itself(sites: Sites) -> None:
    [server] = sites.star(0)
    _, ends = receive(server)
    assert send(server, ["server"], Judge(2)) == (ReturnCode.OK, True)
    ends.wait()


def test_the_peer_context_has_the_public_props_of_the_owner(sites: Sites) -> None:
    server, site = sites.star(1)
    seen: list[Any] = []

    def done(stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        peer = fl_ctx.get_peer_context()
        assert peer is not None
        seen.append((peer.get_prop("public"), peer.get_prop("secret"), fl_ctx.get_prop("__peer_fqcn__")))
        fl_ctx.set_prop("kept", 1)

    server.register_stream_processing(CHANNEL, TOPIC, Collectors(), done)
    fl_ctx = site.new_context()
    fl_ctx.set_prop("public", {"a": 1}, private=False)
    fl_ctx.set_prop("secret", 2)
    site.stream_objects(CHANNEL, TOPIC, {}, "server", Numbers(1), fl_ctx)
    assert seen == [({"a": 1}, None, "site-1")]
    assert server.new_context().get_prop("kept") == 1  # the context was finalised


# -- bad ends ----------------------------------------------------------------------------------------------------------


def test_push_P07_a_consumer_fails(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    server, *engines = sites.star(3)

    def fail(number: int) -> None:
        if number == 2:
            raise KeyError("two")

    received = [receive(engine, Collectors(fail if engine is engines[1] else None)) for engine in engines]
    producer = Judge(9)
    assert send(server, ["site-1", "site-2", "site-3"], producer) == (ReturnCode.ERROR, False)
    for _, ends in received:
        ends.wait()
    assert [ends.codes for _, ends in received] == [[ABORTED], [EXCEPTION], [ABORTED]]
    assert received[1][0].log == [0, 1, "finalize EXECUTION_EXCEPTION", "returned"]
    assert len(producer.replies) == 2
    assert "stream objects:numbers failed: site-2: KeyError: 'two'" in caplog.text


def test_the_producer_is_not_content(sites: Sites) -> None:
    server, one, two = sites.star(2)
    received = [receive(engine) for engine in (one, two)]
    assert send(server, ["site-1", "site-2"], Judge(9, result={}, after=2)) == (ReturnCode.ERROR, {})
    for _, ends in received:
        ends.wait()
        assert ends.codes == [ABORTED]


def test_the_producer_is_not_content_with_the_last_replies(sites: Sites) -> None:
    server, site = sites.star(1)
    _, ends = receive(site)
    assert send(server, ["site-1"], Judge(2, result=0)) == (ReturnCode.ERROR, 0)
    ends.wait()  # it has all, and knows it before the owner looks


@pytest.mark.parametrize("at", [0, 2])
def test_what_the_producer_raises_is_raised(sites: Sites, at: int) -> None:
    server, one, two = sites.star(2)
    received = [receive(engine) for engine in (one, two)]
    with pytest.raises(KeyError, match="my own"):
        send(server, ["site-1", "site-2"], Broken(at, KeyError("my own")))
    for factory, ends in received:
        ends.wait()
        assert ends.codes == [ABORTED]
        assert factory.log == [*range(at), "finalize TASK_ABORTED", "returned"]


@pytest.mark.parametrize("timeout", [0, -1, "5"])
def test_push_P04_a_time_out_that_is_none(sites: Sites, timeout: Any) -> None:
    server, site = sites.star(1)
    _, ends = receive(server)
    with pytest.raises(ValueError, match="time-out of a chunk"):
        send(site, ["server"], Numbers(3, timeout=timeout))
    ends.wait()
    assert ends.codes == [ABORTED]


def test_a_factory_that_fails_refuses_the_stream(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Collectors):
        def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
            raise KeyError("no consumer")

    server, one = sites.star(1)
    _, ends = receive(one, Fails())
    assert send(server, ["site-1"], Numbers(3)) == (ReturnCode.ERROR, False)
    assert "site-1: KeyError: 'no consumer'" in caplog.text
    assert ends.codes == []  # nothing had begun


@pytest.mark.parametrize("targets", [None, [], "nobody", ["server", "nobody"], ["bad..name"], [""], "a b"])
def test_push_P14_targets_that_are_none(sites: Sites, targets: Any, caplog: pytest.LogCaptureFixture) -> None:
    server, site = sites.star(1)
    _, ends = receive(server)
    producer = Numbers(3)
    assert send(site, targets, producer) == (ReturnCode.ERROR, False)
    assert producer.made == 0
    assert "stream objects:numbers failed" in caplog.text
    assert set(ends.codes) <= {ABORTED}  # where it had begun at the server


def test_names_that_nobody_has(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    [server] = sites.star(0)
    streamer = type(server.streamer)(server.get_cell(), server.new_context, resolve=lambda name: "")
    assert streamer.stream("c", "t", {}, ["x"], Numbers(1), server.new_context()) == (ReturnCode.ERROR, False)
    assert "no target is called 'x'" in caplog.text


def test_optional_streams_do_not_warn(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    _, site = sites.star(1)
    with caplog.at_level(logging.INFO, "zmqfl.streaming"):
        assert send(site, [], Numbers(1), optional=True) == (ReturnCode.ERROR, False)
    assert caplog.text == ""


def test_secure_streams_are_not_sent_in_clear(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    server, site = sites.star(1)
    _, ends = receive(server)
    producer = Numbers(1)
    assert send(site, ["server"], producer, secure=True, optional=True) == (ReturnCode.ERROR, False)
    assert (producer.made, ends.codes) == (0, [])
    assert "secure=True needs a card, and site-1 has none" in caplog.text


@pytest.mark.parametrize(
    "change",
    [{"channel": 3}, {"topic": ""}, {"stream_ctx": [1]}, {"targets": [3]}, {"producer": 3}, {"fl_ctx": None}],
)
def test_arguments_that_cannot_be(sites: Sites, change: dict[str, Any]) -> None:
    server, site = sites.star(1)
    arguments: dict[str, Any] = {
        "channel": CHANNEL, "topic": TOPIC, "stream_ctx": {}, "targets": ["server"], "producer": Numbers(1),
        "fl_ctx": site.new_context(),
    }  # fmt: skip
    with pytest.raises(ArgumentError):
        site.streamer.stream(**{**arguments, **change})
    with pytest.raises(ArgumentError):
        server.register_stream_processing(CHANNEL, TOPIC, 3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        server.register_stream_processing(CHANNEL, TOPIC, Collectors(), 3)


def test_a_context_that_cannot_travel(sites: Sites) -> None:
    server, site = sites.star(1)
    receive(server)
    with pytest.raises(EncodeError, match="object"):
        send(site, ["server"], Numbers(1), {"x": object()})


def test_the_raw_producer_is_closed_whatever_happens(sites: Sites) -> None:
    server, site = sites.star(1)

    def closes(**change: Any) -> bool:
        source = BufferSource("x", b"abc")
        closed: list[bool] = []
        source.close = lambda: closed.append(True)  # type: ignore[method-assign]
        arguments: dict[str, Any] = {"targets": ["server"], "fl_ctx": site.new_context(), "stream_ctx": {}, **change}
        producer = FileProducer(source, 2, LONG)
        if "raises" in arguments:
            with pytest.raises(arguments.pop("raises")):
                site.push_stream("c", "t", producer=producer, **arguments)
        else:
            assert site.push_stream("c", "t", producer=producer, timeout=0.1, **arguments) is not ReturnCode.OK
        return closed != []

    assert closes()  # nobody receives this topic
    assert closes(targets=[])
    assert closes(secure=True)
    assert closes(targets=[3], raises=ArgumentError)
    assert closes(stream_ctx=3, raises=ArgumentError)
    assert closes(stream_ctx={1: object()}, raises=EncodeError)
    assert closes(fl_ctx=3, raises=ArgumentError)
    site.abort_signal.trigger()
    assert closes()
    assert server.get_cell() is not None


def test_it_cannot_wait_inside_a_loop(sites: Sites) -> None:
    server, site = sites.star(1)
    _, ends = receive(server)

    async def main() -> None:
        with pytest.raises(WouldDeadlockError):
            send(site, ["server"], Numbers(1))

    asyncio.run(main())
    assert set(ends.codes) <= {ABORTED, ReturnCode.OK}  # it was aborted, if it had begun


# -- aborted -----------------------------------------------------------------------------------------------------------


def test_push_P10_the_run_is_aborted_in_mid_stream(sites: Sites) -> None:
    server, one, two = sites.star(2)

    def abort(number: int) -> None:
        if number == 2:
            server.abort_signal.trigger()

    received = [receive(one, Collectors(abort)), receive(two)]
    assert send(server, ["site-1", "site-2"], Numbers(100)) == (ABORTED, None)
    for factory, ends in received:
        ends.wait()
        assert ends.codes == [ABORTED]
        assert factory.log[-2:] == ["finalize TASK_ABORTED", "returned"]
    assert server.abort_signal._waiting == {}


def test_a_run_that_is_aborted_sends_nothing(sites: Sites) -> None:
    server, site = sites.star(1)
    _, ends = receive(server)
    site.abort_signal.trigger()
    producer = Numbers(1)
    assert send(site, ["server"], producer) == (ABORTED, None)
    assert (producer.made, ends.codes) == (0, [])


def test_the_signal_does_not_wait_for_a_consumer(sites: Sites) -> None:
    server, site = sites.star(1)
    entered, leave = threading.Event(), threading.Event()

    def stand(number: int) -> None:
        entered.set()
        assert leave.wait(LONG)

    _, ends = receive(server, Collectors(stand))
    future = site.streamer.stream_no_wait(CHANNEL, TOPIC, {}, ["server"], Numbers(3), site.new_context())
    assert entered.wait(LONG)
    site.abort_signal.trigger()
    assert future.result(LONG) == (ABORTED, None)
    assert ends.codes == []
    leave.set()
    ends.wait()
    assert ends.codes == [ABORTED]


def test_a_receiver_whose_run_is_aborted(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    server, one, two = sites.star(2)
    received = [receive(one, Collectors(lambda number: one.abort_signal.trigger())), receive(two)]
    assert send(server, ["site-1", "site-2"], Numbers(9)) == (ReturnCode.ERROR, False)
    for _, ends in received:
        ends.wait()
        assert ends.codes == [ABORTED]
    assert "site-1: the run is aborted at site-1" in caplog.text


def test_the_owners_cell_is_closed_in_mid_stream(sites: Sites) -> None:
    server, site = sites.star(1)
    gate = Gate()
    _, ends = receive(server)
    numbers = Numbers(9, before=lambda number: gate(Message(payload=number)) if number == 2 else None)
    future = site.streamer.stream_no_wait(CHANNEL, TOPIC, {}, ["server"], numbers, site.new_context())
    gate.wait_entered()
    closing = threading.Thread(target=site.get_cell().close, args=(0,))
    closing.start()
    ends.wait()
    gate.open()
    closing.join(LONG)
    assert future.result(LONG) == (ABORTED, None)
    assert ends.codes[0] in (ABORTED, ReturnCode.COMMUNICATION_ERROR)
    with pytest.raises(ClosedError):
        send(site, ["server"], Numbers(1))


# -- who pretends ------------------------------------------------------------------------------------------------------


def test_push_P12_a_duplicate_is_acknowledged_and_a_gap_is_not(sites: Sites) -> None:
    server, site = sites.star(1)
    gate = Gate()
    factory, ends = receive(server)
    numbers = Numbers(4, before=lambda number: gate(Message(payload=number)) if number == 2 else None)
    future = site.streamer.stream_no_wait(CHANNEL, TOPIC, {}, ["server"], numbers, site.new_context())
    gate.wait_entered()
    [id] = site.get_cell()._node.transfers.pushes
    stranger = Stranger(site.get_cell())
    for index in 0, 1:
        assert stranger.ask("server", ROUND, {"t": id, "i": index}).code == "ok"
    assert stranger.ask("server", ROUND, {"t": id, "i": 99}).code == "invalid_request"
    other = Numbers(2)
    assert send(site, ["server"], other)[0] is ReturnCode.OK  # other streams go on
    gate.open()
    assert future.result(LONG)[0] is ReturnCode.OK
    ends.wait(2)
    assert factory.log.count(3) == 1
    assert factory.log.count(0) == 2


def test_push_P13_another_cell_cannot_abort_a_stream(sites: Sites) -> None:
    server, one, two = sites.star(2)
    gate = Gate()
    _, ends = receive(server)
    numbers = Numbers(3, before=lambda number: gate(Message(payload=number)) if number == 1 else None)
    future = one.streamer.stream_no_wait(CHANNEL, TOPIC, {}, ["server"], numbers, one.new_context())
    gate.wait_entered()
    [id] = one.get_cell()._node.transfers.pushes
    Stranger(two.get_cell()).ask("server", END, {"t": id, "rc": "abort_run", "from": "site-1"})
    gate.open()
    assert future.result(LONG)[0] is ReturnCode.OK
    ends.wait()
    assert ends.codes == [ReturnCode.OK]


def test_a_stream_with_props_that_are_none_is_refused(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    server, site = sites.star(1)
    _, ends = receive(server)

    def push(context: dict[str, Any]) -> str:
        producer = FileProducer(BufferSource("x", b"abc"), 2, LONG)
        return site.get_cell().push(CHANNEL, TOPIC, producer, "server", context).report(LONG).code

    assert push({"__peer_props__": 3}) == "invalid_request"
    assert push({}) == "invalid_request"  # its chunks are no Shareables
    ends.wait()
    assert ends.codes == [ReturnCode.BAD_REQUEST_DATA]


# -- many --------------------------------------------------------------------------------------------------------------


def test_push_P17_the_21st_waits_for_its_turn(sites: Sites) -> None:
    server, site = sites.star(1)
    gate = Gate()
    factory, ends = receive(server, Collectors(lambda number: gate(Message(payload=number)) if number == 0 else None))
    numbers = [Judge(3) for _ in range(21)]
    futures = [
        site.streamer.stream_no_wait(CHANNEL, TOPIC, {"n": n}, ["server"], numbers[n], site.new_context())
        for n in range(21)
    ]
    gate.wait_entered(20)
    assert [future.running() for future in futures] == [True] * 20 + [False]
    assert numbers[20].made == 0
    gate.open()
    assert [future.result(LONG) for future in futures] == [(ReturnCode.OK, True)] * 21
    assert sorted(context["n"] for context in ends.wait(21)) == list(range(21))
    assert all(factory.log.count(number) == 21 for number in range(3))


def test_after_a_shutdown(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    server, site = sites.star(1)
    receive(server)
    producer = Numbers(1)
    assert send(site, ["server"], producer)[0] is ReturnCode.OK
    server.shutdown_streamer()
    server.shutdown_streamer()
    assert send(site, ["server"], Numbers(1)) == (ReturnCode.ERROR, False)
    assert "server: the streamer of server has been shut down" in caplog.text
    with pytest.raises(RuntimeError, match="shut down"):
        send(server, ["site-1"], Numbers(1))
    with pytest.raises(RuntimeError, match="shut down"):
        server.streamer.stream_no_wait(CHANNEL, TOPIC, {}, ["site-1"], Numbers(1), server.new_context())
    with pytest.raises(RuntimeError, match="shut down"):
        receive(server)
    assert repr(server.streamer) == "<ObjectStreamer of server, shut down>"


def test_a_shutdown_cancels_what_has_not_begun(sites: Sites) -> None:
    server, _ = sites.star(1)
    site = sites.engine(sites.federation.cells[1], max_concurrent_streaming_sessions=1)
    gate = Gate()
    receive(server, Collectors(lambda number: gate(Message(payload=number))))
    futures = [
        site.streamer.stream_no_wait(CHANNEL, TOPIC, {}, ["server"], Numbers(1), site.new_context()) for _ in range(2)
    ]
    gate.wait_entered()
    site.shutdown_streamer()
    assert futures[1].cancelled()
    gate.open()
    assert futures[0].result(LONG)[0] is ReturnCode.OK
    until(lambda: futures[0].done())


def test_one_context_for_two_sends(sites: Sites) -> None:
    server, one, two = sites.star(2)
    for engine in one, two:
        receive(engine)
    stream_ctx = {"round": 1}
    futures = [
        server.streamer.stream_no_wait(CHANNEL, TOPIC, stream_ctx, [name], Numbers(5), server.new_context())
        for name in ("site-1", "site-2")
    ]
    assert [future.result(LONG)[0] for future in futures] == [ReturnCode.OK] * 2
    assert stream_ctx == {"round": 1}
