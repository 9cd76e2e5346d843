"""Channels on a simulated tree: what is put comes, through relays, as each reader's policy says."""

from __future__ import annotations

from tests.fan_out import ALL, FanOut
from tests.harness import Net

TREE = ("relay", "relay.site-1", "relay.site-2", "site-3")


def fan_out(seed: int = 0) -> FanOut:
    return FanOut(Net(seed).form(*TREE))


def test_what_is_put_comes_to_each_reader() -> None:
    f = fan_out()
    f.ok(f.create("relay.site-1", "server", "c"))
    ticket, writer = f.write("relay.site-1", "server", "c")
    f.ok(ticket)
    readers = []
    for who in ("relay.site-2", "site-3", "server"):
        ticket, reader = f.read(who, "server", "c", ALL)
        f.ok(ticket)
        readers.append(reader)
    f.net.run_until(lambda: writer.state.active)
    f.put(writer, 5000)
    f.net.run_until(lambda: all(len(reader.items) == 5000 for reader in readers))
    for reader in readers:
        assert reader.bodies == [b"%d" % number for number in range(1, 5001)]
        assert {item.writer for item in reader.items} == {"relay.site-1"}
    f.ok(f.unwrite(writer))
    f.ok(f.ask("relay.site-1", "server", "delete", c="c"))
    f.net.run_until(lambda: all(reader.end == "deleted" for reader in readers))
    f.check_orders()
    f.check_counts()
