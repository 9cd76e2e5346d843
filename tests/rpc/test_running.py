from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from tests.system.federation import LONG
from zmqfl.errors import UsageError
from zmqfl.rpc.running import CallCancelled, RunningCall, current_call, running


def test_the_current_call() -> None:
    outer, inner = RunningCall("a", "server"), RunningCall("b", "site-1", sealed=True)
    with running(outer):
        assert current_call() is outer
        with running(inner):
            assert current_call() is inner
        assert current_call() is outer
        assert contextvars.copy_context().run(current_call) is outer
    with pytest.raises(UsageError, match="no rpc_ method runs here"):
        current_call()


def test_coroutines_have_each_their_own() -> None:
    async def work(name: str) -> str:
        with running(RunningCall(name, "server")):
            await asyncio.sleep(0)
            return current_call().method

    async def main() -> list[str]:
        return await asyncio.gather(*(work(str(number)) for number in range(5)))

    assert asyncio.run(main()) == list("01234")


def test_cancelled() -> None:
    call = RunningCall("train", "server")
    call.check()
    assert not call.cancelled
    assert not call.wait(0)
    assert repr(call) == "<RunningCall train of server>"
    waiting = threading.Thread(target=call.wait, args=(LONG,))
    waiting.start()
    call.cancel("its caller waits no longer")
    call.cancel("something else")  # the first reason stands
    waiting.join(LONG)
    assert not waiting.is_alive()
    assert call.wait(LONG)
    with pytest.raises(CallCancelled, match="train of server: its caller waits no longer"):
        call.check()
    assert repr(call) == "<RunningCall train of server cancelled>"
