"""Channels as the user of a cell has them: each verb, in threads and in coroutines, on real sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG, Federation, until
from zmqfl import Cell
from zmqfl.cell.channel_reader import ChannelReader, Gap
from zmqfl.cell.channel_verbs import Channel
from zmqfl.cell.channel_writer import MOST_WAITING, ROOM, ChannelWriter
from zmqfl.errors import (
    ArgumentError,
    BufferFullError,
    ChannelDeniedError,
    ChannelEndedError,
    ChannelError,
    ChannelExistsError,
    ChannelUnknownError,
    ClosedError,
    EncodeError,
    RequestFailed,
    ServiceUnavailable,
    UserError,
)
from zmqfl.protocol.channels.buffer import BufferTerms, Policy

KIB = 1024


@pytest.fixture
def server(federation: Federation) -> Cell:
    return federation.start("server")


@pytest.fixture
def site(federation: Federation, server: Cell) -> Cell:
    return federation.start("site-1", server, None)


@pytest.fixture
def other(federation: Federation, server: Cell) -> Cell:
    return federation.start("site-2", server, None)


def made(site: Cell, **options: Any) -> tuple[Channel, ChannelWriter]:
    """A channel of the cell at the root, and its writer."""
    channel = site.create_channel("c", **options).result(LONG)
    return channel, channel.writer().result(LONG)


def subscribed(cell: Cell, writer: ChannelWriter, **options: Any) -> ChannelReader:
    """A reader that the writer knows of."""
    reader = cell.subscribe("c", **options).result(LONG)
    assert writer.wait_active().result(LONG)
    return reader


def everything(**options: Any) -> dict[str, Any]:
    return {"policy": "wait", "items": None, **options}


def texts(reader: ChannelReader, count: int) -> list[Any]:
    return [reader.get().result(LONG).value for _ in range(count)]


def test_what_is_put_comes(site: Cell, other: Cell) -> None:
    channel, writer = made(site)
    reader = subscribed(other, writer, **everything())
    for value in (1, "two", [3.0], None):
        assert writer.put(value).result(LONG) is True
    items = [reader.get().result(LONG) for _ in range(4)]
    assert [item.value for item in items] == [1, "two", [3.0], None]
    assert [(item.writer, item.number, item.channel) for item in items] == [("site-1", n, "c") for n in (1, 2, 3, 4)]
    writer.close().result(LONG)
    channel.delete("enough").result(LONG)
    with pytest.raises(ChannelEndedError, match="channel 'c' at server: enough") as error:
        reader.get().result(LONG)
    assert (error.value.channel, error.value.broker, error.value.reason) == ("c", "server", "enough")


def test_iteration_ends_with_the_channel(site: Cell, other: Cell) -> None:
    channel, writer = made(site)
    reader = subscribed(other, writer, **everything())

    def write() -> None:
        with channel, writer:
            for number in range(3000):
                writer.put(number).result(LONG)

    thread = threading.Thread(target=write)
    thread.start()
    assert [item.value for item in reader] == list(range(3000))
    thread.join(LONG)
    assert reader.end == "deleted"
    assert reader.statistics().received == 3000


def test_in_coroutines(site: Cell, other: Cell) -> None:
    async def play() -> list[Any]:
        channel = await site.create_channel("c")
        async with await channel.writer() as writer, await other.subscribe("c", **everything()) as reader:
            await writer.wait_active()

            async def write() -> None:
                for number in range(500):
                    await writer.put(number)
                await writer.close()
                await channel.delete()

            task = asyncio.ensure_future(write())
            values = [item.value async for item in reader]
            await task
            return values

    assert asyncio.run(play()) == list(range(500))


def test_a_get_that_is_given_up_takes_nothing(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    reader = subscribed(other, writer, **everything())

    async def play() -> Any:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.get(), 0.01)
        await writer.put("x")
        return (await reader.get()).value

    assert asyncio.run(play()) == "x"


def test_several_who_wait_are_served_in_turn(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    reader = subscribed(other, writer, **everything())
    handles = [reader.get() for _ in range(5)]
    handles[1].cancel()
    for number in range(4):
        writer.put(number)
    assert [handle.result(LONG).value for handle in handles if not handle.cancelled()] == [0, 1, 2, 3]


def test_chan_R1_a_small_ring_gives_what_is_new(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    drops: list[tuple[int, int]] = []
    gaps: list[Gap] = []
    reader = subscribed(other, writer, items=3, on_drop=lambda *each: drops.append(each), on_gap=gaps.append)
    for number in range(10):
        writer.put(number, confirm=True).result(LONG)
    assert texts(reader, 3) == [7, 8, 9]
    until(lambda: drops)
    assert drops == [(7, 7)]
    writer.put(10, confirm=True).result(LONG)
    assert texts(reader, 1) == [10]
    for number in range(11, 20):
        writer.put(number, confirm=True).result(LONG)
    assert texts(reader, 3) == [17, 18, 19]
    until(lambda: gaps)
    assert gaps == [Gap("site-1", 12, 17)]
    assert list(reader.gaps) == gaps
    assert reader.statistics().dropped == 13


def test_chan_R4_wait_holds_a_confirmed_put(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    reader = subscribed(other, writer, policy="wait", items=2)
    assert [writer.put(number, confirm=True).result(LONG) for number in range(2)] == [True, True]
    third = writer.put(2, confirm=True)
    with pytest.raises(TimeoutError):
        third.result(0.05)
    assert texts(reader, 1) == [0]
    assert third.result(LONG)


def test_chan_R4_a_put_without_room_waits(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    reader = subscribed(other, writer, policy="wait", items=10)
    big = bytes(ROOM // 4)
    handles: list[Any] = []
    while not handles or handles[-1].done():
        handles.append(writer.put(big))
        assert len(handles) < 100
    rest: list[Any] = []

    def put_on() -> None:
        while len(rest) < 100_000:
            rest.append(b"%d" % len(rest) + bytes(8 * KIB))
            try:
                writer.put(rest[-1])
            except ServiceUnavailable:
                rest.pop()
                raise

    with pytest.raises(ServiceUnavailable, match="puts wait on 'c'"):
        put_on()
    assert len(rest) >= MOST_WAITING - len(handles)
    values = texts(reader, len(handles) + len(rest))
    assert values == [big] * len(handles) + rest
    writer.close().result(LONG)
    assert writer.statistics().sent == len(values)


def test_chan_R5_raise_reaches_the_writer_that_put_one_too_many(site: Cell, other: Cell, server: Cell) -> None:
    _, writer = made(site)
    subscribed(other, writer, policy="raise", items=2)
    reader = server.subscribe("c", **everything()).result(LONG)
    until(lambda: writer._state.strict)
    writer.put(0).result(LONG)
    writer.put(1).result(LONG)
    with pytest.raises(BufferFullError, match="item 3 was refused by the buffer of site-2") as error:
        writer.put(2).result(LONG)
    assert error.value.readers == ("site-2",)
    assert texts(reader, 3) == [0, 1, 2]
    assert writer.put(3, confirm=False).result(LONG)  # nobody waits, so nobody hears


def test_chan_R6_thinned_out_by_count_and_by_frequency(site: Cell, other: Cell, server: Cell) -> None:
    _, writer = made(site)
    third = subscribed(other, writer, every=3)
    seldom = server.subscribe("c", hz=0.001).result(LONG)
    for number in range(1, 10):
        writer.put(number, confirm=True).result(LONG)
    assert texts(third, 3) == [3, 6, 9]
    assert texts(seldom, 1) == [1]
    [row] = [row for row in site.channel_info("c").result(LONG)["of_readers"] if row["reader"] == "server"]
    assert (row["offered"], row["decimated"], row["hz"]) == (9, 8, 0.001)


def test_chan_R9_an_item_that_no_buffer_can_take_is_refused(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    subscribed(other, writer, size=KIB)
    with pytest.raises(BufferFullError, match="site-2"):
        writer.put(bytes(KIB), confirm=True).result(LONG)
    limit = site.config.payload_limit
    writer._most = 100
    with pytest.raises(EncodeError, match="above the `payload_limit` of site-1"):
        writer.put(bytes(101))
    assert limit > 100


def test_chan_R11_the_local_buffer_has_its_own_policy_and_nobody_waits_for_it(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    local = BufferTerms(Policy.RING, 2)
    drops: list[tuple[int, int]] = []
    reader = subscribed(other, writer, **everything(local=local, on_drop=lambda *each: drops.append(each)))
    for number in range(10):
        writer.put(number, confirm=True).result(LONG)
    until(lambda: reader.statistics().received == 10)
    assert [item.value for item in reader.buffer.peek()] == [8, 9]
    assert reader.buffer.statistics().dropped == 8
    assert [item.value for item in reader.take()] == [8, 9]
    until(lambda: drops and drops[-1][1] == 8)
    assert other.request("server", "_net_manager", "echo", 1).result(LONG).payload == 1


def test_the_local_buffer_may_be_used_directly(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    reader = subscribed(other, writer, **everything())
    for number in range(5):
        writer.put(number)
    until(lambda: len(reader.buffer) == 5)
    assert [item.value for item in reader.take(2)] == [0, 1]
    assert [item.value for item in reader.buffer.clear()] == [2, 3, 4]
    assert reader.take() == []


def test_chan_R12_each_mistake_is_an_error_of_its_kind(site: Cell, other: Cell) -> None:
    channel, _ = made(site)
    with pytest.raises(ChannelExistsError, match="choose another name"):
        other.create_channel("c").result(LONG)
    with pytest.raises(ChannelUnknownError, match="'d'"):
        other.subscribe("d").result(LONG)
    with pytest.raises(ChannelDeniedError, match="single writer"):
        other.write_channel("c").result(LONG)
    with pytest.raises(ChannelDeniedError, match="belongs to site-1"):
        other.delete_channel("c").result(LONG)
    with pytest.raises(ChannelError, match="channel_budget"):
        other.subscribe("c", size=1 << 50).result(LONG)
    with pytest.raises(RequestFailed, match="nobody"):
        other.channels("nobody").result(LONG)
    assert other.subscribe(channel.id).result(LONG).channel == "c"


@pytest.mark.parametrize("call", [
    lambda cell: cell.create_channel(""), lambda cell: cell.create_channel("c", lifetime=0),
    lambda cell: cell.create_channel("c", last=-1), lambda cell: cell.subscribe("c", policy="ringg"),
    lambda cell: cell.subscribe("c", items=0), lambda cell: cell.subscribe("c", ahead=-1),
    lambda cell: cell.subscribe("c", hz=-1), lambda cell: cell.write_channel("c", pack="gzip"),
    lambda cell: cell.channels(timeout=-1),
])  # fmt: skip
def test_wrong_arguments(server: Cell, call: Callable[[Cell], Any]) -> None:
    with pytest.raises(ArgumentError):
        call(server)


def test_a_broker_must_be_named_while_the_root_is_not_known(federation: Federation) -> None:
    lonely = federation.start("site-1", "ipc:///nowhere/x", None, connected=False)
    with pytest.raises(UserError, match="does not know the root yet"):
        lonely.channels()


def test_chan_R14_private_channels(site: Cell, other: Cell) -> None:
    made(site, key="k")
    with pytest.raises(ChannelUnknownError, match="give its key"):
        other.subscribe("c").result(LONG)
    with pytest.raises(ChannelUnknownError, match="key is wrong"):
        other.subscribe("c", key="l").result(LONG)
    handles = [other.subscribe("c", key=key) for key in ("k", b"k", "k")]
    for handle in handles:
        handle.result(LONG)
    assert other.channel_info("c").result(LONG)["readers"] == 3


def test_chan_R15_a_lifetime(site: Cell, other: Cell) -> None:
    site.create_channel("c", lifetime=1.0).result(LONG)
    reader = other.subscribe("c").result(LONG)
    with pytest.raises(ChannelEndedError, match="expired"):
        reader.get().result(LONG)
    assert list(reader) == []


def test_chan_R16_the_owner_is_closed(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    reader = subscribed(other, writer, **everything())
    waiting = reader.get()
    site.close()
    with pytest.raises(ChannelEndedError, match="its owner site-1 is gone"):
        waiting.result(LONG)
    assert list(reader) == []  # the broker has said so
    with pytest.raises(ClosedError):
        writer.put(1)


def test_a_broker_that_is_gone_is_no_end_of_an_iteration(federation: Federation, server: Cell, other: Cell) -> None:
    broker = federation.start("site-1", server, None)
    channel = other.create_channel("c", "site-1").result(LONG)
    reader = channel.subscribe(**everything()).result(LONG)
    writer = channel.writer().result(LONG)
    broker.close()
    with pytest.raises(ChannelEndedError, match="site-1 is gone"):
        list(reader)
    until(lambda: writer.end)
    with pytest.raises(ChannelEndedError, match="site-1 is gone"):
        writer.put(1).result(LONG)


def test_the_own_cell_is_closed(site: Cell, other: Cell) -> None:
    channel, writer = made(site)
    reader = site.subscribe("c", **everything()).result(LONG)
    waiting, active = reader.get(), writer.put(1, wait_for_active=True)
    assert waiting.result(LONG).value == 1
    assert active.result(LONG)
    waiting = reader.get()
    site.close()
    for handle in waiting, reader.get():
        with pytest.raises(ClosedError):
            handle.result(LONG)
    with pytest.raises(ClosedError):
        channel.delete()


def test_chan_R20_what_nobody_reads_is_skipped(site: Cell, other: Cell) -> None:
    seen: list[bool] = []
    channel = site.create_channel("c").result(LONG)
    writer = channel.writer(on_active=seen.append).result(LONG)
    assert writer.put(object()).result(LONG) is False  # it is not even looked at
    assert not writer.active
    reader = subscribed(other, writer, **everything())
    assert writer.put(1).result(LONG) is True
    assert reader.get().result(LONG).value == 1  # what has not left when the last reader goes would be skipped, too
    reader.close().result(LONG)
    until(lambda: seen == [True, False])
    assert writer.put(2).result(LONG) is False
    counts = writer.statistics()
    assert (counts.put, counts.skipped, counts.sent, counts.queued) == (3, 2, 1, 0)


def test_chan_R21_a_put_may_wait_for_a_reader(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    waiting = [writer.put(number, wait_for_active=True) for number in range(3)]
    with pytest.raises(TimeoutError):
        waiting[0].result(0.02)
    waiting[1].cancel()
    reader = other.subscribe("c", **everything()).result(LONG)
    assert waiting[0].result(LONG)
    assert texts(reader, 2) == [0, 2]


def test_close_waits_until_all_is_in_the_buffers(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    reader = subscribed(other, writer, policy="wait", items=5)
    for number in range(8):
        writer.put(number).result(LONG)
    closing = writer.close()
    with pytest.raises(TimeoutError):
        closing.result(0.05)
    with pytest.raises(ChannelEndedError, match="closed"):
        writer.put(9).result(LONG)
    assert texts(reader, 8) == list(range(8))
    closing.result(LONG)
    writer.close().result(LONG)


def test_a_reader_that_is_closed(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    reader = subscribed(other, writer, **everything())
    waiting = reader.get()
    counts = reader.close().result(LONG)
    assert counts["offered"] == counts["delivered"] == 0
    with pytest.raises(ChannelEndedError, match="closed"):
        waiting.result(LONG)
    assert reader.close().result(LONG) == {}
    with pytest.raises(StopIteration):
        next(reader)


@pytest.mark.parametrize("pack", [None, "lz4", "zstd"])
def test_chan_R31_arrays_keep_what_they_are(site: Cell, other: Cell, pack: str | None) -> None:
    channel = site.create_channel("c").result(LONG)
    writer = channel.writer(pack=pack).result(LONG)
    reader = subscribed(other, writer, **everything())
    values = [
        np.arange(100_000, dtype=np.float32).reshape(100, 1000), np.asfortranarray(np.eye(300)),
        np.random.default_rng(1).bytes(50_000), b"x" * 5000, {"a": np.zeros(3), "b": (1, None)}, "short",
        np.array(["2026-01-01"], dtype="datetime64[D]"), np.zeros(1_000_000),
    ]  # fmt: skip
    for value in values:
        writer.put(value)
    for value in values:
        item = reader.get().result(LONG)
        np.testing.assert_equal(item.value, value)
        if isinstance(value, np.ndarray):
            assert item.value.dtype == value.dtype
            assert item.value.flags.f_contiguous == value.flags.f_contiguous
        if pack and isinstance(value, np.ndarray) and value.nbytes == 8_000_000:
            assert item.size < 10_000
    with pytest.raises(EncodeError):
        writer.put(np.array([object()]))


def test_the_content_is_fixed_when_put_returns(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    reader = subscribed(other, writer, **everything())
    array = np.zeros(100_000)
    writer.put(array)
    array += 1
    assert not texts(reader, 1)[0].any()


def test_chan_R34_what_may_be_asked(site: Cell, other: Cell) -> None:
    _, writer = made(site)
    subscribed(other, writer, items=7)
    writer.put(1, confirm=True).result(LONG)
    [row] = other.channels().result(LONG)
    assert (row["name"], row["owner"], row["readers"], row["writers"], row["offered"]) == ("c", "site-1", 1, 1, 1)
    info = other.channel_info("c").result(LONG)
    assert [(row["reader"], row["items"], row["offered"]) for row in info["of_readers"]] == [("site-2", 7, 1)]
    assert [(row["writer"], row["taken"]) for row in info["of_writers"]] == [("site-1", 1)]
    clients = {row["name"]: row for row in other.channel_clients().result(LONG)}
    assert clients["site-2"] == {"name": "site-2", "channels": 0, "readers": 1, "writers": 0}


def test_reprs_are_one_line(site: Cell, other: Cell) -> None:
    channel, writer = made(site)
    reader = subscribed(other, writer, items=3)
    assert repr(channel) == "<Channel 'c' at server>"
    assert repr(writer) == "<ChannelWriter 'c' at server active, 0 queued>"
    assert repr(reader) == "<ChannelReader 'c' at server open, 0 here>"
    writer.put(1)
    assert repr(reader.get().result(LONG)) == "<ChannelItem 1 of site-1 on 'c', 129 bytes>"


def test_chan_R35_channels_come_and_go(site: Cell, other: Cell) -> None:
    for _ in range(100):
        with site.create_channel("c").result(LONG) as channel, channel.writer().result(LONG) as writer:
            writer.put(1)
            other.subscribe("c").result(LONG).close()
            writer.put(2)
    assert site.channels().result(LONG) == []
    broker = site._node.channels.client
    until(lambda: not broker._homes and not other._node.channels.client._homes)
    assert not site._channels._faces
    assert not other._channels._faces
