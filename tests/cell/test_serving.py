"""What a handler does, and what its caller gets: the core column of the reference's table (flare 5.8)."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG, QUICK, Federation, Gate, counter, until
from zmqfl import Cell, CellReturnCode, Message, RequestFailed, make_reply
from zmqfl.errors import AbortRun, AuthenticationError, InvalidRequest, InvalidSession, ServiceUnavailable

SIZES = {"small": 100, "64 KiB": 64 * 1024 + 1, "1 MiB": 1024 * 1024 - 512}


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> int:
    return SIZES[request.param]


@pytest.fixture
def server(federation: Federation) -> Cell:
    return federation.start("server")


@pytest.fixture
def site(federation: Federation, server: Cell) -> Cell:
    return federation.start("site-1", server, None)


def outcome(site: Cell, topic: str, payload: Any = None, timeout: float = LONG) -> tuple[str, str, Any]:
    reply = site.request("server", "test", topic, payload, timeout).reply(LONG)
    return str(reply.return_code), reply.error, reply.payload


# --------------------------------------------------------------------------------------------- N03: the return codes


def test_cell_N03_a_value_is_the_reply(server: Cell, site: Cell, size: int) -> None:
    server.register_request_cb("test", "echo", lambda message: message.payload)
    body = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    reply = site.request("server", "test", "echo", body).result(LONG)
    assert (reply.ok, reply.error, reply.origin, reply.channel, reply.topic) == (True, "", "server", "test", "echo")
    np.testing.assert_array_equal(reply.payload, body)


def test_cell_N03_a_handler_that_raises(server: Cell, site: Cell, size: int, caplog: Any) -> None:
    def fail(message: Message) -> None:
        raise ValueError("no such layer")

    server.register_request_cb("test", "fail", fail)
    assert outcome(site, "fail", bytes(size)) == ("process_exception", "ValueError: no such layer", None)
    assert "handler of test:fail failed" in caplog.text


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ServiceUnavailable, CellReturnCode.SERVICE_UNAVAILABLE),
        (InvalidSession, CellReturnCode.INVALID_SESSION),
        (InvalidRequest, CellReturnCode.INVALID_REQUEST),
        (AuthenticationError, CellReturnCode.AUTHENTICATION_ERROR),
        (AbortRun, CellReturnCode.ABORT_RUN),
    ],
)
def test_cell_N03_a_handler_chooses_the_code_and_the_caller_gets_the_same_error(
    server: Cell, site: Cell, size: int, kind: type[RequestFailed], code: CellReturnCode
) -> None:
    def fail(message: Message) -> None:
        raise kind("because")

    server.register_request_cb("test", "fail", fail)
    with pytest.raises(kind, match=f"server: {code}: because") as caught:
        site.request("server", "test", "fail", bytes(size)).result(LONG)
    assert (caught.value.code, caught.value.reason, caught.value.target) == (code, "because", "server")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
def test_cell_N03_a_handler_does_not_end_the_process_and_its_caller_hears_of_it(
    server: Cell, site: Cell, error: BaseException
) -> None:
    def leave(message: Message) -> None:
        raise error

    server.register_request_cb("test", "leave", leave)
    assert outcome(site, "leave")[0] == "process_exception"


def test_cell_N03_error_texts_that_cannot_travel_are_mended(server: Cell, site: Cell) -> None:
    def fail(message: Message) -> None:
        raise FileNotFoundError("gone: \udc80.npz")

    server.register_request_cb("test", "fail", fail)
    server.register_request_cb("test", "reply", lambda message: make_reply("comm_error", error="gone: \udc80.npz"))
    server.register_request_cb("test", "error", lambda message: make_reply("comm_error", error=KeyError("w")))  # type: ignore[arg-type]
    assert outcome(site, "fail")[:2] == ("process_exception", "FileNotFoundError: gone: \\udc80.npz")
    assert outcome(site, "reply")[:2] == ("comm_error", "gone: \\udc80.npz")
    assert outcome(site, "error")[:2] == ("comm_error", "'w'")
    assert counter(server, "bugs") == 0


def test_cell_N03_a_long_error_is_cut(server: Cell, site: Cell) -> None:
    def fail(message: Message) -> None:
        raise ValueError("x" * 10_000_000)

    server.register_request_cb("test", "fail", fail)
    code, error, _ = outcome(site, "fail")
    assert code == "process_exception"
    assert 1000 < len(error) < 10_000


def test_cell_N03_no_handler(site: Cell, size: int) -> None:
    code, error, _ = outcome(site, "nothing", bytes(size))
    assert (code, error) == ("process_exception", "no callback is registered for test:nothing at server")


def test_cell_N03_a_handler_that_returns_none_lets_its_caller_wait_until_the_time_out(
    server: Cell, site: Cell, size: int
) -> None:
    server.register_request_cb("test", "none", lambda message: None)
    code, error, _ = outcome(site, "none", bytes(size), timeout=0.05)
    assert code == "timeout"
    assert "0.05 s" in error


def test_cell_N03_a_reply_that_comes_later(server: Cell, site: Cell, size: int) -> None:
    asked: list[Message] = []
    come = threading.Event()

    def later(message: Message) -> None:
        asked.append(message)
        come.set()

    server.register_request_cb("test", "later", later)
    handle = site.request("server", "test", "later", bytes(size))
    assert come.wait(LONG)
    answer: list[str] = []
    thread = threading.Thread(
        target=lambda: answer.append(server.send_reply(bytes(size), asked[0].origin, [asked[0].req_id]))
    )
    thread.start()
    thread.join()
    assert handle.result(LONG).payload == bytes(size)
    assert answer == [""]
    again = server.send_reply("again", asked[0].origin, [asked[0].req_id])
    assert again == f"no request {asked[0].req_id} of site-1 waits for a reply at server"


def test_cell_N03_a_reply_that_is_too_late(server: Cell, site: Cell) -> None:
    ids: list[int] = []
    server.register_request_cb("test", "later", lambda message: ids.append(message.req_id))
    assert outcome(site, "later", timeout=0.01)[0] == "timeout"
    assert server.send_reply("late", "site-1", ids).startswith("no request")


def test_a_restarted_caller_is_not_answered_in_place_of_its_former_start(federation: Federation, server: Cell) -> None:
    gate = Gate("first")
    ids: list[int] = []
    come = threading.Event()

    def later(message: Message) -> None:
        ids.append(message.req_id)
        come.set()

    server.register_request_cb("test", "held", gate)
    server.register_request_cb("test", "later", later)
    first = federation.start("site-1", server, None)
    lost = first.request("server", "test", "held")
    gate.wait_entered()
    first.close(drain=0)
    assert lost.done()
    second = federation.start("site-1", server, None)
    handle = second.request("server", "test", "later")  # the same origin and number as the first one's
    assert come.wait(LONG)
    gate.open()
    until(lambda: server.statistics().workers.idle == server.statistics().workers.threads)  # the first one has ended
    assert server.send_reply("second", "site-1", ids) == ""
    assert handle.result(LONG).payload == "second"


def test_cell_N03_an_unserialisable_reply(server: Cell, site: Cell) -> None:
    server.register_request_cb("test", "object", lambda message: object())
    code, error, _ = outcome(site, "object")
    assert code == "process_exception"
    assert "cannot travel" in error
    assert "object" in error


def test_cell_N03_a_reply_of_several_segments(server: Cell, site: Cell) -> None:
    server.register_request_cb("test", "big", lambda message: b"x" * (3 * QUICK.segment + 1))
    assert site.request("server", "test", "big").result(LONG).payload == b"x" * (3 * QUICK.segment + 1)


def test_cell_N03_a_reply_above_the_limit(federation: Federation) -> None:
    server = federation.start("server", config=replace(QUICK, payload_limit=QUICK.segment))
    site = federation.start("site-1", server, None)
    server.register_request_cb("test", "big", lambda message: bytes(QUICK.segment))
    code, error, _ = outcome(site, "big")
    assert code == "msg_too_big"
    assert str(QUICK.segment) in error


def test_cell_N03_a_reply_with_a_code_that_does_not_exist(server: Cell, site: Cell) -> None:
    server.register_request_cb("test", "odd", lambda message: Message({"cn__return_code": "odd"}))
    code, error, _ = outcome(site, "odd")
    assert code == "process_exception"
    assert "'odd' is not a return code" in error


# ------------------------------------------------------------------------------------------------ what a handler gets


def test_a_handler_gets_a_message_and_its_own_arguments(server: Cell, site: Cell) -> None:
    got: list[Any] = []

    def handle(message: Message, *args: Any, **kwargs: Any) -> Message:
        got.append((message, args, kwargs))
        return Message({"round": 8}, message.payload)

    server.register_request_cb("test", "*", handle, 1, two=2)
    forged = {"round": 7, "cn__origin": "server", "cn__req_id": 99}
    reply = site.request("server", "test", "any", Message(forged, [1])).result(LONG)
    ((message, args, kwargs),) = got
    assert (args, kwargs) == ((1,), {"two": 2})
    assert (message.payload, message.get_header("round"), message.origin) == ([1], 7, "site-1")
    assert (message.channel, message.topic, message.req_id) == ("test", "any", reply.req_id)
    assert (reply.payload, reply.get_header("round"), reply.origin) == ([1], 8, "server")


@pytest.mark.parametrize("count", [1000, 8192, 65536 - 64, 131_000], ids=["8 KB", "64 KiB", "512 KiB", "1 MB"])
def test_received_arrays_are_writable_and_own_their_memory(server: Cell, site: Cell, count: int) -> None:
    def double(message: Message) -> Any:
        message.payload *= 2
        assert message.payload.flags.owndata
        return message.payload

    server.register_request_cb("test", "double", double)
    reply = site.request("server", "test", "double", np.arange(count, dtype=np.float64)).result(LONG)
    reply.payload += 1
    assert reply.payload.flags.owndata
    np.testing.assert_array_equal(reply.payload, np.arange(count) * 2 + 1)


def test_the_most_specific_registration_serves_and_a_second_one_replaces_the_first(server: Cell, site: Cell) -> None:
    for channel, topic in [("*", "*"), ("test", "*"), ("test", "one")]:
        server.register_request_cb(channel, topic, lambda message, name: name, f"{channel}:{topic}")
    asked = [("other", "one"), ("test", "two"), ("test", "one")]
    assert [site.request("server", *each).result(LONG).payload for each in asked] == ["*:*", "test:*", "test:one"]
    server.register_request_cb("test", "one", lambda message: "new")
    assert site.request("server", "test", "one").result(LONG).payload == "new"


# --------------------------------------------------------------------------------------- when nobody waits any more


@pytest.mark.parametrize("how", ["cancel", "timeout", "restart"])
def test_a_handler_learns_that_nobody_waits(federation: Federation, server: Cell, how: str) -> None:
    entered, told = threading.Event(), threading.Event()

    def handle(message: Message) -> str:
        server.when_cancelled(message, told.set)
        entered.set()
        assert told.wait(LONG)
        return "unheard"

    server.register_request_cb("test", "wait", handle)
    server.register_request_cb("test", "echo", lambda message: message.payload)
    site = federation.start("site-1", server, None)
    handle_ = site.request("server", "test", "wait", timeout=0.05 if how == "timeout" else LONG)
    assert entered.wait(LONG)
    if how == "cancel":
        handle_.cancel()
    elif how == "restart":
        site.close(drain=0)
        federation.start("site-1", server, None).request("server", "test", "echo", 1).result(LONG)
    assert told.wait(LONG)
    until(lambda: not server._serving._cancels)


def test_a_handler_that_asks_too_late_is_told_at_once(server: Cell, site: Cell) -> None:
    asked: list[Message] = []
    calls: list[str] = []
    server.register_request_cb("test", "keep", asked.append)
    assert outcome(site, "keep", timeout=0.01)[0] == "timeout"
    server.when_cancelled(asked[0], lambda: calls.append("told"))
    assert calls == ["told"]


def test_after_the_reply_nobody_is_told(server: Cell, site: Cell) -> None:
    calls: list[str] = []

    def handle(message: Message) -> str:
        server.when_cancelled(message, lambda: calls.append("told"))
        return "done"

    server.register_request_cb("test", "reply", handle)
    for _ in range(3):
        assert outcome(site, "reply")[2] == "done"
    until(lambda: not server._serving._cancels)
    site.close()
    assert calls == []


# ----------------------------------------------------------------------------------------- what a handler may return


def test_a_handler_may_return_a_future_of_a_value_or_a_message(server: Cell, site: Cell) -> None:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    broken: concurrent.futures.Future[Any] = concurrent.futures.Future()
    server.register_request_cb("test", "future", lambda message: future)
    server.register_request_cb("test", "broken", lambda message: broken)
    handle, lost = site.request("server", "test", "future"), site.request("server", "test", "broken")
    until(lambda: server.statistics().running_calls == 2)
    future.set_result(Message({"round": 1}, "value"))
    broken.set_exception(ServiceUnavailable("later"))
    reply = handle.result(LONG)
    assert (reply.payload, reply.get_header("round")) == ("value", 1)
    with pytest.raises(ServiceUnavailable, match="later"):
        lost.result(LONG)


def test_a_cancelled_future_is_a_process_exception(server: Cell, site: Cell) -> None:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    server.register_request_cb("test", "future", lambda message: future)
    handle = site.request("server", "test", "future")
    until(lambda: server.statistics().running_calls == 1)
    future.cancel()
    with pytest.raises(RequestFailed, match="the handler was cancelled") as caught:
        handle.result(LONG)
    assert caught.value.code is CellReturnCode.PROCESS_EXCEPTION


def test_a_handler_may_return_the_handle_of_a_request_to_another_cell(
    federation: Federation, server: Cell, site: Cell
) -> None:
    other = federation.start("site-2", server, None)
    other.register_request_cb("test", "deep", lambda message: message.payload + 1)
    server.register_request_cb("test", "pass", lambda message: server.request("site-2", "test", "deep", 41))
    server.register_request_cb("test", "lost", lambda message: server.request("site-2", "test", "nothing"))
    assert site.request("server", "test", "pass").result(LONG).payload == 42
    with pytest.raises(RequestFailed, match="no callback is registered for test:nothing at site-2"):
        site.request("server", "test", "lost").result(LONG)


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="loop")
        self.thread.start()

    def call(self, function: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(LONG)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(LONG)
        self.loop.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_a_coroutine_runs_on_the_loop_that_registered_it(server: Cell, site: Cell, loop: Loop) -> None:
    async def where(message: Message) -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    loop.call(lambda: server.register_request_cb("test", "where", where))
    assert site.request("server", "test", "where").result(LONG).payload == "loop"


def test_a_coroutine_that_was_registered_without_a_loop_runs_all_the_same(server: Cell, site: Cell) -> None:
    async def nested(message: Message) -> Any:
        return (await server.request("server", "test", "deep", message.payload)).payload + 1

    server.register_request_cb("test", "nested", nested)
    server.register_request_cb("test", "deep", lambda message: message.payload * 2)
    assert site.request("server", "test", "nested", 5).result(LONG).payload == 11


def test_a_coroutine_that_raises(server: Cell, site: Cell, loop: Loop) -> None:
    async def fail(message: Message) -> None:
        raise InvalidRequest("what?")

    loop.call(lambda: server.register_request_cb("test", "fail", fail))
    server.register_request_cb("test", "alone", fail)
    assert outcome(site, "fail")[:2] == ("invalid_request", "what?")
    assert outcome(site, "alone")[:2] == ("invalid_request", "what?")


def test_a_handler_may_return_a_future_of_its_loop(server: Cell, site: Cell, loop: Loop) -> None:
    future: asyncio.Future[str] = loop.call(lambda: asyncio.get_running_loop().create_future())
    server.register_request_cb("test", "future", lambda message: future)
    handle = site.request("server", "test", "future")
    until(lambda: server.statistics().running_calls == 1)
    loop.loop.call_soon_threadsafe(future.set_result, "value")
    assert handle.result(LONG).payload == "value"


@pytest.mark.parametrize("where", ["loop", "worker"])
def test_a_cancelled_await_cancels_the_coroutine_that_serves_it(
    server: Cell, site: Cell, loop: Loop, where: str
) -> None:
    entered, ended = threading.Event(), threading.Event()

    async def serve(message: Message) -> None:
        entered.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.set()
            raise

    def register() -> None:
        server.register_request_cb("test", "serve", serve)

    loop.call(register) if where == "loop" else register()

    async def ask() -> None:
        task = asyncio.ensure_future(awaited(site.request("server", "test", "serve")))
        await asyncio.get_running_loop().run_in_executor(None, entered.wait, LONG)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    assert ended.wait(LONG)
    until(lambda: server.statistics().running_calls == 0)
    assert site.statistics().open_requests == 0


async def awaited(awaitable: Any) -> Any:
    return await awaitable


def test_a_handler_whose_time_is_over_is_cancelled(server: Cell, site: Cell, loop: Loop) -> None:
    ended = threading.Event()

    async def serve(message: Message) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    loop.call(lambda: server.register_request_cb("test", "serve", serve))
    assert outcome(site, "serve", timeout=0.05)[:2] == ("timeout", "the handler took longer than 0.05 s")
    assert ended.wait(LONG)


# ---------------------------------------------------------------------------------------------- time and what is busy


def test_the_time_out_covers_the_handler_and_not_its_queue(federation: Federation) -> None:
    server = federation.start("server", config=replace(QUICK, heartbeat=1.0, dead_after=10, calls_max=1, calls_min=1))
    site = federation.start("site-1", server, None, config=replace(QUICK, heartbeat=1.0, dead_after=10))
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    server.register_request_cb("test", "echo", lambda message: message.payload)
    held = site.request("server", "test", "held")
    gate.wait_entered()
    queued = site.request("server", "test", "echo", 1, timeout=0.1)
    with pytest.raises(TimeoutError):
        queued.result(1.5)  # far above its time-out and the grace of the caller
    gate.open()
    assert queued.result(LONG).payload == 1
    held.result(LONG)


def test_a_handler_that_blocks_for_ever_costs_its_caller_a_time_out_and_others_nothing(
    server: Cell, site: Cell
) -> None:
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    server.register_request_cb("test", "echo", lambda message: message.payload)
    assert outcome(site, "held", timeout=0.05)[:2] == ("timeout", "the handler took longer than 0.05 s")
    assert [outcome(site, "echo", n) for n in range(20)] == [("ok", "", n) for n in range(20)]
    gate.open()


def test_when_all_workers_are_blocked_requests_are_refused_unexecuted(federation: Federation) -> None:
    server = federation.start("server", config=replace(QUICK, calls_min=1, calls_max=2, calls_cap=4))
    site = federation.start("site-1", server, None)
    gate = Gate()
    site.register_request_cb("test", "held", gate)
    ran: list[Any] = []

    def echo(message: Message) -> Any:
        ran.append(message.payload)
        return message.payload

    server.register_request_cb("test", "echo", echo)
    server.register_request_cb(
        "test", "back", lambda message: server.request("site-1", "test", "held").result().payload
    )
    blocked = [site.request("server", "test", "back") for _ in range(4)]
    gate.wait_entered(4)
    until(lambda: server.statistics().workers.blocked == 4)
    code, error, _ = outcome(site, "echo", 1)
    assert code == "service_unavailable"
    assert "worker" in error
    assert not ran
    gate.open()
    assert [handle.result(LONG).payload for handle in blocked] == ["done"] * 4
    assert outcome(site, "echo", 2) == ("ok", "", 2)


def test_requests_that_wait_for_a_worker_are_bounded_in_bytes(federation: Federation) -> None:
    body = bytes(100_000)
    server = federation.start("server", config=replace(QUICK, calls_max=1, calls_min=1, receive_budget=350_000))
    site = federation.start("site-1", server, None)
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    handles = [site.request("server", "test", "held", body) for _ in range(6)]
    gate.wait_entered()
    codes = sorted({str(handle.reply(LONG).return_code) for handle in handles[4:]})
    assert codes == ["service_unavailable"]
    assert server.statistics().workers.queued_bytes <= 350_000
    gate.open()
    assert [handle.reply(LONG).return_code for handle in handles[:4]] == [CellReturnCode.OK] * 4
    assert len(gate.seen) == 4
