"""Callbacks of the application: functions and coroutine functions alike."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest

from zmqfl.cell.callbacks import callback
from zmqfl.cell.workers import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers("zmqfl-test", 1, 2, 2, 1024)
    yield workers
    workers.stop(5.0)


def test_nothing_is_no_callback() -> None:
    assert callback(None) is None


def test_a_function_gets_our_arguments_first_and_its_own_by_name() -> None:
    made = callback(lambda *args, **kwargs: (args, kwargs), {"round": 3})
    assert made is not None
    assert made.run("R1", "site-1") == (("R1", "site-1"), {"round": 3})


def test_what_the_application_does_to_its_keywords_later_changes_nothing() -> None:
    kwargs = {"round": 3}
    made = callback(lambda **given: given, kwargs)
    kwargs["round"] = 4
    assert made is not None
    assert made.run() == {"round": 3}


def test_a_coroutine_runs_on_the_loop_that_registered_it() -> None:
    async def where() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def main() -> None:
        made = callback(where)
        assert made is not None
        assert await asyncio.to_thread(made.run) is asyncio.get_running_loop()

    asyncio.run(main())


def test_a_coroutine_that_no_loop_registered_has_one_of_its_own() -> None:
    async def answer() -> str:
        await asyncio.sleep(0)
        return "done"

    made = callback(answer)
    assert made is not None
    assert made.run() == "done"


def test_a_coroutine_whose_loop_is_closed_runs_all_the_same() -> None:
    async def answer() -> str:
        return "done"

    async def register() -> object:
        return callback(answer)

    made = asyncio.run(register())
    assert made.run() == "done"  # type: ignore[attr-defined]


def test_what_a_callback_raises_is_logged_and_the_next_one_runs(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()

    def fail() -> None:
        raise ValueError("of the application")

    failing, fine = callback(fail), callback(done.set)
    assert failing is not None
    assert fine is not None
    with caplog.at_level(logging.ERROR, "zmqfl.cell"):
        failing.call(workers)
        fine.call(workers)
        assert done.wait(10)
        workers.stop(10)  # the first may still be at its line for the log
    assert "of the application" in caplog.text


def test_it_runs_even_where_no_worker_is_left(workers: Workers) -> None:
    workers.stop(5.0)
    done = threading.Event()
    made = callback(done.set)
    assert made is not None
    made.call(workers)
    assert done.is_set()
