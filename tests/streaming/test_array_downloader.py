"""Arrays that are downloaded, between real cells."""

from __future__ import annotations

import inspect
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from tests.streaming.pulls import Calls
from tests.streaming.sites import Sites
from tests.system.federation import LONG
from zmqfl import Cell, CellConfig
from zmqfl.errors import DecodeError, DigestError
from zmqfl.streaming.array_downloader import (
    ArrayConsumer,
    OfferedArrays,
    add_arrays,
    download_arrays,
    frames_of,
    pack,
)
from zmqfl.streaming.object_downloader import ObjectDownloader
from zmqfl.wire import payload

MIB = 1 << 20
ARRAYS: dict[str, Any] = {
    "big": np.arange(MIB, dtype=np.float64),
    "small": np.array([[1, 2], [3, 4]], dtype=np.int16),
    "empty": np.zeros((0, 3)),
    "fortran": np.asfortranarray(np.arange(60000.0).reshape(200, 300)),
    "a scalar": np.array(3.0),
    "strided": np.arange(20000)[::2],
}


@pytest.fixture
def server(sites: Sites) -> Cell:
    return sites.federation.start("server")


@pytest.fixture
def site(sites: Sites, server: Cell) -> Cell:
    return sites.federation.start("site-1", server, None)


def begin(cell: Cell, number: int = 1) -> ObjectDownloader:
    return ObjectDownloader(cell, 1000, number)


def get(cell: Cell, rid: str, **options: Any) -> tuple[str | None, dict[str, Any]]:
    return download_arrays("server", rid, LONG, cell, **options)


def test_signatures() -> None:
    names = list(inspect.signature(download_arrays).parameters)
    assert names[:4] == ["from_fqcn", "ref_id", "per_request_timeout", "cell"]
    assert list(inspect.signature(add_arrays).parameters)[:4] == ["downloader", "arrays", "max_chunk_size", "ref_id"]


@pytest.mark.parametrize("chunk", [None, 1000_000, 4 * MIB])
def test_arrays_come_equal(server: Cell, site: Cell, chunk: int | None) -> None:
    calls = Calls()
    downloader = begin(server)
    rid = add_arrays(downloader, ARRAYS, chunk, None, calls, a=1)
    error, got = get(site, rid)
    assert (error, list(got)) == (None, list(ARRAYS))
    for name, array in ARRAYS.items():
        assert np.array_equal(got[name], array)
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        assert got[name].flags.writeable
    assert downloader.get_waiter().wait(LONG)
    assert calls.calls == [(("site-1", "success"), {"a": 1}), (("", ""), {"a": 1})]


def test_no_arrays(server: Cell, site: Cell) -> None:
    assert get(site, add_arrays(begin(server), {})) == (None, {})


def test_each_array_is_told_and_may_be_replaced(server: Cell, site: Cell) -> None:
    calls: list[Any] = []

    def received(name: str, array: Any, mark: str) -> Any:
        calls.append((name, array.nbytes, mark))
        return f"file of {name}" if name == "b" else None

    rid = add_arrays(begin(server), {"a": np.zeros(2), "b": np.zeros(3)})
    error, got = get(site, rid, array_received_cb=received, mark="m")
    assert error is None
    assert (got["b"], list(got)) == ("file of b", ["a", "b"])
    assert calls == [("a", 16, "m"), ("b", 24, "m")]


def test_progress_counts_arrays(server: Cell, site: Cell) -> None:
    reports: list[Any] = []
    rid = add_arrays(begin(server), ARRAYS)
    get(site, rid, progress_cb=lambda **report: reports.append(report), progress_interval=0)
    assert (reports[-1]["state"], reports[-1]["items_done"]) == ("completed", len(ARRAYS))
    assert reports[-1]["bytes_done"] > 8 * MIB


