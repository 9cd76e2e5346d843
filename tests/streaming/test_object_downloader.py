"""Objects that are downloaded, between real cells: the order of all callbacks, and who counts."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest

from tests.streaming.downloads import RID, Log, Numbers, Taker, pass_time
from tests.streaming.sites import Sites, write
from tests.system.federation import LONG, Gate
from zmqfl import Cell, Message
from zmqfl.errors import ArgumentError, ClosedError
from zmqfl.streaming.downloadable import DownloadStatus, TransactionDoneStatus
from zmqfl.streaming.downloading import download_object
from zmqfl.streaming.file_downloader import download_file
from zmqfl.streaming.object_downloader import ObjectDownloader
from zmqfl.streaming.offered_file import add_file
from zmqfl.streaming.transfer_outcome import TransferReason, TransferState


@pytest.fixture
def server(sites: Sites) -> Cell:
    return sites.federation.start("server")


@pytest.fixture
def site(sites: Sites, server: Cell) -> Cell:
    return sites.federation.start("site-1", server, None)


def begin(cell: Cell, log: Log, *names: str, timeout: float = 1000.0, **options: Any) -> ObjectDownloader:
    """A downloader that writes down what it hears."""
    if names:
        options = {"receiver_ids": names, "num_receivers": len(names), **options}
    return ObjectDownloader(
        cell,
        timeout,
        transaction_done_cb=lambda *args, **kwargs: log.write(("done", args, kwargs)),
        progress_cb=lambda **report: log.write(("progress", report["state"], report["bytes_done"])),
        progress_interval=0,
        outcome_cb=lambda outcome: log.write(("outcome", outcome.state)),
        colour="red",
        **options,
    )


def get(cell: Cell, rid: str, taker: Taker | None = None, owner: str = "server", **options: Any) -> Taker:
    taker = taker or Taker()
    download_object(owner, rid, LONG, cell, taker, **options)
    return taker


# -- good ends ---------------------------------------------------------------------------------------------------------


def test_pull_D02_signatures() -> None:
    parameters = inspect.signature(ObjectDownloader).parameters
    assert list(parameters) == [
        "cell", "timeout", "num_receivers", "tx_id", "transaction_done_cb", "progress_cb", "progress_interval",
        "outcome_cb", "receiver_ids", "min_receivers", "receiver_acquire_timeout", "receiver_idle_timeout", "cb_kwargs",
    ]  # fmt: skip
    assert parameters["progress_interval"].default == 30.0
    parameters = inspect.signature(download_object).parameters
    assert list(parameters) == [
        "from_fqcn", "ref_id", "per_request_timeout", "cell", "consumer", "secure", "optional", "abort_signal",
        "max_retries", "progress_cb", "progress_interval",
    ]  # fmt: skip
    assert [each.default for each in parameters.values()][5:] == [False, False, None, 3, None, 30.0]
    assert list(inspect.signature(ObjectDownloader.add_object).parameters) == ["self", "obj", "ref_id"]
    assert list(inspect.signature(add_file).parameters) == [
        "downloader", "file_name", "chunk_size", "ref_id", "file_downloaded_cb", "cb_kwargs",
    ]  # fmt: skip


def test_pull_D02_the_order_of_an_object(server: Cell, site: Cell) -> None:
    log = Log()
    downloader = begin(server, log, "site-1")
    obj = Numbers(2, log)
    rid = downloader.add_object(obj)
    assert obj.ids == (downloader.tx_id, rid)
    assert get(site, rid).taken == [bytes([0]) * 10, bytes([1]) * 10]
    outcome = downloader.get_waiter().wait(LONG)
    log.write("the waiter returned")
    assert log.lines == [
        ("progress", "start", 0),
        ("progress", "active", 10),
        ("progress", "active", 20),
        ("one", "site-1", "success"),
        ("all",),
        ("progress", "completed", 20),
        ("object done", True, "finished"),
        ("done", (downloader.tx_id, "finished", ["numbers below 2"]), {"colour": "red"}),
        ("outcome", "completed"),
        ("release",),
        "the waiter returned",
    ]
    assert outcome is not None
    assert (outcome.statuses, outcome.quorum_met) == ({rid: {"site-1": "success"}}, True)


def test_pull_D02_the_order_of_a_file(server: Cell, site: Cell, tmp_path: Any) -> None:
    log = Log()
    downloader = begin(server, log, "site-1")
    path = write(tmp_path, 3000)
    rid = add_file(downloader, str(path), None, None, lambda *args, **kwargs: log.write((args, kwargs)), b=2)
    (tmp_path / "in").mkdir()
    assert download_file("server", rid, LONG, site, str(tmp_path / "in"))[0] is None
    assert downloader.get_waiter().wait(LONG)
    assert log.lines == [
        ("progress", "start", 0),
        ("progress", "active", 3000),
        (("site-1", "success", str(path)), {"b": 2}),
        (("", "", str(path)), {"b": 2}),
        ("progress", "completed", 3000),
        ("done", (downloader.tx_id, "finished", [str(path)]), {"colour": "red"}),
        ("outcome", "completed"),
    ]


def test_several_receivers_and_objects(sites: Sites, server: Cell) -> None:
    cells = [sites.federation.start(f"site-{number}", server, None) for number in range(1, 5)]
    log = Log()
    downloader = begin(server, log, *(cell.fqcn for cell in cells))
    rids = [downloader.add_object(Numbers(count, log)) for count in (0, 5)]
    takers = [Taker() for _ in range(8)]
    threads = [
        threading.Thread(target=get, args=(cell, rid, taker))
        for (cell, rid), taker in zip([(cell, rid) for cell in cells for rid in rids], takers, strict=True)
    ]
    for thread in threads:
        thread.start()
    outcome = downloader.get_waiter().wait(LONG)
    for thread in threads:
        thread.join(LONG)
    assert outcome is not None
    assert outcome.succeeded == tuple(cell.fqcn for cell in cells)
    assert [len(taker.taken) for taker in takers] == [0, 5] * 4
    assert log.lines.count(("all",)) == 2
    assert sum(line[0] == "one" for line in log.lines) == 8
    assert downloader.get_waiter().acquired_receivers() == outcome.succeeded


@pytest.mark.parametrize(("owner", "receiver"), [("site-2", "relay.site-1"), ("relay.site-1", "server")])
def test_every_direction(sites: Sites, owner: str, receiver: str) -> None:
    cells = {cell.fqcn: cell for cell in sites.federation.tree()}
    downloader = begin(cells[owner], Log(), receiver)
    assert get(cells[receiver], downloader.add_object(Numbers(3)), owner=owner).ends == ["completed"]
    assert downloader.get_waiter().wait(LONG)


def test_the_ids_may_be_chosen(server: Cell, site: Cell) -> None:
    downloader = begin(server, Log(), "site-1", tx_id="round-7")
    assert downloader.tx_id == "round-7"
    assert downloader.add_object(Numbers(), RID) == RID
    assert get(site, RID).ends == ["completed"]
    assert downloader.get_waiter().wait(LONG)
    with pytest.raises(ValueError, match="already in use"):
        begin(server, Log(), "site-1", tx_id="round-7")
    with pytest.raises(ValueError, match="is in use, or was"):
        begin(server, Log(), "site-1").add_object(Numbers(), RID)


def test_callbacks_that_fail_stop_nobody(server: Cell, site: Cell, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError("broken")

    class Failing(Numbers):
        downloaded_to_one = downloaded_to_all = transaction_done = release = fail

    downloader = ObjectDownloader(server, 1000, 1, None, fail, fail, 0, fail)
    assert get(site, downloader.add_object(Failing())).ends == ["completed"]
    outcome = downloader.get_waiter().wait(LONG)
    assert outcome is not None
    assert outcome.ok
    assert caplog.text.count("a callback failed") == 11


def test_callbacks_may_be_coroutines_and_may_delete(server: Cell, site: Cell) -> None:
    log = Log()

    async def main() -> None:
        async def done(tx_id: str, status: TransactionDoneStatus, base_objs: list[Any]) -> None:
            downloader.delete_transaction()  # has ended: does nothing
            log.write((threading.current_thread() is threading.main_thread(), status))

        downloader = ObjectDownloader(server, 1000, 1, transaction_done_cb=done)
        await asyncio.to_thread(get, site, downloader.add_object(Numbers()))
        assert await asyncio.to_thread(downloader.get_waiter().wait, LONG)

    asyncio.run(main())
    assert log.lines == [(True, "finished")]


# -- who counts --------------------------------------------------------------------------------------------------------


def test_pull_D12_a_quorum_of_named_receivers(sites: Sites, server: Cell, site: Cell) -> None:
    other = sites.federation.start("site-2", server, None)
    stranger = sites.federation.start("stranger", server, None)
    log = Log()
    names = [f"site-{number}" for number in range(1, 501)]
    downloader = begin(server, log, *names, min_receivers=2, receiver_acquire_timeout=100.0)
    rid = downloader.add_object(Numbers(1, log))
    waiter = downloader.get_waiter()
    assert get(stranger, rid).ends == ["completed"]
    assert get(site, rid).ends == ["completed"]
    assert waiter.wait(0, linger=0) is None
    assert get(other, rid).ends == ["completed"]
    so_far = waiter.wait(LONG, linger=0)
    assert so_far is not None
    assert (so_far.state, so_far.quorum_met, waiter.done()) == (TransferState.ACTIVE, True, False)
    pass_time(server, 101)
    outcome = waiter.wait(LONG)
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (TransferState.FAILED, TransferReason.RECEIVER_FAILED)
    assert (outcome.quorum_met, len(outcome.failed)) == (True, 498)
    assert waiter.acquired_receivers() == ("site-1", "site-2")
    ones = [line[1:] for line in log.lines if line[0] == "one"]
    assert ones[:3] == [("stranger", "success"), ("site-1", "success"), ("site-2", "success")]
    assert ones[3:] == [(name, "failed") for name in sorted(names[2:])]


def test_the_last_chunk_is_not_delivered_before_it_is_confirmed(server: Cell, site: Cell) -> None:
    log = Log()
    downloader = begin(server, log, "site-1", receiver_idle_timeout=50.0)
    rid = downloader.add_object(Numbers(1, log))

    class Stuck(Taker):
        def download_completed(self, ref_id: str) -> None:
            pass_time(server, 51)
            log.wait_for(("one", "site-1", "failed"))
            super().download_completed(ref_id)

    get(site, rid, Stuck())
    outcome = downloader.get_waiter().wait(LONG)
    assert outcome is not None
    assert outcome.reason is TransferReason.RECEIVER_FAILED
    assert sum(line[0] == "one" for line in log.lines) == 1


def test_inactivity_ends_it_once(server: Cell, site: Cell) -> None:
    log = Log()
    downloader = begin(server, log, num_receivers=0, timeout=100.0)
    rid = downloader.add_object(Numbers(1, log))
    for _ in range(2):
        pass_time(server, 90)
        assert get(site, rid).ends == ["completed"]
    pass_time(server, 101)
    outcome = downloader.get_waiter().wait(LONG)
    assert outcome is not None
    assert outcome.reason is TransferReason.UNKNOWN_RECEIVER_COUNT
    pass_time(server, 101)
    assert "is gone: its transaction has ended (timeout)" in get(site, rid).ends[0]
    assert [line[1][1] for line in log.lines if line[0] == "done"] == ["timeout"]


class Failing(Taker):
    def download_completed(self, ref_id: str) -> None:
        raise RuntimeError("cannot be used")


def test_who_cannot_use_it_has_failed(server: Cell, site: Cell) -> None:
    log = Log()
    downloader = begin(server, log, "site-1")
    with pytest.raises(RuntimeError, match="cannot be used"):
        get(site, downloader.add_object(Numbers(1, log)), Failing())
    outcome = downloader.get_waiter().wait(LONG)
    assert outcome is not None
    assert outcome.failed == ("site-1",)
    assert ("one", "site-1", DownloadStatus.FAILED) in log.lines


# -- bad ends ----------------------------------------------------------------------------------------------------------


def test_a_finished_reference_is_gone(server: Cell, site: Cell) -> None:
    downloader = begin(server, Log(), "site-1")
    for count in 3, 0:  # also where nothing would be the right answer
        downloader = begin(server, Log(), "site-1")
        rid = downloader.add_object(Numbers(count))
        assert get(site, rid).ends == ["completed"]
        assert downloader.get_waiter().wait(LONG)
        again = get(site, rid)
        assert (again.taken, len(again.ends)) == ([], 1)
        assert "is gone: its transaction has ended (finished)" in again.ends[0]


def test_a_second_download_before_the_end_is_whole(server: Cell, site: Cell) -> None:
    log = Log()
    downloader = begin(server, log, "site-1", "site-2")
    rid = downloader.add_object(Numbers(3, log))
    for _ in range(2):
        taker = get(site, rid)
        assert (len(taker.taken), taker.ends) == (3, ["completed"])
    downloader.delete_transaction()
    assert downloader.get_waiter().wait(LONG)
    assert [line for line in log.lines if line[0] == "one"] == [("one", "site-1", "success")]


def test_deleted_in_mid_download(server: Cell, site: Cell) -> None:
    log, gate = Log(), Gate()
    downloader = begin(server, log, "site-1")
    rid = downloader.add_object(Numbers(5, log, lambda place: gate(Message()) if place == 2 else None))
    taker = Taker()
    thread = threading.Thread(target=get, args=(site, rid, taker))
    thread.start()
    gate.wait_entered()
    downloader.delete_transaction()
    assert not downloader.get_waiter().done()  # something is still produced
    assert ("release",) not in log.lines
    gate.open()
    thread.join(LONG)
    outcome = downloader.get_waiter().wait(LONG)
    assert outcome is not None
    assert (outcome.state, outcome.failed) == (TransferState.ABORTED, ("site-1",))
    assert "is gone: its transaction has ended (deleted)" in taker.ends[0]
    assert log.lines[-5:-1] == [
        ("progress", "aborted", 30),
        ("object done", True, "deleted"),
        ("done", (downloader.tx_id, "deleted", ["numbers below 5"]), {"colour": "red"}),
        ("outcome", "aborted"),
    ]
    with pytest.raises(ValueError, match="has ended"):
        downloader.add_object(Numbers())


def test_it_ends_with_its_cell(sites: Sites, server: Cell, site: Cell) -> None:
    log = Log()
    downloader = begin(site, log, "server")
    downloader.add_object(Numbers(1, log))
    waiter = downloader.get_waiter()
    site.close(drain=0)
    outcome = waiter.wait(LONG)
    assert outcome is not None
    assert outcome.state is TransferState.ABORTED
    assert log.lines[-1] == ("release",)
    with pytest.raises(ClosedError):
        begin(site, log, "server")


def test_its_source_has_failed(server: Cell, site: Cell) -> None:
    log, gate = Log(), Gate()
    downloader = begin(server, log, "site-1")
    rid = downloader.add_object(Numbers(5, log, lambda place: gate(Message()) if place == 2 else None))
    taker = Taker()
    thread = threading.Thread(target=get, args=(site, rid, taker))
    thread.start()
    gate.wait_entered()
    downloader.notify_source_failure("the trainer died")
    thread.join(LONG)  # though its question is not answered
    assert taker.ends == ["server tells that server has failed: the trainer died"]
    gate.open()
    assert downloader.get_waiter().wait(LONG)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"cell": 3}, "cell must be"), ({"timeout": 0}, "timeout must"), ({"num_receivers": -1}, "num_receivers must"),
        ({"num_receivers": 1.0}, "num_receivers must"), ({"tx_id": ""}, "tx_id is empty"),
        ({"transaction_done_cb": 3}, "transaction_done_cb must"), ({"progress_cb": 3}, "progress_cb must"),
        ({"outcome_cb": 3}, "outcome_cb must"), ({"progress_interval": -1}, "progress_interval must"),
        ({"receiver_ids": ["a", "b"]}, "receiver_ids has 2"), ({"receiver_ids": "a"}, "receiver_ids must be a list"),
        ({"receiver_ids": ["a..b"]}, "receiver_ids"), ({"min_receivers": 0}, "min_receivers must"),
        ({"min_receivers": 2}, "min_receivers is 2"),
        ({"receiver_acquire_timeout": 0}, "receiver_acquire_timeout must"),
        ({"receiver_idle_timeout": -1}, "receiver_idle_timeout must"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be(server: Cell, change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ObjectDownloader(**{"cell": server, "timeout": 5, "num_receivers": 1, **change})


@pytest.mark.parametrize(("obj", "rid"), [(3, RID), (Numbers(), "short"), (Numbers(), ""), (Numbers(), 3)])
def test_objects_that_cannot_be_offered(server: Cell, obj: Any, rid: Any) -> None:
    downloader = begin(server, Log(), num_receivers=0)
    with pytest.raises(ArgumentError):
        downloader.add_object(obj, rid)
    downloader.delete_transaction()
    assert downloader.get_waiter().wait(LONG)
    assert repr(downloader).startswith(f"<ObjectDownloader <ObjectTransaction {downloader.tx_id}")
