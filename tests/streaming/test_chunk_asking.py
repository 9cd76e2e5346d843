"""Questions for chunks: one by one, and again after a pause."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import pytest

from tests.streaming.downloads import RID, Numbers
from tests.streaming.sites import Sites
from tests.system.federation import LONG
from zmqfl import Cell, Message, make_reply
from zmqfl.context.signal import Signal
from zmqfl.errors import CellReturnCode
from zmqfl.streaming.chunk_asking import ChunkAsking, Stopped, request_download_chunk
from zmqfl.streaming.object_downloader import ObjectDownloader


@pytest.fixture
def server(sites: Sites) -> Cell:
    return sites.federation.start("server")


def test_one_raw_chunk(sites: Sites, server: Cell) -> None:
    site = sites.federation.start("site-1", server, None)
    rid = ObjectDownloader(server, 1000, 1).add_object(Numbers(1))
    reply = request_download_chunk("server", rid, {}, LONG, site)
    assert reply.payload == {"status": "ok", "state": {"place": 1}, "data": bytes(10)}
    assert request_download_chunk("server", rid, {"place": 1}, LONG, site).payload["status"] == "eof"
    assert request_download_chunk("server", RID, {}, LONG, site).return_code == "invalid_request"
    assert list(inspect.signature(request_download_chunk).parameters)[:5] == [
        "from_fqcn", "ref_id", "state", "per_request_timeout", "cell",
    ]  # fmt: skip


class Scripted(ChunkAsking):
    """Gets replies from a list; the pauses are written down."""

    def __init__(self, cell: Cell, codes: list[CellReturnCode], retries: int) -> None:
        super().__init__("server", RID, 1.0, cell, False, None, retries)
        self.codes = codes
        self.asked = 1
        self.pauses: list[float | None] = []
        self.stop = Pauses(self.pauses)

    def ask(self, state: dict[str, Any]) -> Any:
        self.asked += 1

    def reply(self, handle: Any) -> Message:
        return make_reply(self.codes.pop(0))


class Pauses(Signal):
    def __init__(self, pauses: list[float | None]) -> None:
        super().__init__()
        self.pauses = pauses

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout)
        return self.triggered


LATE, OK = CellReturnCode.TIMEOUT, CellReturnCode.OK


@pytest.mark.parametrize(
    ("codes", "retries", "end", "pauses"),
    [
        ([OK], 3, OK, []),
        ([LATE, LATE, OK], 3, OK, [2, 4]),
        ([LATE] * 4, 3, LATE, [2, 4, 8]),
        ([LATE] * 8, 7, LATE, [2, 4, 8, 16, 32, 60, 60]),
        ([LATE], 0, LATE, []),
        ([LATE, CellReturnCode.COMM_ERROR], 3, CellReturnCode.COMM_ERROR, [2]),
        ([CellReturnCode.SERVICE_UNAVAILABLE], 3, CellReturnCode.SERVICE_UNAVAILABLE, []),
    ],
)
def test_only_time_outs_are_tried_again(
    server: Cell, codes: list[CellReturnCode], retries: int, end: CellReturnCode, pauses: list[float]
) -> None:
    asking = Scripted(server, list(codes), retries)
    assert asking.answer({}, None).return_code is end  # type: ignore[arg-type]
    assert (asking.codes, asking.pauses, asking.asked) == ([], pauses, len(codes))


def test_a_signal_ends_the_pause(server: Cell) -> None:
    asking = Scripted(server, [LATE], 3)
    asking.stop.trigger()
    with pytest.raises(Stopped):
        asking.answer({}, None)  # type: ignore[arg-type]


def test_a_signal_ends_the_waiting_at_once(sites: Sites, server: Cell) -> None:
    site, inside, go_on = sites.federation.start("site-1", server, None), threading.Event(), threading.Event()

    def handler(message: Message) -> str:
        inside.set()
        assert go_on.wait(LONG)
        return "late"

    server.register_request_cb("download_service", "chunk", handler)
    signal, seen = Signal(), list[Any]()

    def ask() -> None:
        with pytest.raises(Stopped) as error:
            request_download_chunk("server", RID, {}, LONG, site, abort_signal=signal)
        seen.append(error.type)

    thread = threading.Thread(target=ask)
    thread.start()
    assert inside.wait(LONG)
    signal.trigger()
    thread.join(LONG)
    go_on.set()
    assert (seen, signal._waiting) == ([Stopped], {})
