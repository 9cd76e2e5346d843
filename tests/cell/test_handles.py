from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import random
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from zmqfl.cell.handles import BroadcastHandle, Handle, Progress, RequestHandle, failure
from zmqfl.cell.message import Message, make_reply
from zmqfl.cell.workers import Workers
from zmqfl.errors import (
    AbortRun,
    AuthenticationError,
    CellReturnCode,
    ForkedError,
    InvalidRequest,
    InvalidSession,
    RequestFailed,
    ServiceUnavailable,
    WouldDeadlockError,
)

LONG = 20.0
"""Seconds that nothing here may take."""


class Work:
    """The side of the work: who is told of a cancellation, and which thread is the reactor."""

    def __init__(self) -> None:
        self.cancels = 0
        self.reactor: threading.Thread | None = None

    def on_cancel(self) -> None:
        self.cancels += 1

    def on_reactor(self) -> bool:
        return threading.current_thread() is self.reactor

    def handle(self) -> Handle[Any]:
        return Handle(on_cancel=self.on_cancel, on_reactor=self.on_reactor)

    def request(self) -> RequestHandle:
        return RequestHandle("site-1", on_cancel=self.on_cancel, on_reactor=self.on_reactor)

    def broadcast(self, *targets: str) -> BroadcastHandle:
        return BroadcastHandle(targets, on_cancel=self.on_cancel, on_reactor=self.on_reactor)


@pytest.fixture
def work() -> Work:
    return Work()


class Thread(threading.Thread):
    """Runs a function, and gives what it returns or raises when joined."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__()
        self.function = function
        self.outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.start()

    def run(self) -> None:
        try:
            self.outcome.set_result(self.function())
        except BaseException as error:  # noqa: BLE001  `value` raises it
            self.outcome.set_exception(error)

    def value(self) -> Any:
        self.join(LONG)
        return self.outcome.result(0)


def until_waiting(handle: Handle[Any], number: int = 1) -> None:
    """Until so many threads and tasks wait for the handle."""
    while len(handle._callbacks) < number:
        threading.Event().wait(0.001)


def when_waiting(handle: Handle[Any], end: Callable[[], object]) -> None:
    until_waiting(handle)
    end()


def in_child(check: Callable[[], None]) -> int:
    """Run `check` in a forked child; returns the child's status, 0 when it raised nothing."""
    if (pid := os.fork()) == 0:
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --------------------------------------------------------------------------------------------------------------- ending


def test_a_handle_that_has_finished(work: Work) -> None:
    handle = work.handle()
    assert (handle.done(), handle.progress, repr(handle)) == (False, Progress(0, 1), "<Handle pending>")
    handle._finish([1])
    assert (handle.done(), handle.progress, repr(handle)) == (True, Progress(1, 1), "<Handle finished>")
    assert handle.result() == [1]
    assert handle.exception() is None
    assert (handle.cancelled(), handle.cancel(), work.cancels) == (False, False, 0)


def test_a_handle_that_has_failed(work: Work) -> None:
    handle = work.handle()
    error = ValueError("wrong")
    handle._fail(error)
    assert handle.exception() is error
    with pytest.raises(ValueError, match="wrong"):
        handle.result()
    assert (handle.done(), handle.cancelled(), repr(handle)) == (True, False, "<Handle failed>")


def test_a_handle_that_was_cancelled(work: Work) -> None:
    handle = work.handle()
    assert (handle.cancel(), handle.cancel(), handle.cancelled(), work.cancels) == (True, True, True, 1)
    for wait in handle.result, handle.exception:
        with pytest.raises(concurrent.futures.CancelledError, match="<Handle cancelled> was cancelled"):
            wait()


def test_the_first_end_wins(work: Work) -> None:
    finished, cancelled = work.handle(), work.handle()
    finished._finish(1)
    finished._finish(2)
    finished._fail(ValueError("late"))
    assert finished.result() == 1
    cancelled.cancel()
    cancelled._finish(1)
    cancelled._fail(ValueError("late"))
    assert cancelled.cancelled()


