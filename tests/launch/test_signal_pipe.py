"""Waits of the main thread that no signal gets lost in."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from zmqfl.cell.handles import Handle
from zmqfl.launch.signal_pipe import SignalPipe


class Interrupted(Exception):
    pass


@pytest.fixture
def pipe() -> Iterator[SignalPipe]:
    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    with closing(SignalPipe()) as pipe:
        yield pipe
    signal.signal(signal.SIGUSR1, before)


def handle() -> Handle[bool]:
    return Handle(on_cancel=lambda: None, on_reactor=lambda: False)


def test_a_handler_raises_out_of_a_wait(pipe: SignalPipe) -> None:
    with pytest.raises(Interrupted):  # noqa: PT012  it may come already while the thread starts
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
        pipe.wait()


def test_a_signal_to_another_thread_wakes_the_main_one(pipe: SignalPipe) -> None:
    def signal_itself() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    with pytest.raises(Interrupted):  # noqa: PT012
        threading.Thread(target=signal_itself).start()
        pipe.wait_for(handle())


def test_the_end_of_a_handle(pipe: SignalPipe) -> None:
    ended = handle()
    ended._finish(True)
    assert pipe.wait_for(ended)
    later = handle()
    threading.Thread(target=later._finish, args=(False,)).start()
    assert pipe.wait_for(later) is False


def test_an_event_loop_is_woken(pipe: SignalPipe) -> None:
    async def wait() -> None:
        loop = asyncio.get_running_loop()
        pipe.watch_in(loop)
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
        await loop.create_future()

    with pytest.raises(Interrupted):
        asyncio.run(wait())
