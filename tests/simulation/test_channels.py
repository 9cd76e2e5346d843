"""Channels on a simulated tree: what is put comes, through relays, as each reader's policy says, whoever dies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fan_out import ALL, FanOut, Reader, Writer
from tests.harness import CONFIG, Net, Weather
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.channels.buffer import BufferTerms, Policy
from zmqfl.protocol.channels.carrier import BATCH
from zmqfl.protocol.channels.items import cell_of
from zmqfl.protocol.channels.seat import WRITER_WINDOW
from zmqfl.wire.messages import Request, Segment

SEEDS_SHARE = 6
TREE = ("relay", "relay.site-1", "relay.site-2", "site-3")
BREEZE = Weather(delay=(0.001, 0.05), reorder=0.1, duplicate=0.05)
STORM = Weather(delay=(0.001, 0.05), loss=0.02, duplicate=0.05, reorder=0.1)
KIB = 1024


def fan_out(seed: int = 0, weather: Weather | None = None) -> FanOut:
    return FanOut(Net(seed, weather=weather).form(*TREE))


def a_channel(f: FanOut, *readers: str, terms: BufferTerms = ALL, **options: int) -> tuple[Writer, list[Reader]]:
    """A channel of relay.site-1 at the root, with a writer there and these readers."""
    f.ok(f.create("relay.site-1", "server", "c"))
    ticket, writer = f.write("relay.site-1", "server", "c")
    f.ok(ticket)
    found = [f.read(who, "server", "c", terms, **options) for who in readers]  # type: ignore[arg-type]
    for ticket, _ in found:
        f.ok(ticket)
    if readers:
        f.net.run_until(lambda: writer.state.active)
    return writer, [reader for _, reader in found]


def terms(policy: Policy, items: int = 3, every: int = 1) -> BufferTerms:
    return BufferTerms(policy, items, every=every)


def test_what_is_put_comes_to_each_reader() -> None:
    f = fan_out()
    writer, readers = a_channel(f, "relay.site-2", "site-3", "server", "relay.site-1")
    f.put(writer, 5000)
    f.net.run_until(lambda: all(len(reader.items) == 5000 for reader in readers))
    for reader in readers:
        assert reader.bodies == [b"%d" % number for number in range(1, 5001)]
        assert {cell_of(item.writer) for item in reader.items} == {"relay.site-1"}
        assert reader.gaps == []
    f.ok(f.unwrite(writer))
    f.ok(f.ask("relay.site-1", "server", "delete", c="c"))
    f.net.run_until(lambda: all(reader.end == "deleted" for reader in readers))
    f.check_orders()
    f.check_counts()


def test_items_of_all_sizes_come_as_they_are() -> None:
    f = fan_out()
    writer, [reader] = a_channel(f, "site-3", terms=replace(ALL, size=8 << 20))
    sizes = [0, 1, KIB, 32 * KIB - 1, 32 * KIB, BATCH - 200, BATCH, BATCH + 1, 1024 * KIB, 3 * 1024 * KIB]
    for size in sizes:
        f.put(writer, 2, size)
    f.net.run_until(lambda: len(reader.items) == 2 * len(sizes))
    for index, body in enumerate(reader.bodies):
        assert len(body) == max(sizes[index // 2], len(str(index + 1)))
        assert body.rstrip(b".") == b"%d" % (index + 1)


def test_small_items_cost_few_messages() -> None:
    f = fan_out()
    writer, [reader] = a_channel(f, "relay.site-2", ahead=1 << 20)
    before = f.net.traffic["relay", "relay.site-2", Request.KIND]
    f.put(writer, 5000, KIB)
    f.net.run_until(lambda: len(reader.items) == 5000)
    assert f.net.traffic["relay", "relay.site-2", Request.KIND] - before < 60


def test_chan_R1_a_ring_that_is_read_on_demand_gives_exactly_the_last() -> None:
    f = fan_out()
    writer, [reader] = a_channel(f, "site-3", terms=terms(Policy.RING), ahead=0, slow=True)
    f.put(writer, 10)
    f.net.run_until(lambda: writer.state.taken == 10 or f.subscription(reader).buffer.offered == 10)
    assert reader.waiting == []
    f.take(reader)
    f.net.run_until(lambda: len(reader.waiting) == 3)
    f.take(reader)
    assert reader.numbers("relay.site-1") == [8, 9, 10]
    assert reader.counts == (0, 7)


def test_chan_R4_wait_holds_the_writer_until_the_reader_takes_one_and_nobody_else() -> None:
    f = fan_out()
    writer, [reader] = a_channel(f, "site-3", terms=terms(Policy.WAIT), ahead=0, slow=True)
    f.ok(f.create("site-3", "server", "other"))
    ticket, free = f.write("site-3", "server", "other")
    f.ok(ticket)
    ticket, quick = f.read("relay.site-2", "server", "other", ALL)
    f.ok(ticket)
    f.put(writer, 4, ticket=True)
    f.net.run_until(lambda: len(writer.placed) == 3)
    f.net.run(30)
    assert [each.number for each in writer.placed] == [1, 2, 3]
    f.put(free, 100)
    f.net.run_until(lambda: len(quick.items) == 100)
    f.take(reader)
    f.net.run_until(lambda: len(writer.placed) == 4)
    f.take(reader)
    f.net.run_until(lambda: len(reader.items) + len(reader.waiting) == 4)


def test_chan_R4_what_waits_is_bounded_by_the_window_of_the_writer() -> None:
    f = fan_out()
    writer, [_] = a_channel(f, "site-3", terms=terms(Policy.WAIT), ahead=0, slow=True)
    f.put(writer, 1000, 10 * KIB)
    f.net.run(30)
    [channel] = f.net.hosts["server"].node.channels.broker.channels.values()
    held = sum(item.size for item in channel.seats[0].waiting)
    assert WRITER_WINDOW // 2 < held <= WRITER_WINDOW + 11 * KIB


def test_chan_R5_who_puts_one_too_many_hears_of_it_and_other_readers_get_it() -> None:
    f = fan_out()
    writer, [strict] = a_channel(f, "site-3", terms=terms(Policy.RAISE), ahead=0, slow=True)
    ticket, other = f.read("relay.site-2", "server", "c", ALL)
    f.ok(ticket)
    f.put(writer, 5, ticket=True)
    f.net.run_until(lambda: len(writer.placed) == 5)
    assert [each.refused for each in writer.placed] == [(), (), (), ("site-3",), ("site-3",)]
    f.net.run_until(lambda: len(other.items) == 5)
    f.take(strict)
    f.net.run_until(lambda: len(strict.waiting) == 3)
    assert writer.state.strict
    assert writer.state.refused == 2


def test_chan_R6_what_is_thinned_out_is_not_sent() -> None:
    f = fan_out()
    writer, [reader] = a_channel(f, "site-3", terms=BufferTerms(Policy.RING, 1000, every=100))
    f.put(writer, 1000, KIB)
    f.net.run_until(lambda: len(reader.items) == 10)
    assert reader.numbers("relay.site-1") == list(range(100, 1001, 100))
    assert f.subscription(reader).buffer.bytes < 10 * (KIB + 200)
    assert reader.counts == (990, 0)


def test_chan_R7_the_end_comes_behind_the_last_item_under_each_policy() -> None:
    for policy in Policy:
        f = fan_out()
        writer, [reader] = a_channel(f, "site-3", terms=terms(policy, 2, every=2), ahead=0, slow=True)
        f.put(writer, 4)
        f.ok(f.unwrite(writer))
        f.ok(f.ask("relay.site-1", "server", "delete", c="c", why="done"))
        f.take(reader)
        f.net.run_until(lambda r=reader: r.end is not None)  # type: ignore[misc]
        assert reader.end == "done"
        f.take(reader)
        assert reader.numbers("relay.site-1") == [2, 4]


def test_chan_R8_counts_add_up_for_each_reader() -> None:
    f = fan_out()
    writer, _ = a_channel(f)
    kinds = [
        terms(Policy.RING, 5), terms(Policy.SKIP, 5), terms(Policy.CLEAR, 5, every=3), terms(Policy.RAISE, 5), ALL,
    ]  # fmt: skip
    readers = [f.read("site-3", "server", "c", each, ahead=0, slow=True)[1] for each in kinds]
    f.net.run(1)
    f.put(writer, 20)
    f.net.run(5)
    for reader in readers:
        f.take(reader)
    f.net.run(5)
    info = f.value(f.ask("site-3", "server", "info", c="c"))
    assert info["offered"] == 20
    counts = [(row["offered"], row["decimated"], row["dropped"], row["delivered"], row["queued"])
              for row in info["of_readers"]]  # fmt: skip
    assert counts == [(20, 0, 15, 5, 0), (20, 0, 15, 5, 0), (20, 14, 5, 1, 0), (20, 0, 15, 5, 0), (20, 0, 0, 20, 0)]


def test_chan_R10_a_reader_that_takes_nothing_does_not_change_what_another_gets() -> None:
    f = fan_out()
    writer, [stuck] = a_channel(f, "site-3", terms=terms(Policy.RING), slow=True)
    ticket, quick = f.read("relay.site-2", "server", "c", ALL)
    f.ok(ticket)
    f.net.freeze("site-3")
    f.put(writer, 3000, KIB)
    f.net.run_until(lambda: len(quick.items) == 3000, 20)
    assert quick.gaps == []
    f.net.thaw("site-3")
    f.net.run(5)
    f.take(stuck)
    f.check_orders()
    f.check_counts()


def test_chan_R12_each_mistake_is_told_by_its_kind() -> None:
    f = fan_out()
    a_channel(f, "site-3")
    assert f.why(f.create("site-3", "server", "c")) == "exists"
    assert f.why(f.read("site-3", "server", "d", ALL)[0]) == "unknown"
    assert f.why(f.write("site-3", "server", "c")[0]) == "denied"
    assert f.why(f.write("relay.site-1", "server", "c")[0]) == "denied"
    assert f.why(f.ask("site-3", "server", "delete", c="c")) == "denied"
    assert f.why(f.ask("site-3", "server", "delete", c="d")) == "unknown"
    assert f.why(f.ask("site-3", "server", "info", c=99)) == "unknown"
    assert f.why(f.create("site-3", "server", "")) == "argument"
    assert f.why(f.create("site-3", "server", "e", lifetime=-1)) == "argument"
    assert f.why(f.ask("site-3", "server", "dance")) == "argument"
    assert f.why(f.read("site-3", "server", "c", replace(ALL, size=1 << 50))[0]) == "full"
    assert f.why(f.ask("site-3", "nobody", "list")) == CellReturnCode.COMM_ERROR


def test_chan_R12_by_number_and_the_owner_of_the_broker_may_delete() -> None:
    f = fan_out()
    f.ok(f.create("site-3", "server", "c"))
    [row] = f.value(f.ask("relay.site-1", "server", "list"))
    ticket, reader = f.read("relay.site-1", "server", row["id"], ALL)
    assert f.ok(ticket).headers["name"] == "c"
    f.ok(f.ask("server", "server", "delete", c=row["id"], why="the operator says so"))
    f.net.run_until(lambda: reader.end == "the operator says so")


def test_chan_R13_a_private_channel_is_seen_by_those_who_are_in_it() -> None:
    f = fan_out()
    f.ok(f.create("relay.site-1", "server", "open", last=5))
    f.ok(f.create("relay.site-1", "server", "secret", key="k"))
    for who, names in ("site-3", {"open"}), ("relay.site-1", {"open", "secret"}), ("server", {"open", "secret"}):
        assert {row["name"] for row in f.value(f.ask(who, "server", "list"))} == names
    [row] = f.value(f.ask("site-3", "server", "list"))
    assert (row["owner"], row["last"], row["readers"], row["public"]) == ("relay.site-1", 5, 0, True)
    told = f.answer(f.ask("site-3", "server", "info", c="secret")).error
    assert told == f.answer(f.ask("site-3", "server", "info", c="nothing")).error.replace("nothing", "secret")
    ticket, _ = f.read("site-3", "server", "secret", ALL, key="k")
    f.ok(ticket)
    assert {row["name"] for row in f.value(f.ask("site-3", "server", "list"))} == {"open", "secret"}


def test_chan_R14_only_who_knows_the_key_comes_in_and_it_never_travels() -> None:
    f = fan_out()
    seen: list[bytes] = []
    for host in f.net.processes:
        receive = host.node.receive

        def spy(conn, packet, now, user=None, receive=receive):  # type: ignore[no-untyped-def]
            seen.append(bytes(packet.header) + b"".join(map(bytes, packet.bodies)))
            return receive(conn, packet, now, user)

        host.node.receive = spy  # type: ignore[method-assign]
    f.ok(f.create("relay.site-1", "server", "secret", key="open sesame"))
    wrong, without = (
        f.read("site-3", "server", "secret", ALL, key="sesame")[0],
        f.read("site-3", "server", "secret", ALL)[0],
    )
    missing = f.read("site-3", "server", "nothing", ALL, key="sesame")[0]
    assert {f.why(wrong), f.why(without), f.why(missing)} == {"unknown"}
    assert f.answers[wrong].error == f.answers[missing].error.replace("nothing", "secret")
    right, _ = f.read("site-3", "server", "secret", ALL, key="open sesame")
    f.ok(right)
    assert f.net.hosts["relay.site-1"].node.channels.client.counters == {"proofs_wrong": 1, "proofs_right": 1}
    assert seen
    assert not [text for text in seen if b"sesame" in text]


def test_chan_R15_a_temporary_channel_ends_and_its_name_is_free() -> None:
    f = fan_out()
    f.ok(f.create("site-3", "server", "c", lifetime=5))
    ticket, reader = f.read("relay.site-1", "server", "c", ALL)
    f.ok(ticket)
    begun = f.net.now
    f.net.run_until(lambda: reader.end is not None)
    assert reader.end == "expired"
    assert f.net.now - begun < 6
    f.ok(f.create("relay.site-1", "server", "c"))


def test_chan_R16_a_channel_ends_with_its_owner() -> None:
    f = fan_out()
    writer, [reader] = a_channel(f, "site-3")
    f.put(writer, 10)
    f.net.run_until(lambda: len(reader.items) == 10)
    f.net.crash("relay.site-1")
    f.net.run_until(lambda: reader.end is not None, CONFIG.dead_after + 3 * CONFIG.heartbeat)
    assert reader.end == "its owner relay.site-1 is gone"
    assert f.value(f.ask("site-3", "server", "list")) == []


def test_chan_R16_a_new_start_of_the_owner_is_another_one() -> None:
    f = fan_out()
    _, [reader] = a_channel(f, "site-3")
    f.net.restart("relay.site-1")
    f.net.run_until(f.net.is_formed)
    f.ok(f.create("relay.site-1", "server", "d"))
    f.net.run_until(lambda: reader.end is not None)
    assert reader.end.startswith("its owner relay.site-1 is gone")  # type: ignore[union-attr]


def test_chan_R17_an_item_of_one_who_may_not_write_is_refused_each_time() -> None:
    f = fan_out()
    writer, [reader] = a_channel(f, "site-3")
    ticket, forger = f.write("relay.site-2", "server", "c")
    assert f.why(ticket) == "denied"
    # A cell that writes all the same: its machine believes that it was let in.
    client = f.net.hosts["relay.site-2"].node.channels.client
    from zmqfl.protocol.channels.outlet import Outlet

    outlet = Outlet("relay.site-2/7")
    outlet.hear([7, 1 << 20, 0, 1, [], None])
    bond = client._home("server", 7, outlet)
    bond.carrier.add(7, outlet)
    forger.place = 7
    for _ in range(3):
        outlet.state.active, outlet.state.end = True, None
        client._home("server", 7, outlet)
        f.put(forger, 2)
        f.net.run(5)
    f.put(writer, 1)
    f.net.run_until(lambda: len(reader.items) == 1)
    assert {cell_of(item.writer) for item in reader.items} == {"relay.site-1"}
    assert f.net.hosts["server"].node.channels.broker.counters["items_refused"] >= 2


def test_chan_R17_many_writers_each_in_order_and_by_name() -> None:
    f = fan_out()
    f.ok(f.create("server", "server", "c", single=False))
    ticket, reader = f.read("site-3", "server", "c", ALL)
    f.ok(ticket)
    writers = []
    for who in ("server", "relay.site-1", "relay.site-2", "relay.site-2"):
        ticket, writer = f.write(who, "server", "c")
        f.ok(ticket)
        writers.append(writer)
    for _ in range(10):
        for writer in writers:
            f.put(writer, 30)
    f.net.run_until(lambda: len(reader.items) == 1200)
    assert reader.numbers("relay.site-1") == list(range(1, 301))
    assert len(reader.numbers("relay.site-2")) == 600
    assert reader.gaps == []
    f.check_orders()


def test_chan_R18_what_was_dropped_is_told_as_gaps() -> None:
    f = fan_out()
    writer, [reader] = a_channel(f, "site-3", terms=terms(Policy.RING, 2), ahead=0, slow=True)
    f.take(reader)
    f.put(writer, 1)
    f.net.run_until(lambda: len(reader.waiting) == 1)
    f.put(writer, 10)
    f.net.run(1)
    f.take(reader)
    f.net.run_until(lambda: len(reader.waiting) == 2)
    assert reader.gaps == [(f"relay.site-1/{writer.place}", 2, 9)]
    assert reader.counts == (0, 8)


@pytest.mark.parametrize(("wanted", "come"), [(0, []), (2, [9, 10]), (100, [6, 7, 8, 9, 10])])
def test_chan_R19_who_comes_later_gets_the_last_if_wanted(wanted: int, come: list[int]) -> None:
    f = fan_out()
    f.ok(f.create("relay.site-1", "server", "c", last=5, last_size=10_000))
    ticket, writer = f.write("relay.site-1", "server", "c")
    f.ok(ticket)
    assert writer.state.active  # somebody may come
    f.put(writer, 10, ticket=True)
    f.net.run_until(lambda: len(writer.placed) == 10)
    ticket, reader = f.read("site-3", "server", "c", ALL, last=wanted)
    f.ok(ticket)
    f.put(writer, 1)
    f.net.run_until(lambda: 11 in reader.numbers("relay.site-1"))
    assert reader.numbers("relay.site-1") == [*come, 11]


def test_chan_R20_nothing_goes_while_nobody_reads() -> None:
    f = fan_out()
    writer, _ = a_channel(f)
    before = dict(f.net.traffic)
    f.put(writer, 500, KIB, ticket=True)
    kinds = (Request.KIND, Segment.KIND)
    sent = sum(f.net.traffic[key] - before.get(key, 0) for key in f.net.traffic if key[2] in kinds)
    assert sent == 0
    assert writer.state.skipped == 500
    assert [each.number for each in writer.placed] == [0] * 500

    ticket, reader = f.read("site-3", "server", "c", ALL)
    asked = f.net.now
    f.net.run_until(lambda: writer.state.active)
    assert f.net.now - asked < 6 * 0.01  # three links, a message each, and the same of the question
    f.ok(ticket)
    f.put(writer, 1)
    f.net.run_until(lambda: len(reader.items) == 1)
    f.ok(f.unread(reader))
    f.net.run_until(lambda: not writer.state.active)
    f.put(writer, 1)
    assert writer.state.skipped == 501


def test_chan_R20_when_a_reader_is_let_in_the_writers_know() -> None:
    f = fan_out(weather=BREEZE)
    writer, _ = a_channel(f)
    for _ in range(10):
        ticket, reader = f.read("site-3", "server", "c", ALL)
        other, _ = f.read("relay.site-2", "server", "c", ALL)
        f.ok(ticket)
        f.put(writer, 1)
        f.net.run_until(lambda r=reader: len(r.items) == 1)  # type: ignore[misc]
        f.ok(other)
        for each in f.readers[-2:]:
            f.ok(f.unread(each))
    assert writer.state.skipped == 0


def test_a_writer_that_stands_still_does_not_hold_up_a_reader_for_ever() -> None:
    f = fan_out()
    a_channel(f)
    f.net.freeze("relay.site-1")
    begun = f.net.now
    f.ok(f.read("site-3", "server", "c", ALL)[0])
    assert 1.0 <= f.net.now - begun < 1.2


@pytest.mark.parametrize("how", ["crash", "expire"])
def test_chan_R20_the_last_reader_dies_or_the_channel_ends(how: str) -> None:
    f = fan_out()
    writer, [reader] = a_channel(f, "relay.site-2")
    if how == "crash":
        f.net.crash(reader.host)
    else:
        f.ok(f.ask("relay.site-1", "server", "delete", c="c"))
    f.net.run_until(lambda: not writer.state.active, CONFIG.dead_after + 3 * CONFIG.heartbeat)
    assert (writer.state.end is None) == (how == "crash")


def test_chan_R20_a_writer_that_joins_later_knows_at_once() -> None:
    f = fan_out()
    f.ok(f.create("server", "server", "c", single=False))
    ticket, _ = f.read("site-3", "server", "c", ALL)
    f.ok(ticket)
    ticket, writer = f.write("relay.site-1", "server", "c")
    f.ok(ticket)
    assert writer.state.active


def test_chan_R22_a_flood_on_one_channel_leaves_the_others_their_share() -> None:
    f = fan_out()
    reads: list[Reader] = []
    writers: list[Writer] = []
    for name in ("flood", "a", "b"):
        f.ok(f.create("server", "server", name))
        ticket, writer = f.write("server", "server", name)
        f.ok(ticket)
        ticket, reader = f.read("site-3", "server", name, replace(ALL, size=64 << 20), ahead=1 << 20)
        f.ok(ticket)
        reads.append(reader)
        writers.append(writer)
    f.net.limit("site-3", 1_000_000.0)
    f.put(writers[0], 4000, 8 * KIB)
    f.put(writers[1], 4000, KIB)
    f.put(writers[2], 8, 500 * KIB)
    f.net.run(1)
    begun = [sum(item.size for item in reader.items) for reader in reads]
    f.net.run(2)
    got = [sum(item.size for item in reader.items) - at for reader, at in zip(reads, begun, strict=True)]
    assert all(share >= sum(got) / 4 for share in got), got


def test_chan_R23_a_broker_with_nothing_to_do_does_nothing() -> None:
    f = fan_out()
    a_channel(f, "site-3", "relay.site-2")
    f.net.run(5)
    broker = f.net.hosts["server"].node.channels
    assert broker.deadline is None
    before = f.net.traffic["server", "site-3", Request.KIND]
    f.net.run(60)
    assert f.net.traffic["server", "site-3", Request.KIND] == before


def test_a_broker_that_starts_anew_ends_what_hung_on_it() -> None:
    f = fan_out()
    f.ok(f.create("relay.site-1", "relay", "c"))
    ticket, writer = f.write("relay.site-1", "relay", "c")
    f.ok(ticket)
    ticket, reader = f.read("site-3", "relay", "c", ALL)
    f.ok(ticket)
    f.put(writer, 10)
    f.net.restart("relay")
    f.net.run_until(lambda: reader.end is not None and writer.state.end is not None, 60)
    assert reader.end.startswith("relay is gone")  # type: ignore[union-attr]
    f.net.run_until(f.net.is_formed)
    f.ok(f.create("relay.site-1", "relay", "c"))
    ticket, reader = f.read("site-3", "relay", "c", ALL)
    f.ok(ticket)


def test_a_reader_that_leaves_and_a_writer_that_leaves() -> None:
    f = fan_out()
    writer, [reader] = a_channel(f, "site-3", terms=terms(Policy.WAIT), slow=True, ahead=0)
    f.put(writer, 5)
    ticket = f.unwrite(writer)
    f.net.run(5)
    assert ticket not in f.answers  # two of its items wait for room
    counts = f.ok(f.unread(reader)).headers["counts"]
    assert (counts["offered"], counts["dropped"], counts["queued"]) == (3, 3, 0)
    f.ok(ticket)
    assert f.net.hosts["server"].node.channels.broker.reserved == 0
    assert f.value(f.ask("site-3", "server", "info", c="c"))["writers"] == 0


def test_writers_readers_and_channels_come_go_and_die(seed: int) -> None:
    """Order and counts hold whatever happens, and in the end nothing is left."""
    f = FanOut(Net(seed, weather=[BREEZE, STORM][seed % 2]).form(*TREE))
    chance, net = f.net.random, f.net
    cells = ["server", *TREE]
    live: list[Writer] = []
    reads: list[Reader] = []
    for step in range(60):
        broker, who, name = chance.choice(["server", "relay"]), chance.choice(cells), f"c{chance.randrange(3)}"
        match chance.randrange(12):
            case 0:
                f.create(who, broker, name, single=chance.random() < 0.3, lifetime=chance.choice([None, 3.0]), last=2)
            case 1 | 2:
                live.append(f.write(who, broker, name)[1])
            case 3 | 4 | 5:
                items = chance.choice([None, 1, 20])
                kind = BufferTerms(chance.choice(list(Policy)), items, 20_000, chance.choice([1, 1, 3]))
                slow = chance.random() < 0.5
                reads.append(f.read(who, broker, name, kind, ahead=chance.choice([0, 5000]), slow=slow)[1])
            case 6 if reads:
                f.unread(chance.choice(reads))
            case 7 if live:
                f.unwrite(live.pop(chance.randrange(len(live))))
            case 8:
                f.ask(who, broker, "delete", c=name)
            case 9 if step > 30 and chance.random() < 0.5:
                net.restart(chance.choice(TREE))
            case _:
                for writer in live:
                    f.put(writer, chance.randrange(40), chance.choice([0, 300]), ticket=chance.random() < 0.1)
                for reader in reads:
                    f.take(reader, chance.choice([None, 3]))
        net.run(chance.choice([0.0, 0.01, 0.3]))
        f.check_counts()
    net.repair()
    net.run_until(net.is_formed, 120)
    for _ in range(20):
        net.run(3)
        for reader in reads:
            f.take(reader)
    f.check_orders()
    f.check_counts()
    f.net.run(40)
    assert_all_answered(f)


def assert_all_answered(f: FanOut) -> None:
    """Every question of a cell that lives has its answer, and every ticket of a writer whose channel is over."""
    for host in f.net.processes:
        client = host.node.channels.client
        assert not client._questions, client._questions
    for writer in f.writers:
        if writer.host.alive and writer.state.end is not None:
            tickets = [each.ticket for each in writer.placed]
            assert len(tickets) == len(set(tickets))
