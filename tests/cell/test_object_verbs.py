"""The verbs that move values: what arrives, what is fixed, and what their callbacks may be."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG, Federation
from tests.wire.values import assert_same
from zmqfl import Cell, CellConfig
from zmqfl.cell.object_verbs import ReceivedObject
from zmqfl.errors import (
    ArgumentError,
    CellReturnCode,
    ClosedError,
    DecodeError,
    EncodeError,
    FqcnError,
    SinkError,
    SourceChangedError,
    TransferError,
)

MIB = 1024 * 1024


class Pair:
    """A server, and a site that remembers what it received."""

    def __init__(self, federation: Federation, **config: Any) -> None:
        self.server = federation.start("server")
        self.site = federation.start("site-1", self.server, config=CellConfig(**config))
        self.received: SimpleQueue[ReceivedObject] = SimpleQueue()

    def next(self) -> ReceivedObject:
        return self.received.get(timeout=LONG)


@pytest.fixture
def pair(federation: Federation) -> Pair:
    return Pair(federation)


def offered(cell: Cell, value: Any, **options: Any) -> Any:
    """An offer that the reactor of `cell` knows of by now."""
    offer = cell.offer_object(value, **options)
    cell.statistics()
    return offer


VALUES = [
    {"w": np.arange(300_000.0), "b": {"n": [1, (2, 3)]}},
    OrderedDict([("z", 1), ("a", np.arange(3))]),
    deque([1], maxlen=2),
    {},
    np.arange(300_000, dtype="<f4").reshape(300, 1000),
    "text",
    None,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_is_pushed_or_pulled_comes_out_the_same(pair: Pair, value: Any) -> None:
    def same(got: Any) -> None:
        assert type(got) is type(value)
        assert_same(list(got) if isinstance(got, deque) else got, list(value) if isinstance(got, deque) else value)

    pair.site.consume_objects("best", pair.received.put)
    report = pair.server.push_object(value, "site-1", "best", context={"round": 3}).result(LONG)
    assert report.ok
    got = pair.next()
    same(got.value)
    assert (got.origin, got.context, got.code, got.reason) == ("server", {"round": 3}, CellReturnCode.OK, "")
    with offered(pair.server, value) as offer:
        assert (offer.owner, offer.name) == ("server", "object")
        same(pair.site.pull_object(offer.rid, "server").result(LONG))


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd", "auto"])
def test_each_codec(pair: Pair, codec: Any) -> None:
    value = {"w": np.linspace(0, 1, MIB), "z": np.zeros(99_999, np.uint8)}
    pair.site.consume_objects("best", pair.received.put)
    pair.server.push_object(value, ["site-1"], "best", codec=codec, window=4).result(LONG)
    assert_same(pair.next().value, value)
    with offered(pair.server, value, codec=codec, to=["site-1"]) as offer:
        assert_same(pair.site.pull_object(offer.rid, "server").result(LONG), value)


def test_received_arrays_are_writable_and_nobody_elses(federation: Federation) -> None:
    pair = Pair(federation)
    other = federation.start("site-2", pair.server)
    weights = np.zeros(MIB)
    for cell in pair.site, other:
        cell.consume_objects("best", pair.received.put)
    pair.server.push_object([weights], ["site-1", "site-2"], "best").result(LONG)
    one, two = pair.next().value[0], pair.next().value[0]
    one += 1
    assert (float(weights[0]), float(two[0])) == (0.0, 0.0)


def test_what_the_receiver_says_goes_back(pair: Pair) -> None:
    pair.site.consume_objects("best", lambda received: {"n": received.value["n"] + 1}, channel="models")
    report = pair.server.push_object({"n": 1}, "site-1", "best", channel="models").result(LONG)
    assert report.targets["site-1"].reply == {"n": 2}


def test_who_wants_to_know_nothing_receives_too(pair: Pair) -> None:
    pair.site.consume_objects()
    assert pair.server.push_object([1], "site-1").result(LONG).ok


# -- what is fixed -----------------------------------------------------------------------------------------------------


def test_what_changes_after_the_verb_is_an_error_and_never_a_mix(pair: Pair) -> None:
    taken, changed = threading.Event(), threading.Event()

    def chunk_taken(index: int, size: int) -> None:
        taken.set()
        assert changed.wait(LONG)

    pair.site.consume_objects("best", pair.received.put, chunk_taken=chunk_taken)
    weights = np.zeros(4 * MIB)
    handle = pair.server.push_object({"w": weights}, "site-1", "best")
    assert taken.wait(LONG)
    weights += 1
    changed.set()
    with pytest.raises(TransferError, match="dict: was changed while it was sent") as caught:
        handle.result(LONG)
    assert isinstance(caught.value.__cause__, SourceChangedError)
    assert caught.value.culprit == "server"
    got = pair.next()
    assert got.value is None
    assert "was changed while it was sent" in got.reason


def test_a_snapshot_and_a_dict_that_grows_arrive_as_they_were(pair: Pair) -> None:
    go = threading.Event()

    def chunk_taken(index: int, size: int) -> None:
        assert go.wait(LONG)

    pair.site.consume_objects("best", pair.received.put, chunk_taken=chunk_taken)
    weights = np.zeros(4 * MIB)
    value: dict[str, Any] = {"w": weights}
    handles = [pair.server.push_object(value, "site-1", "best", copy=True)]
    weights += 1
    handles.append(pair.server.push_object(value, "site-1", "best"))
    value["more"] = 1
    go.set()
    for handle in handles:
        handle.result(LONG)
    assert sorted((list(got), float(got["w"][-1])) for got in (pair.next().value, pair.next().value)) == [
        (["w"], 0.0),
        (["w"], 1.0),
    ]


def test_an_offer_that_has_changed_is_an_error_or_a_snapshot(pair: Pair) -> None:
    weights = np.zeros(MIB)
    with offered(pair.server, [weights]) as live, offered(pair.server, [weights], copy=True) as copied:
        weights += 1
        with pytest.raises(SourceChangedError):
            pair.site.pull_object(live.rid, "server").result(LONG)
        assert_same(pair.site.pull_object(copied.rid, "server").result(LONG), [np.zeros(MIB)])


# -- bad ends ----------------------------------------------------------------------------------------------------------


def test_what_is_above_the_limit_of_the_receiver(federation: Federation) -> None:
    pair = Pair(federation, object_limit=MIB)
    pair.site.consume_objects("best", pair.received.put)
    with pytest.raises(TransferError, match="`object_limit` here") as caught:
        pair.server.push_object(bytes(2 * MIB), "site-1", "best").result(LONG)
    assert (caught.value.code, caught.value.culprit) == (CellReturnCode.MSG_TOO_BIG, "site-1")
    assert pair.next().value is None
    with offered(pair.server, bytes(2 * MIB)) as offer, pytest.raises(SinkError, match="`object_limit` here"):
        pair.site.pull_object(offer.rid, "server").result(LONG)


def test_what_is_no_object_cannot_be_pulled_as_one(pair: Pair) -> None:
    with pair.server.offer(b"bytes and no more") as offer:
        pair.server.statistics()
        with pytest.raises(TransferError, match="is no object") as caught:
            pair.site.pull_object(offer.rid, "server").result(LONG)
        assert isinstance(caught.value.__cause__, DecodeError)


def test_an_offer_ends_and_tells_who_had_it(pair: Pair) -> None:
    served: SimpleQueue[Any] = SimpleQueue()
    offer = offered(pair.server, [1], name="best", on_served=lambda *args: served.put(args))
    assert pair.site.pull_object(offer.rid, "server").result(LONG) == [1]
    assert served.get(timeout=LONG) == (offer.rid, "site-1", "success", "best")
    offer.withdraw()
    pair.server.statistics()
    with pytest.raises(TransferError, match="no such reference"):
        pair.site.pull_object(offer.rid, "server").result(LONG)


Verb = Callable[[Cell], Any]
REFUSED: list[tuple[str, Verb, type[Exception], str]] = [
    ("no targets", lambda c: c.push_object(1, []), ArgumentError, "no targets"),
    ("a bad name", lambda c: c.push_object(1, "site 1"), FqcnError, "to"),
    ("chunks of nothing", lambda c: c.push_object(1, "a", chunk_size=0), ArgumentError, "chunk_size"),
    ("a negative time-out", lambda c: c.push_object(1, "a", timeout=-1), ArgumentError, "timeout"),
    ("no codec", lambda c: c.push_object(1, "a", codec="zip"), ArgumentError, "codec"),  # type: ignore[arg-type]
    ("no value", lambda c: c.push_object({"w": object()}, "a"), EncodeError, "entry 'w' of the dict"),
    ("no value in a context", lambda c: c.push_object(1, "a", context={"x": object()}), EncodeError, "'x'"),
    ("an offer to nobody", lambda c: c.offer_object(1, to=[]), ArgumentError, "no targets"),
    ("an offer of no value", lambda c: c.offer_object(object()), EncodeError, "the value"),
    ("an offer in no chunks", lambda c: c.offer_object(1, chunk_size=0), ArgumentError, "chunk_size"),
    ("an offer without a codec", lambda c: c.offer_object(1, codec="zip"), ArgumentError, "codec"),  # type: ignore[arg-type]
    ("pull from a bad name", lambda c: c.pull_object("R", "a b"), FqcnError, "owner"),
    ("pull with no time", lambda c: c.pull_object("R", "a", timeout=-1), ArgumentError, "timeout"),
]


@pytest.mark.parametrize(("verb", "error", "text"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_arguments_that_cannot_be(federation: Federation, verb: Verb, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        verb(federation.start("server"))


def test_a_closed_cell(federation: Federation) -> None:
    cell = federation.start("server")
    cell.close()
    for verb in (lambda: cell.push_object(1, "a"), lambda: cell.offer_object(1), lambda: cell.pull_object("R", "a")):
        with pytest.raises(ClosedError):
            verb()


# -- coroutines --------------------------------------------------------------------------------------------------------


def test_their_callbacks_may_be_coroutines(pair: Pair) -> None:
    async def main() -> None:
        chunks: list[tuple[int, int]] = []
        received: asyncio.Queue[Any] = asyncio.Queue()

        async def chunk_taken(index: int, size: int) -> None:
            chunks.append((index, size))

        async def done(got: ReceivedObject) -> str:
            await received.put(got.value)
            return "seen"

        async def on_served(*args: Any) -> None:
            await received.put(args[1:3])

        pair.site.consume_objects("best", done, chunk_taken=chunk_taken)
        report = await pair.server.push_object([1, 2], "site-1", "best")
        assert await asyncio.wait_for(received.get(), LONG) == [1, 2]
        assert report.targets["site-1"].reply == "seen"
        assert [index for index, _ in chunks] == [0]
        with pair.server.offer_object([3], on_served=on_served) as offer:
            pair.server.statistics()
            assert await pair.site.pull_object(offer.rid, "server") == [3]
            assert await asyncio.wait_for(received.get(), LONG) == ("site-1", "success")

    asyncio.run(main())
