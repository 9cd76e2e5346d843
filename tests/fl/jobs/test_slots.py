"""So many execute at once, in the order of asking; a slot comes back however its holder ends."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from zmqfl.context.event_type import EventType
from zmqfl.context.fl_context import FLContext, FLContextManager
from zmqfl.context.keys import ReservedKey
from zmqfl.context.signal import Signal
from zmqfl.fl.jobs.slots import GRANTED, SlotTaker, granting

LONG = 20.0


async def ask(file: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(file)


async def granted(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(LONG):
        return await reader.readexactly(1) == GRANTED


def test_in_the_order_of_asking(tmp_path: Path) -> None:
    async def play() -> None:
        file = tmp_path / "slots"
        async with granting(file, 2):
            first, second, third = [await ask(file) for _ in range(3)]
            assert await granted(first[0])
            assert await granted(second[0])
            waiting = asyncio.create_task(granted(third[0]))
            assert not waiting.done()
            second[1].close()  # also what the kernel does for one that is killed
            assert await waiting
            fourth = await ask(file)
            fourth[1].close()  # it does not wait any more, so it takes nobody's place
            fifth = await ask(file)
            first[1].close()
            assert await granted(fifth[0])
            for _, writer in (third, fifth):
                writer.close()

    asyncio.run(play())


def test_it_ends_with_holders_and_askers(tmp_path: Path) -> None:
    async def play() -> None:
        async with granting(tmp_path / "slots", 1):
            holder, asker = [await ask(tmp_path / "slots") for _ in range(2)]
            assert await granted(holder[0])
        assert await asker[0].read() == b""
        for _, writer in (holder, asker):
            writer.close()

    asyncio.run(play())


class Grantor:
    """Listens like `granting`, and grants when it is told to."""

    def __init__(self, file: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(file))
        self.listener.listen()
        self.listener.settimeout(LONG)

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(LONG)
        return connection


def context(abort: Signal) -> FLContext:
    fl_ctx = FLContextManager(None, "site-1", "job").new_context()
    fl_ctx.put(ReservedKey.RUN_ABORT_SIGNAL, abort, private=True, sticky=False)
    return fl_ctx


def fire(taker: SlotTaker, event: str, fl_ctx: FLContext) -> None:
    for handler in taker.handlers_of(event):
        handler.call(event, fl_ctx)


@pytest.mark.parametrize(
    "end", [EventType.AFTER_TASK_EXECUTION, EventType.BEFORE_SEND_TASK_RESULT, EventType.BEFORE_PULL_TASK]
)
def test_a_slot_is_held_while_it_executes(tmp_path: Path, end: str) -> None:
    grantor, fl_ctx = Grantor(tmp_path / "slots"), context(Signal())
    taker = SlotTaker(str(tmp_path / "slots"))
    executing = threading.Thread(target=fire, args=(taker, EventType.BEFORE_TASK_EXECUTION, fl_ctx))
    executing.start()
    connection = grantor.accept()
    assert executing.is_alive()
    connection.send(GRANTED)
    executing.join(LONG)
    assert not executing.is_alive()
    fire(taker, end, fl_ctx)
    assert connection.recv(1) == b""
    fire(taker, end, fl_ctx)  # there is nothing to give back
    connection.close()
    grantor.listener.close()


def test_an_abort_ends_the_wait(tmp_path: Path) -> None:
    grantor, abort = Grantor(tmp_path / "slots"), Signal()
    taker = SlotTaker(str(tmp_path / "slots"))
    executing = threading.Thread(target=fire, args=(taker, EventType.BEFORE_TASK_EXECUTION, context(abort)))
    executing.start()
    connection = grantor.accept()
    abort.trigger()
    executing.join(LONG)
    assert not executing.is_alive()
    fire(taker, EventType.END_RUN, context(abort))
    connection.close()
    grantor.listener.close()


def test_without_a_grantor_it_executes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fire(SlotTaker(str(tmp_path / "nothing")), EventType.BEFORE_TASK_EXECUTION, context(Signal()))
    assert "executes without a slot" in caplog.text
