from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from typing import Any

import pytest

from zmqfl.cell.handles import RequestHandle
from zmqfl.cell.message import Message, make_reply
from zmqfl.cell.read_handle import ReadHandle
from zmqfl.errors import ClosedError, WouldDeadlockError


class Asked:
    """A request that is played, and how often its reply is read."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.reads = 0
        self.request = RequestHandle("site-1", on_cancel=self._cancel, on_reactor=lambda: False)
        self.handle: ReadHandle[Any] = ReadHandle(self.request, self._read)

    def _cancel(self) -> None:
        self.cancelled += 1

    def _read(self, reply: Message) -> Any:
        self.reads += 1
        if not reply.ok:
            raise KeyError(reply.error)
        return reply.payload


def test_the_value_is_what_the_reply_says_read_once_and_late() -> None:
    asked = Asked()
    assert repr(asked.handle) == "<ReadHandle to site-1 pending>"
    asked.request._finish(Message(payload=42))
    assert asked.handle.done()
    assert asked.reads == 0
    assert [asked.handle.result(), asked.handle.result(1), asked.handle.exception()] == [42, 42, None]
    assert asked.reads == 1
    assert repr(asked.handle) == "<ReadHandle to site-1 finished>"


def test_none_is_a_value() -> None:
    asked = Asked()
    asked.request._finish(Message())
    assert asked.handle.result() is None
    assert asked.handle.result() is None
    assert asked.reads == 1


def test_await() -> None:
    asked = Asked()

    async def main() -> Any:
        asyncio.get_running_loop().call_soon(asked.request._finish, Message(payload=42))
        with pytest.raises(WouldDeadlockError):
            asked.handle.result()
        return await asked.handle

    assert asyncio.run(main()) == 42


def test_what_reading_raises_is_the_outcome() -> None:
    asked = Asked()
    asked.request._finish(make_reply("comm_error", "w"))
    for _ in range(2):
        with pytest.raises(KeyError, match="w"):
            asked.handle.result()
    assert isinstance(asked.handle.exception(), KeyError)
    assert asked.reads == 1


def test_a_request_that_cannot_end_fails_it() -> None:
    asked = Asked()
    asked.request._fail(ClosedError("cell server was closed"))
    with pytest.raises(ClosedError, match="cell server was closed"):
        asked.handle.result()
    assert asked.reads == 0


def test_cancelling_it_cancels_the_request() -> None:
    asked = Asked()
    assert asked.handle.cancel()
    assert asked.request.cancelled()
    assert asked.cancelled == 1
    with pytest.raises(CancelledError):
        asked.handle.result()


def test_a_cancelled_request_cancels_it() -> None:
    asked = Asked()
    asked.request.cancel()
    assert asked.handle.cancelled()
    assert asked.cancelled == 1
