"""The receiver of an object: chunks, retries, aborts, and what the owner is told."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from tests.streaming.downloads import RID, Log, Numbers, Taker
from tests.streaming.sites import Sites
from tests.system.federation import LONG, Gate
from zmqfl import Cell, Message
from zmqfl.context.signal import Signal
from zmqfl.errors import WouldDeadlockError
from zmqfl.streaming import chunk_asking
from zmqfl.streaming.downloadable import ProduceRC
from zmqfl.streaming.downloading import download_object
from zmqfl.streaming.object_downloader import ObjectDownloader


@pytest.fixture
def server(sites: Sites) -> Cell:
    return sites.federation.start("server")


@pytest.fixture
def site(sites: Sites, server: Cell) -> Cell:
    return sites.federation.start("site-1", server, None)


def offer(cell: Cell, obj: Numbers) -> tuple[ObjectDownloader, str]:
    downloader = ObjectDownloader(cell, 1000, 1, receiver_ids=["site-1"])
    return downloader, downloader.add_object(obj)


def get(cell: Cell, rid: str, taker: Taker | None = None, owner: str = "server", **options: Any) -> Taker:
    taker = taker or Taker()
    download_object(owner, rid, options.pop("timeout", LONG), cell, taker, **options)
    return taker


def outcome_of(downloader: ObjectDownloader) -> Any:
    outcome = downloader.get_waiter().wait(LONG)
    assert outcome is not None
    return outcome.statuses


def test_progress(server: Cell, site: Cell) -> None:
    reports: list[dict[str, Any]] = []
    _, rid = offer(server, Numbers(2))
    get(site, rid, progress_cb=lambda **report: reports.append(report), progress_interval=0)
    assert [report["state"] for report in reports] == ["start", "active", "active", "completed"]
    assert [report["bytes_done"] for report in reports] == [0, 10, 20, 20]
    assert [report["items_done"] for report in reports] == [0, 1, 2, 2]
    assert [report["sequence"] for report in reports] == [0, 1, 2, 3]
    assert {report["ref_id"] for report in reports} == {rid}


def test_progress_that_fails_stops_nobody(server: Cell, site: Cell, caplog: pytest.LogCaptureFixture) -> None:
    def fail(**report: Any) -> None:
        raise ValueError("broken")

    _, rid = offer(server, Numbers(2))
    assert get(site, rid, progress_cb=fail).ends == ["completed"]
    assert caplog.text.count("a callback failed") == 2  # the first and the last


@pytest.mark.parametrize("pipelining", [False, True])
def test_pipelining_asks_ahead(server: Cell, site: Cell, pipelining: bool) -> None:
    log = Log()

    class Ahead(Taker):
        supports_pipelining = pipelining

    def consumed(data: bytes) -> None:
        if pipelining:  # what follows is produced meanwhile
            log.wait_for(("produced", data[0] + 1))

    _, rid = offer(server, Numbers(3, log, lambda place: log.write(("produced", place))))
    assert get(site, rid, Ahead(consumed)).ends == ["completed"]
    produced = [line for line in log.lines if line[0] == "produced"]
    assert produced == [("produced", place) for place in range(4)]


def test_pipelining_must_go_on_as_proposed(server: Cell, site: Cell) -> None:
    class Jumper(Taker):
        supports_pipelining = True

        def consume(self, ref_id: str, state: dict[str, Any], data: Any) -> dict[str, Any]:
            return {"place": 2}

    downloader, rid = offer(server, Numbers(3))
    assert "did not go on with" in get(site, rid, Jumper()).ends[0]
    assert outcome_of(downloader) == {rid: {"site-1": "failed"}}


def test_the_consumer_chooses_what_comes_next(server: Cell, site: Cell) -> None:
    class Skipper(Taker):
        def consume(self, ref_id: str, state: dict[str, Any], data: Any) -> dict[str, Any]:
            super().consume(ref_id, state, data)
            return {"place": state["place"] + 1}

    _, rid = offer(server, Numbers(4))
    assert [data[0] for data in get(site, rid, Skipper()).taken] == [0, 2]


# -- bad ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "rid", "text"),
    [
        ("server", RID, "invalid_request: no such reference at server"),
        ("nobody", RID, "no route to nobody"),
        ("bad..name", RID, "invalid_target"),
    ],
)
def test_pull_D10_what_is_unknown_is_an_error_at_once(
    server: Cell, site: Cell, owner: str, rid: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    offer(server, Numbers())
    taker = get(site, rid, owner=owner)
    assert (taker.taken, len(taker.ends)) == ([], 1)
    assert text in taker.ends[0]
    assert f"site-1: download of {rid} from {owner} failed" in caplog.text


def test_optional_downloads_do_not_warn(site: Cell, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "zmqfl.streaming"):
        assert get(site, RID, optional=True).ends
    assert caplog.text == ""


def test_what_takes_too_long_is_asked_again(server: Cell, site: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_asking, "FIRST_PAUSE", 0.001)
    gate, asked = Gate(), list[int]()

    def slow(place: int) -> None:
        asked.append(place)
        if asked.count(1) == 1 and place == 1:
            gate(Message())

    downloader, rid = offer(server, Numbers(2, before=slow))
    try:
        taker = get(site, rid, timeout=0.3)
    finally:
        gate.open()
    assert ([data[0] for data in taker.taken], taker.ends) == ([0, 1], ["completed"])
    assert asked.count(1) >= 2
    assert outcome_of(downloader) == {rid: {"site-1": "success"}}


def test_what_always_takes_too_long_fails(server: Cell, site: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_asking, "FIRST_PAUSE", 0.001)
    gate = Gate()
    downloader, rid = offer(server, Numbers(2, before=lambda place: gate(Message())))
    try:
        taker = get(site, rid, timeout=0.05, max_retries=2)
        assert taker.ends[0].startswith("timeout: ")
        assert len(gate.seen) == 3
    finally:
        gate.open()
    assert outcome_of(downloader) == {rid: {"site-1": "failed"}}


def test_pull_D09_the_signal_stops_it(server: Cell, site: Cell) -> None:
    gate, signal, reports = Gate(), Signal(), list[Any]()
    downloader, rid = offer(server, Numbers(5, before=lambda place: gate(Message()) if place == 2 else None))
    taker = Taker()
    options = {"abort_signal": signal, "progress_cb": lambda **report: reports.append(report["state"])}
    thread = threading.Thread(target=get, args=(site, rid, taker), kwargs=options)
    thread.start()
    gate.wait_entered()
    signal.trigger("enough")
    thread.join(LONG)
    assert (len(taker.taken), taker.ends) == (2, ["the download was aborted"])
    assert (reports[-1], signal._waiting) == ("aborted", {})
    gate.open()
    assert outcome_of(downloader) == {rid: {"site-1": "failed"}}


def test_pull_D09_the_signal_ends_a_pause(server: Cell, site: Cell) -> None:
    gate, signal = Gate(), Signal()
    _, rid = offer(server, Numbers(5, before=lambda place: gate(Message())))
    taker = Taker()
    options = {"abort_signal": signal, "timeout": 0.05}
    thread = threading.Thread(target=get, args=(site, rid, taker), kwargs=options)
    thread.start()
    gate.wait_entered()
    signal.trigger()
    thread.join(LONG)
    gate.open()
    assert taker.ends == ["the download was aborted"]


def test_pull_D09_a_signal_that_is_set(server: Cell, site: Cell) -> None:
    signal = Signal()
    signal.trigger()
    _, rid = offer(server, Numbers())
    taker = get(site, rid, abort_signal=signal)
    assert (taker.taken, taker.ends) == ([], ["the download was aborted"])


def test_a_consumer_that_fails(server: Cell, site: Cell) -> None:
    def fail(data: Any) -> None:
        raise OSError("disk full")

    downloader, rid = offer(server, Numbers())
    assert get(site, rid, Taker(fail)).ends == ["its consumer failed: OSError: disk full"]
    assert outcome_of(downloader) == {rid: {"site-1": "failed"}}


def test_a_consumer_that_does_not_go_on(server: Cell, site: Cell) -> None:
    class Wrong(Taker):
        def consume(self, ref_id: str, state: dict[str, Any], data: Any) -> dict[str, Any]:
            return None  # type: ignore[return-value]

    _, rid = offer(server, Numbers())
    assert get(site, rid, Wrong()).ends == ["its consumer returned a NoneType instead of the next state"]


def test_a_consumer_that_cannot_fail_in_peace(server: Cell, site: Cell, caplog: pytest.LogCaptureFixture) -> None:
    class Wrong(Taker):
        def download_failed(self, ref_id: str, reason: str) -> None:
            raise ValueError("broken")

    get(site, RID, Wrong())
    assert "a callback failed" in caplog.text


@pytest.mark.parametrize(
    ("produce", "text"),
    [
        (lambda state: (ProduceRC.ERROR, None, {}), "server cannot produce"),
        (lambda state: (ProduceRC.OK, b"", state), "makes no progress at {}"),
        (lambda state: (ProduceRC.OK, b"", None), "makes no progress at {}"),
        (lambda state: ("strange", b"", {}), "'strange' is not a valid ProduceRC"),
        (lambda state: 3, "cannot be produced: TypeError"),
        (lambda state: 1 / 0, "cannot be produced: ZeroDivisionError"),
        (lambda state: (ProduceRC.OK, object(), {"place": 1}), "the reply cannot travel"),
    ],
)
def test_what_cannot_be_produced_is_not_asked_for_again(server: Cell, site: Cell, produce: Any, text: str) -> None:
    class Wrong(Numbers):
        asked = 0

        def produce(self, state: dict[str, Any], requester: str) -> Any:
            self.asked += 1
            return produce(state)

    obj = Wrong()
    downloader, rid = offer(server, obj)
    taker = get(site, rid)
    assert text in taker.ends[0]
    assert obj.asked == 1
    assert outcome_of(downloader) == {rid: {"site-1": "failed"}}


@pytest.mark.parametrize("reply", [3, None, {}, {"status": "ok"}, {"status": "ok", "state": 3, "data": 1}])
def test_an_owner_that_sends_no_chunk(server: Cell, site: Cell, reply: Any) -> None:
    server.register_request_cb(
        "download_service", "*", lambda message: {"sent": reply}["sent"] or Message(payload=reply)
    )
    assert get(site, RID).ends == ["server sent no chunk"]


def test_an_owner_that_is_not_told(server: Cell, site: Cell, caplog: pytest.LogCaptureFixture) -> None:
    server.register_request_cb(
        "download_service", "*", lambda message: {"status": "eof", "nonce": "n"} if message.topic == "chunk" else 1 / 0
    )
    assert get(site, RID).ends == ["completed"]
    assert "site-1: server was not told that all of" in caplog.text


def test_the_receivers_cell_is_closed(server: Cell, site: Cell) -> None:
    gate, taker = Gate(), Taker()
    _, rid = offer(server, Numbers(5, before=lambda place: gate(Message())))
    thread = threading.Thread(target=get, args=(site, rid, taker))
    thread.start()
    gate.wait_entered()
    site.close(drain=0)
    thread.join(LONG)
    gate.open()
    assert "was closed" in taker.ends[0]
    assert "is closed" in get(site, rid).ends[0]


def test_the_owner_is_closed(sites: Sites, server: Cell, site: Cell) -> None:
    other, gate, taker = sites.federation.start("site-2", server, None), Gate(), Taker()
    downloader = ObjectDownloader(other, 1000, 1)
    rid = downloader.add_object(Numbers(5, before=lambda place: gate(Message()) if place == 2 else None))
    thread = threading.Thread(target=get, args=(site, rid, taker, "site-2"))
    thread.start()
    gate.wait_entered()
    closing = threading.Thread(target=other.close, args=(0,))
    closing.start()
    thread.join(LONG)
    gate.open()
    closing.join(LONG)
    assert len(taker.ends) == 1
    assert "site-2" in taker.ends[0]


def test_secure_downloads_are_not_made_in_clear(server: Cell, site: Cell) -> None:
    obj = Numbers(before=lambda place: pytest.fail("it was produced"))
    _, rid = offer(server, obj)
    assert "secure=True needs a card" in get(site, rid, secure=True).ends[0]


def test_it_cannot_wait_inside_a_loop(server: Cell, site: Cell) -> None:
    downloader, rid = offer(server, Numbers())

    async def main() -> None:
        with pytest.raises(WouldDeadlockError):
            get(site, rid)

    asyncio.run(main())
    assert outcome_of(downloader) == {rid: {"site-1": "failed"}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"cell": 3}, "cell must"), ({"ref_id": ""}, "ref_id"), ({"per_request_timeout": 0}, "per_request_timeout"),
        ({"consumer": 3}, "consumer must"), ({"max_retries": -1}, "max_retries"),
        ({"max_retries": True}, "max_retries"), ({"progress_cb": 3}, "progress_cb"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be(site: Cell, change: dict[str, Any], text: str) -> None:
    arguments = {"from_fqcn": "server", "ref_id": RID, "per_request_timeout": 5, "cell": site, "consumer": Taker()}
    with pytest.raises(ValueError, match=text):
        download_object(**{**arguments, **change})
