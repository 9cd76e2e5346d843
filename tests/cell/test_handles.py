from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import random
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

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

T = TypeVar("T")


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
        except BaseException as error:
            self.outcome.set_exception(error)

    def value(self) -> Any:
        self.join(LONG)
        return self.outcome.result(0)


class Loop(asyncio.DefaultEventLoopPolicy):
    """Not a loop of its own: `until_waiting` tells when a thread or task waits for a handle."""


def until_waiting(handle: Handle[Any], number: int = 1) -> None:
    """Until `number` threads or tasks wait for the handle."""
    while len(handle._callbacks) < number:
        os.sched_yield()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)