@pytest.mark.parametrize("race", range(100))
def test_of_ends_that_race_one_wins(work: Work, race: int) -> None:
    handle = work.handle()
    calls: list[bool] = []
    handle.add_done_callback(lambda handle: calls.append(handle.cancelled()))
    ends = [lambda: handle._finish(1), handle.cancel, lambda: handle._fail(ValueError("wrong")), handle.cancel]
    random.Random(race).shuffle(ends)
    start = threading.Barrier(len(ends))

    def race_for(end: Callable[[], object]) -> object:
        start.wait()
        return end()

    for thread in [Thread(lambda end=end: race_for(end)) for end in ends]:  # type: ignore[misc]
        thread.value()
    assert calls == [handle.cancelled()]
    assert work.cancels == handle.cancelled()


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something happen between a verb's first look at the state and its taking the lock."""

    def arrange(event: Callable[[], object]) -> None:
        pid = os.getpid()
        events = [event]
        monkeypatch.setattr(os, "getpid", lambda: (events.pop()() if events else None, pid)[1])

    return arrange


def test_the_work_ends_just_before_it_is_cancelled(work: Work, meanwhile: Callable[..., None]) -> None:
    handle = work.handle()
    meanwhile(lambda: handle._finish(7))
    assert (handle.cancel(), handle.result(), work.cancels) == (False, 7, 0)


def test_the_work_ends_just_before_a_callback_is_added(work: Work, meanwhile: Callable[..., None]) -> None:
    handle = work.handle()
    calls: list[Any] = []
    meanwhile(lambda: handle._finish(7))
    handle.add_done_callback(calls.append)
    assert calls == [handle]


