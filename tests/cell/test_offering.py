"""Transactions of files at their owner: ids that are chosen, and hooks for who keeps accounts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.system.federation import LONG, Federation
from zmqfl import Cell, TransferError
from zmqfl.blobs.source import BufferSource
from zmqfl.errors import ArgumentError, ClosedError

RID = "R0123456789abcdef"


class Kept(BufferSource):
    """A source that tells whether it is closed."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True
        super().close()


def source() -> Kept:
    return Kept("model.pt", b"x" * 1000)


@pytest.fixture
def server(federation: Federation) -> Cell:
    return federation.start("server")


@pytest.fixture
def site(federation: Federation, server: Cell) -> Cell:
    return federation.start("site-1", server, None)


def test_an_id_may_be_chosen(server: Cell, site: Cell) -> None:
    with server.new_transaction(100) as transaction:
        assert transaction.add(source(), 100, rid=RID) == RID
        assert site.pull(RID, "server", timeout=LONG).result(LONG) == b"x" * 1000
    with pytest.raises(TransferError, match="no such reference"):
        site.pull(RID, "server", timeout=LONG).result(LONG)
    with server.new_transaction(100) as transaction:  # it is free again
        transaction.add(source(), 100, rid=RID)
        assert site.pull(RID, "server", timeout=LONG).result(LONG) == b"x" * 1000


def test_ids_that_are_made_differ_and_cannot_be_guessed(server: Cell) -> None:
    with server.new_transaction(100) as transaction:
        ids = {transaction.add(source(), 100) for _ in range(3)}
    assert len(ids) == 3
    assert all(len(rid) == 33 for rid in ids)


@pytest.mark.parametrize("rid", ["", "short", 3])
def test_ids_that_cannot_be(server: Cell, rid: Any) -> None:
    it = source()
    with server.new_transaction(100) as transaction, pytest.raises(ArgumentError, match="rid"):
        transaction.add(it, 100, rid=rid)
    assert it.is_closed


def test_an_id_that_is_in_use(server: Cell, site: Cell) -> None:
    first, second = source(), source()
    with server.new_transaction(100) as transaction, server.new_transaction(100) as other:
        transaction.add(first, 100, rid=RID)
        with pytest.raises(ArgumentError, match="is in use at server"):
            other.add(second, 100, rid=RID)
        assert (first.is_closed, second.is_closed) == (False, True)
        assert site.pull(RID, "server", timeout=LONG).result(LONG) == b"x" * 1000


def test_who_begins_is_told(server: Cell, site: Cell, tmp_path: Path) -> None:
    opened: list[Any] = []
    with server.new_transaction(100) as transaction:
        transaction.add(source(), 100, rid=RID, on_opened=lambda rid, receiver: opened.append((rid, receiver)))
        transaction.add(source(), 100, ["site-2"], rid=RID + "2", on_opened=lambda *args: opened.append(args))
        site.pull(RID, "server", tmp_path, timeout=LONG).result(LONG)
        with pytest.raises(TransferError):
            site.pull(RID + "2", "server", tmp_path, timeout=LONG).result(LONG)
    assert opened == [(RID, "site-1")]


def test_who_was_active(server: Cell, site: Cell) -> None:
    told: list[tuple[float, Mapping[Any, float]]] = []
    heard = threading.Event()

    def tell(active: float, receivers: Mapping[Any, float]) -> None:
        told.append((active, dict(receivers)))
        heard.set()

    with server.new_transaction(100) as transaction:
        transaction.add(source(), 100, rid=RID)
        transaction.ask_activity(tell)
        assert heard.wait(LONG)
        gate = threading.Event()
        entered = threading.Event()
        slow = source()
        read = slow.read

        def held(offset: int, length: int) -> memoryview:
            if offset:
                entered.set()
                assert gate.wait(LONG)
            return read(offset, length)

        slow.read = held  # type: ignore[method-assign]
        transaction.add(slow, 100, rid=RID + "2")
        pull = site.pull(RID + "2", "server", timeout=LONG)
        assert entered.wait(LONG)
        heard.clear()
        transaction.ask_activity(tell)
        assert heard.wait(LONG)
        gate.set()
        pull.result(LONG)
    assert told[0][1] == {}
    assert told[1][0] >= told[0][0]
    assert list(told[1][1]) == [(RID + "2", "site-1")]
    transaction.ask_activity(lambda *args: told.append(args))  # it has ended: nobody is told
    server.statistics()
    assert len(told) == 2


def test_jobs_run_on_workers_and_in_any_case(server: Cell) -> None:
    transaction = server.new_transaction(100)
    names: list[str] = []
    done = threading.Event()

    def job() -> None:
        names.append(threading.current_thread().name)
        done.set()

    transaction.run(job)
    assert done.wait(LONG)
    assert names[0].startswith("zmqfl-calls:server")
    server.close()
    transaction.run(job)
    assert names[1] == threading.current_thread().name


def test_the_end_of_the_cell_is_told_once(server: Cell) -> None:
    transaction = server.new_transaction(100)
    calls: list[str] = []
    transaction.on_closed(lambda: calls.append("before"))
    assert calls == []
    server.close()
    assert calls == ["before"]
    transaction.on_closed(lambda: calls.append("after"))
    server.close()
    assert calls == ["before", "after"]
    with pytest.raises(ClosedError):
        transaction.ask_activity(lambda *args: None)