def test_an_array_is_serialised_once_for_all_receivers(
    sites: Sites, server: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    produce = OfferedArrays.produce_item

    def count(obj: OfferedArrays, index: int) -> bytes:
        made.append(index)
        return produce(obj, index)

    monkeypatch.setattr(OfferedArrays, "produce_item", count)
    cells = [sites.federation.start(f"site-{number}", server, None) for number in range(1, 5)]
    downloader = begin(server, len(cells))
    rid = add_arrays(downloader, ARRAYS)
    got: list[Any] = []
    threads = [threading.Thread(target=lambda cell=cell: got.append(get(cell, rid))) for cell in cells]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert [error for error, _ in got] == [None] * 4
    assert sorted(made) == list(range(len(ARRAYS)))
    assert downloader.get_waiter().wait(LONG)


def test_memory_of_many_receivers_is_that_of_one() -> None:
    size, receivers = 16 * MIB, 20
    obj = OfferedArrays({"w": np.zeros(size, np.uint8)})
    obj.num_receivers = receivers
    tracemalloc.start()
    try:
        states: dict[str, dict[str, Any]] = {f"site-{number}": {} for number in range(receivers)}
        for _ in range(12):  # all in the middle of it
            states = {name: obj.produce(state, name)[2] for name, state in states.items()}
        used, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < used < 1.1 * size
    assert most < 1.3 * size


def test_an_array_that_was_changed_is_an_error(server: Cell, site: Cell) -> None:
    weights = np.zeros(100_000)
    rid = add_arrays(begin(server), {"w": weights})
    weights[7] = 1
    error, got = get(site, rid)
    assert "array 'w'" in str(error)
    assert got == {}


def test_errors_are_told(server: Cell, site: Cell) -> None:
    begin(server)
    error, got = get(site, "R0123456789abcdef")
    assert "no such reference" in str(error)
    assert got == {}


def test_more_than_the_object_limit(sites: Sites, server: Cell) -> None:
    config = CellConfig(heartbeat=0.1, dead_after=1.5, object_limit=1000)
    small = sites.federation.start("small", server, None, config=config)
    assert "object_limit" in str(get(small, add_arrays(begin(server), {"w": np.zeros(1000)}))[0])


@pytest.mark.parametrize("arrays", [3, {"a": [1]}, {3: np.zeros(1)}, {"a": np.array([object()])}])
def test_arrays_that_cannot_be_offered(server: Cell, arrays: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        add_arrays(begin(server), arrays)


def test_arguments_that_cannot_be(server: Cell) -> None:
    for call in (
        lambda: add_arrays(3, {}),  # type: ignore[arg-type]
        lambda: add_arrays(begin(server), {}, 0),
        lambda: add_arrays(begin(server), {}, None, None, 3),
        lambda: get(3, "R"),  # type: ignore[arg-type]
        lambda: get(server, "R", array_received_cb=3),
    ):
        with pytest.raises(ValueError, match=r"downloader|max_chunk_size|arrays_downloaded_cb|cell|array_received_cb"):
            call()


def test_items_are_checked_when_they_are_made() -> None:
    array = np.zeros(5000)
    obj = OfferedArrays({"w": array})
    array += 1
    with pytest.raises(DigestError):
        obj.produce_item(0)


@pytest.mark.parametrize(
    "item", [b"", b"\xff\xff\xff\xff", pack(3), pack(["w", 3]), pack([3, np.zeros(1)]), pack(["x", np.zeros(1), 1])]
)
def test_items_that_are_no_arrays(item: bytes) -> None:
    with pytest.raises(DecodeError):
        ArrayConsumer().consume("R", {}, {"items": [item]})


def test_an_array_that_comes_twice() -> None:
    with pytest.raises(DecodeError, match="a name of its own"):
        ArrayConsumer().consume("R", {}, {"items": [pack(["w", np.zeros(1)])] * 2})


@pytest.mark.parametrize("array", ARRAYS.values())
def test_packing(array: Any) -> None:
    name, got = payload.decode(frames_of(pack(["n", array])))
    assert name == "n"
    assert np.array_equal(got, array)