def test_the_work_ends_just_before_a_time_out(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = work.handle()
    remove = handle._remove_done_callback

    def end_and_remove(fn: Callable[[Any], object]) -> None:
        handle._finish(7)
        remove(fn)

    monkeypatch.setattr(handle, "_remove_done_callback", end_and_remove)
    assert handle.result(0) == 7


def test_callbacks_run_once_in_the_thread_that_ends_the_work(work: Work) -> None:
    handle = work.handle()
    calls: list[tuple[Handle[Any], str]] = []
    handle.add_done_callback(lambda handle: calls.append((handle, threading.current_thread().name)))
    thread = Thread(lambda: handle._finish(1))
    thread.value()
    handle.add_done_callback(lambda handle: calls.append((handle, threading.current_thread().name)))
    assert calls == [(handle, thread.name), (handle, threading.current_thread().name)]


def test_a_callback_that_fails_is_logged_and_harms_nobody(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    handle = work.handle()
    calls: list[int] = []
    handle.add_done_callback(lambda _: 1 // 0)
    handle.add_done_callback(lambda _: calls.append(1))
    handle._finish(1)
    assert calls == [1]
    assert "a callback of <Handle finished> failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_an_error_does_not_keep_the_frames_that_it_passed_alive(work: Work) -> None:
    handle = work.request()
    handle._finish(make_reply("comm_error"))

    def fail() -> weakref.ref[Work]:
        local = Work()
        with pytest.raises(RequestFailed):
            handle.result()
        return weakref.ref(local)

    gc.disable()
    try:
        assert fail()() is None
    finally:
        gc.enable()


# -------------------------------------------------------------------------------------------------------------- threads


def test_threads_wait_for_the_end(work: Work) -> None:
    handle = work.handle()
    threads = [Thread(handle.result), Thread(lambda: handle.result(LONG)), Thread(handle.exception)]
    until_waiting(handle, 3)
    handle._finish(7)
    assert [thread.value() for thread in threads] == [7, 7, None]


def test_a_cancelled_handle_wakes_the_threads(work: Work) -> None:
    handle = work.handle()
    thread = Thread(handle.result)
    until_waiting(handle)
    handle.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        thread.value()


@pytest.mark.parametrize("timeout", [0.01, 0, -1])
def test_a_time_out_does_not_cancel_the_work(work: Work, timeout: float) -> None:
    handle = work.request()
    with pytest.raises(TimeoutError, match=rf"to site-1 pending> has not ended within {timeout} s; wait again"):
        handle.result(timeout)
    assert (handle.done(), work.cancels, handle._callbacks) == (False, 0, [])
    handle._finish(make_reply("ok"))
    assert handle.result(timeout).ok


def test_a_time_out_may_be_endless(work: Work) -> None:
    handle = work.handle()
    thread = Thread(lambda: handle.result(float("inf")))
    until_waiting(handle)
    handle._finish(7)
    assert thread.value() == 7


def test_a_time_out_that_races_with_the_end(work: Work) -> None:
    timed_out = 0
    for _ in range(200):
        handle = work.handle()
        thread = Thread(lambda handle=handle: handle.result(0.0002))  # type: ignore[misc]
        handle._finish(7)
        try:
            assert thread.value() == 7
        except TimeoutError:
            timed_out += 1
        assert (handle.result(), handle._callbacks) == (7, [])
    assert timed_out < 200


def test_waiting_on_the_reactor_is_refused(work: Work) -> None:
    handle = work.handle()
    work.reactor = threading.current_thread()
    for wait in handle.result, handle.exception:
        with pytest.raises(WouldDeadlockError, match=r"this is the reactor, .*; use add_done_callback here"):
            wait()
    handle._finish(1)
    assert handle.result() == 1


def test_waiting_inside_a_loop_is_refused(work: Work) -> None:
    async def wait() -> None:
        handle = work.request()
        for verb in handle.result, handle.exception, handle.reply:
            with pytest.raises(WouldDeadlockError, match="await the handle instead"):
                verb(1)
        handle._finish(make_reply("ok"))
        assert handle.result().ok

    asyncio.run(wait())


def test_a_pool_thread_that_waits_is_blocked(work: Work) -> None:
    pool = Workers("calls", keep=1, most=1, cap=2, queue_bytes=100)
    handle, reply = work.handle(), work.handle()
    pool.submit(lambda: reply._finish(handle.result(LONG)))
    until_waiting(handle)
    pool.submit(lambda: handle._finish(7))
    assert reply.result(LONG) == 7
    assert pool.stop(LONG)


def test_a_pool_thread_whose_coroutine_waits_is_blocked(work: Work) -> None:
    pool = Workers("calls", keep=1, most=1, cap=2, queue_bytes=100)
    handle, reply = work.handle(), work.handle()

    async def handler() -> int:
        value: int = await handle
        return value

    pool.submit(lambda: reply._finish(asyncio.run(handler())))
    until_waiting(handle)
    pool.submit(lambda: handle._finish(7))
    assert reply.result(LONG) == 7
    assert pool.stop(LONG)


def test_another_process_is_told_whose_handle_it_is(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    handle, pid = work.request(), os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    with pytest.raises(ForkedError, match=rf"to site-1 pending> belongs to process {pid}; make a new cell"):
        handle.result()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_is_refused(work: Work) -> None:
    pending, finished, broadcast = work.handle(), work.handle(), work.broadcast("a")
    finished._finish(7)

    async def wait(handle: Handle[Any]) -> None:
        await handle

    async def iterate() -> None:
        async for _ in broadcast:
            pass

    verbs: list[Callable[[], object]] = [
        pending.result,
        pending.exception,
        pending.cancel,
        lambda: pending.add_done_callback(print),
        lambda: asyncio.run(wait(pending)),
        lambda: asyncio.run(iterate()),
        lambda: next(iter(broadcast)),
    ]

    def check() -> None:
        for verb in verbs:
            with pytest.raises(ForkedError, match=r"belongs to process \d+; make a new cell after a fork"):
                verb()
        assert finished.result() == 7

    assert in_child(check) == 0
    assert work.cancels == 0


# ------------------------------------------------------------------------------------------------------------- asyncio


def test_await(work: Work) -> None:
    async def wait() -> None:
        handle = work.handle()
        thread = Thread(lambda: when_waiting(handle, lambda: handle._finish(7)))
        assert await handle == 7
        assert await handle == 7
        thread.value()

    asyncio.run(wait())


def test_await_raises_what_the_work_raised(work: Work) -> None:
    async def wait() -> None:
        handle = work.handle()
        thread = Thread(lambda: when_waiting(handle, lambda: handle._fail(ValueError("wrong"))))
        with pytest.raises(ValueError, match="wrong"):
            await handle
        thread.value()

    asyncio.run(wait())


def test_await_from_two_loops_and_a_thread(work: Work) -> None:
    handle = work.handle()

    async def wait() -> Any:
        return await asyncio.gather(handle, handle)

    threads = [Thread(lambda: asyncio.run(wait())), Thread(lambda: asyncio.run(wait())), Thread(handle.result)]
    until_waiting(handle, 3)  # `gather` makes one task of equal ones
    handle._finish(7)
    assert [thread.value() for thread in threads] == [[7, 7], [7, 7], 7]


def test_a_cancelled_await_cancels_the_work(work: Work) -> None:
    async def wait() -> None:
        handle = work.handle()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.01)
        assert (handle.cancelled(), work.cancels) == (True, 1)
        handle._finish(7)
        with pytest.raises(asyncio.CancelledError):
            await handle
        assert work.cancels == 1

    asyncio.run(wait())


def test_a_shielded_await_does_not_cancel_the_work(work: Work) -> None:
    async def wait() -> None:
        handle = work.handle()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(handle), 0.01)
        assert not handle.done()
        handle._finish(7)
        assert await handle == 7

    asyncio.run(wait())


def test_a_handle_cancelled_elsewhere_cancels_the_await(work: Work) -> None:
    async def wait() -> None:
        handle = work.handle()
        thread = Thread(lambda: when_waiting(handle, lambda: handle.cancel()))
        with pytest.raises(asyncio.CancelledError):
            await handle
        thread.value()

    asyncio.run(wait())
    assert work.cancels == 1


@pytest.mark.parametrize("race", range(50))
def test_a_cancelled_await_that_races_with_the_end(work: Work, race: int) -> None:
    async def wait() -> None:
        handle = work.handle()

        async def await_it() -> Any:
            return await handle

        task = asyncio.create_task(await_it())
        thread = Thread(lambda: handle._finish(7))
        for _ in range(race % 7):
            await asyncio.sleep(0)
        task.cancel()
        outcome: Any = (await asyncio.gather(task, return_exceptions=True))[0]
        thread.value()
        assert outcome == 7 or isinstance(outcome, asyncio.CancelledError)
        assert work.cancels == handle.cancelled()

    asyncio.run(wait())


def test_an_await_that_is_cancelled_just_after_the_end(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    handle = work.handle()

    async def await_it() -> Any:
        return await handle

    async def wait() -> None:
        task = asyncio.create_task(await_it())
        await asyncio.sleep(0)
        handle._finish(7)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(wait())
    assert (handle.cancelled(), work.cancels, caplog.text) == (False, 0, "")


def test_a_loop_that_is_closed_by_then_harms_nobody(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    handle, broadcast = work.handle(), work.broadcast("a", "b")
    calls: list[int] = []

    async def wait(awaitable: Any) -> None:
        await awaitable

    async def first(handle: BroadcastHandle) -> None:
        async for _ in handle:
            raise AssertionError

    loop = asyncio.new_event_loop()
    coroutines = [wait(handle), first(broadcast)]
    for coroutine in coroutines:
        loop.run_until_complete(step(coroutine))
    loop.close()
    handle.add_done_callback(lambda _: calls.append(1))
    handle._finish(7)
    broadcast._answer("a", Message())
    broadcast._answer("b", Message())
    assert (calls, handle.result(), len(broadcast.result()), caplog.text) == ([1], 7, 2, "")
    for coroutine in coroutines:
        coroutine.close()


def test_another_error_of_a_loop_is_not_hidden(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("some other trouble")

    async def wait() -> None:
        await handle

    handle = work.handle()
    loop = asyncio.new_event_loop()
    coroutine = wait()
    loop.run_until_complete(step(coroutine))
    monkeypatch.setattr(loop, "call_soon_threadsafe", fail)
    handle._finish(7)
    assert "some other trouble" in caplog.text
    coroutine.close()
    loop.close()


async def step(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run the coroutine up to where it first waits, and forget it."""
    coroutine.send(None)


# ------------------------------------------------------------------------------------------------------------- requests


def test_a_reply(work: Work) -> None:
    handle = work.request()
    assert repr(handle) == "<RequestHandle to site-1 pending>"
    reply = make_reply("ok", payload=7)
    handle._finish(reply)
    assert handle.result() is reply
    assert handle.reply() is reply
    assert handle.exception() is None


def test_a_reply_that_is_not_ok(work: Work) -> None:
    handle = work.request()
    reply = make_reply(CellReturnCode.COMM_ERROR, "the link broke")
    handle._finish(reply)
    assert handle.reply() is reply
    with pytest.raises(RequestFailed, match=r"^site-1: comm_error: the link broke$") as caught:
        handle.result()
    assert (caught.value.target, caught.value.code, caught.value.reason) == (
        "site-1",
        CellReturnCode.COMM_ERROR,
        "the link broke",
    )
    assert isinstance(handle.exception(), RequestFailed)

    async def wait() -> None:
        with pytest.raises(RequestFailed):
            await handle
        assert handle.reply() is reply  # it has ended: nothing waits

    asyncio.run(wait())


def test_a_request_that_never_left(work: Work) -> None:
    handle = work.request()
    handle._fail(ServiceUnavailable("stopped"))
    for wait in handle.result, handle.reply:
        with pytest.raises(ServiceUnavailable, match="stopped"):
            wait()


def test_reply_waits(work: Work) -> None:
    handle = work.request()
    thread = Thread(handle.reply)
    until_waiting(handle)
    handle._finish(make_reply("timeout"))
    assert thread.value().return_code is CellReturnCode.TIMEOUT


def test_the_class_of_a_failure_follows_its_code() -> None:
    classes = {code: type(failure("site-1", code, "why")) for code in CellReturnCode}
    special = {
        CellReturnCode.SERVICE_UNAVAILABLE: ServiceUnavailable,
        CellReturnCode.INVALID_REQUEST: InvalidRequest,
        CellReturnCode.INVALID_SESSION: InvalidSession,
        CellReturnCode.AUTHENTICATION_ERROR: AuthenticationError,
        CellReturnCode.ABORT_RUN: AbortRun,
    }
    assert classes == {code: special.get(code, RequestFailed) for code in CellReturnCode}
    assert {failure("site-1", code, "why").code for code in CellReturnCode} == set(CellReturnCode)


# ----------------------------------------------------------------------------------------------------------- broadcasts


def test_a_broadcast_ends_with_its_last_answer(work: Work) -> None:
    handle = work.broadcast("a", "b", "a")
    first, second = make_reply("timeout"), make_reply("ok")
    assert (handle.targets, handle.progress, handle.replies()) == (("a", "b"), Progress(0, 2), {})
    handle._answer("b", first)
    assert (handle.done(), handle.progress, handle.replies()) == (False, Progress(1, 2), {"b": first})
    assert repr(handle) == "<BroadcastHandle 1/2 pending>"
    handle._answer("a", second)
    assert handle.result() == {"a": second, "b": first}
    assert list(handle.result()) == ["a", "b"]
    assert list(handle) == [("b", first), ("a", second)]
    assert repr(handle) == "<BroadcastHandle 2/2 finished>"


def test_answers_twice_or_from_others_are_ignored(work: Work) -> None:
    handle = work.broadcast("a", "b")
    first, second = Message(), Message()
    handle._answer("a", first)
    handle._answer("a", second)
    handle._answer("c", second)
    assert handle.replies() == {"a": first}


def test_a_broadcast_to_nobody_has_ended(work: Work) -> None:
    handle = work.broadcast()
    assert (handle.result(), list(handle), handle.progress) == ({}, [], Progress(0, 0))


def test_iteration_gives_answers_as_they_come(work: Work) -> None:
    handle = work.broadcast("a", "b", "c")
    handle._answer("b", Message())
    seen: list[str] = []

    def iterate() -> None:
        for target, _ in handle:
            seen.append(target)
            handle._answer("c", Message())

    thread = Thread(iterate)
    until_waiting(handle)
    while seen != ["b", "c"]:
        threading.Event().wait(0.001)
    assert not handle.done()
    handle._answer("a", Message())
    thread.value()
    assert seen == ["b", "c", "a"]


def test_async_iteration_gives_answers_as_they_come(work: Work) -> None:
    async def iterate() -> None:
        handle = work.broadcast("a", "b", "c")
        handle._answer("b", Message())
        left = iter(["c", "a"])
        seen: list[str] = []
        threads: list[Thread] = []
        async for target, _ in handle:
            seen.append(target)
            if (following := next(left, None)) is not None:
                threads.append(Thread(lambda target=following: handle._answer(target, Message())))  # type: ignore[misc]
        assert seen == ["b", "c", "a"]
        for thread in threads:
            thread.value()

    asyncio.run(iterate())


def test_iteration_ends_with_the_error_of_the_work(work: Work) -> None:
    failed, cancelled = work.broadcast("a", "b"), work.broadcast("a", "b")
    for handle in failed, cancelled:
        handle._answer("a", Message())
    failed._fail(ServiceUnavailable("stopped"))
    cancelled.cancel()
    cancelled._answer("b", Message())

    async def iterate(handle: BroadcastHandle) -> list[str]:
        return [target async for target, _ in handle]

    for handle, in_thread, in_loop in (
        (failed, ServiceUnavailable, ServiceUnavailable),
        (cancelled, concurrent.futures.CancelledError, asyncio.CancelledError),
    ):
        answers = iter(handle)
        assert next(answers)[0] == "a"
        with pytest.raises(in_thread):
            next(answers)
        with pytest.raises(in_loop):
            asyncio.run(iterate(handle))
        assert list(handle.replies()) == ["a"]


def test_a_cancelled_async_iteration_cancels_the_work(work: Work) -> None:
    async def iterate() -> None:
        handle = work.broadcast("a", "b")
        handle._answer("a", Message())

        async def collect() -> None:
            async for _ in handle:
                pass

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(collect(), 0.01)
        assert (handle.cancelled(), work.cancels) == (True, 1)

    asyncio.run(iterate())


def test_a_broken_off_iteration_does_not_cancel_the_work(work: Work) -> None:
    async def iterate() -> None:
        handle = work.broadcast("a", "b")
        handle._answer("a", Message())
        async for _ in handle:
            break
        for _ in range(2):
            handle._answer("b", Message())
        assert len(await handle) == 2

    asyncio.run(iterate())
    assert work.cancels == 0


def test_iteration_on_the_reactor_and_in_a_loop_is_refused_where_it_would_wait(work: Work) -> None:
    handle = work.broadcast("a", "b")
    handle._answer("a", Message())

    async def iterate() -> None:
        answers = iter(handle)
        assert next(answers)[0] == "a"
        with pytest.raises(WouldDeadlockError):
            next(answers)

    asyncio.run(iterate())
    work.reactor = threading.current_thread()
    with pytest.raises(WouldDeadlockError):
        list(handle)
    handle._answer("b", Message())
    assert len(list(handle)) == 2


@pytest.mark.parametrize("race", range(30))
def test_each_iteration_sees_each_answer_once(work: Work, race: int) -> None:
    targets = [f"site-{number}" for number in range(50)]
    handle = work.broadcast(*targets)

    async def collect() -> list[str]:
        return [target async for target, _ in handle]

    def answer(part: list[str]) -> None:
        for target in part:
            handle._answer(target, Message())

    dice = random.Random(race)
    dice.shuffle(targets)
    threads = [
        Thread(lambda: answer(targets[:30])),
        Thread(lambda: [target for target, _ in handle]),
        Thread(lambda: asyncio.run(collect())),
        Thread(lambda: answer(targets[20:])),
    ]
    _, in_thread, in_loop, _ = [thread.value() for thread in threads]
    assert in_thread == in_loop == list(handle.replies())
    assert sorted(in_thread) == sorted(targets)
