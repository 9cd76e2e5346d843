"""The service of a cell: one, made when it is needed, ended with the cell."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from tests.streaming.downloads import Numbers, Taker
from tests.streaming.sites import Sites
from tests.system.federation import LONG, until
from zmqfl import Cell
from zmqfl.errors import ArgumentError, ClosedError
from zmqfl.streaming.download_service import DownloadService
from zmqfl.streaming.downloading import download_object
from zmqfl.streaming.object_downloader import ObjectDownloader
from zmqfl.streaming.object_transaction import TransactionCallbacks


@pytest.fixture
def server(sites: Sites) -> Cell:
    return sites.federation.start("server")


def timers() -> int:
    return sum(thread.name.startswith("zmqfl-downloads") for thread in threading.enumerate())


def test_there_is_one_per_cell(sites: Sites, server: Cell) -> None:
    site = sites.federation.start("site-1", server, None)
    assert DownloadService.of(server) is DownloadService.of(server)
    assert DownloadService.of(site) is not DownloadService.of(server)
    assert repr(DownloadService.of(site)).startswith("<DownloadService of site-1, <Offers 0 objects")
    with pytest.raises(ArgumentError, match="cell must be a Cell"):
        DownloadService.of(3)  # type: ignore[arg-type]


def test_it_goes_with_its_cell() -> None:
    with Cell("server", listen="tcp://127.0.0.1:*") as cell:
        downloader = ObjectDownloader(cell, 1000, 1)
        downloader.add_object(Numbers())
        service, waiter = weakref.ref(DownloadService.of(cell)), downloader.get_waiter()
        assert timers() == 1
    assert waiter.wait(LONG)
    until(lambda: timers() == 0)
    del downloader, waiter, cell
    until(lambda: gc.collect() is not None and service() is None)


def test_what_is_known_of_transactions(sites: Sites, server: Cell) -> None:
    site, service = sites.federation.start("site-1", server, None), DownloadService.of(server)
    downloader = ObjectDownloader(server, 1000, 1)
    rid, tx = downloader.add_object(Numbers(1)), downloader.tx_id
    assert service.get_transaction_id(rid) == tx
    assert service.get_transfer_waiter(tx) is downloader.get_waiter()
    assert (service.get_transaction_outcome(tx), service.get_acquired_receivers(tx)) == (None, ())
    download_object("server", rid, LONG, site, Taker())
    outcome = downloader.get_waiter().wait(LONG)
    assert service.get_transaction_id(rid) is None
    assert service.get_transfer_waiter(tx) is downloader.get_waiter()
    assert (service.get_transaction_outcome(tx), service.get_acquired_receivers(tx)) == (outcome, ("site-1",))
    assert (service.get_transfer_waiter("T"), service.get_transaction_outcome("T")) == (None, None)
    assert service.get_acquired_receivers("T") == ()


def test_all_may_be_shut_down(server: Cell) -> None:
    downloaders = [ObjectDownloader(server, 1000, 1) for _ in range(3)]
    DownloadService.of(server).shutdown()
    for downloader in downloaders:
        outcome = downloader.get_waiter().wait(LONG)
        assert outcome is not None
        assert outcome.reason == "deleted"
    until(lambda: timers() == 0)


def test_a_cell_that_does_not_run() -> None:
    cell = Cell("server", listen="tcp://127.0.0.1:*")
    with pytest.raises(ClosedError):
        DownloadService.of(cell).new_transaction(1, 10.0, TransactionCallbacks())
    cell.close()


def test_the_numbers_of_an_object(server: Cell) -> None:
    obj = Numbers()
    ObjectDownloader(server, 1000, 7).add_object(obj)
    assert obj.num_receivers == 7
