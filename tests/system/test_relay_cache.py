"""Pulls of many cells behind one relay, over real sockets: what passes the relay's uplink, and what the relay holds."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.bench.memory import Peak, anonymous
from tests.system.cable import Cable, Pair
from tests.system.federation import LONG, QUICK, Federation, counter
from tests.system.test_memory import Site
from zmqfl import Cell
from zmqfl.errors import TransferError

MIB = 1024 * 1024
SIZE = 24 * MIB
NAMES = tuple(f"relay.site-{number}" for number in range(1, 9))


class Meter(Cable):
    """A cable that counts what the cell that listens sends."""

    passed = 0

    def _pass_on(self, source: socket.socket, pair: Pair) -> None:
        near, far = pair
        with suppress(OSError):
            if data := source.recv(65536):
                (far if source is near else near).sendall(data)
                self.passed += len(data) if source is far else 0
                return
        self._end(pair)


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """Of the file `model.pt`: random, so that nothing packs it."""
    content = Random(1).randbytes(SIZE)
    (tmp_path / "model.pt").write_bytes(content)
    return content


@pytest.fixture
def uplink(federation: Federation) -> Iterator[Meter]:
    """From a relay to the server."""
    with Meter(federation.start("server").url) as meter:
        yield meter
        federation.close()  # before the cable: a cell that has lost its parent dials


def below(federation: Federation, uplink: Meter, **options: int) -> tuple[Cell, Cell, list[Cell]]:
    """The server, the relay, and the sites."""
    relay = federation.start("relay", uplink.url, config=replace(QUICK, **options))
    return federation.cells[0], relay, [federation.start(name, relay, None) for name in NAMES]


def pull_all(sites: list[Cell], rid: str, folder: Path) -> list[bytes]:
    """All at about the same time."""
    handles = []
    for site in sites:
        (folder / site.fqcn).mkdir()
        handles.append(site.pull(rid, "server", folder / site.fqcn))
    return [Path(handle.result(2 * LONG)).read_bytes() for handle in handles]


def test_eight_receivers_cost_the_uplink_one_file(
    federation: Federation, uplink: Meter, content: bytes, tmp_path: Path
) -> None:
    server, relay, sites = below(federation, uplink)
    offer = server.offer(tmp_path / "model.pt", to=NAMES)
    before = uplink.passed
    assert pull_all(sites, offer.rid, tmp_path) == [content] * 8
    assert SIZE <= uplink.passed - before <= 1.1 * SIZE
    assert counter(relay, "relay_misses") == SIZE // MIB
    assert counter(relay, "relay_bytes") == 8 * SIZE
    assert counter(relay, "relay_evictions") == 0


def test_without_a_cache_they_cost_eight(federation: Federation, uplink: Meter, content: bytes, tmp_path: Path) -> None:
    server, relay, sites = below(federation, uplink, relay_cache=0)
    before = uplink.passed
    assert pull_all(sites[:3], server.offer(tmp_path / "model.pt").rid, tmp_path) == [content] * 3
    assert uplink.passed - before >= 3 * SIZE
    assert counter(relay, "relay_misses") == 0


def test_what_is_withdrawn_or_not_for_a_cell_comes_from_no_cache(
    federation: Federation, uplink: Meter, content: bytes, tmp_path: Path
) -> None:
    server, relay, sites = below(federation, uplink)
    offer = server.offer(tmp_path / "model.pt", to=NAMES[:2])
    assert pull_all(sites[:1], offer.rid, tmp_path) == [content]
    with pytest.raises(TransferError, match="no such reference"):
        pull_all(sites[2:3], offer.rid, tmp_path)
    offer.withdraw()
    with pytest.raises(TransferError, match="no such reference"):
        pull_all(sites[1:2], offer.rid, tmp_path)
    assert counter(relay, "relay_bytes") == SIZE


def test_a_relay_holds_its_cache_and_little_more(tmp_path: Path) -> None:
    cache, size = 8 * MIB, 64 * MIB
    source, small = tmp_path / "source", tmp_path / "small"
    source.write_bytes(Random(1).randbytes(size))
    small.write_bytes(b"x")
    server = Site("server", tmp_path, listen="tcp://127.0.0.1:*", config={})
    relay = Site("relay", tmp_path, listen="tcp://127.0.0.1:*", parent=server.url, config={"relay_cache": cache})
    sites = [Site(name, tmp_path, parent=relay.url, config={}) for name in NAMES[:4]]
    try:
        for site in (relay, *sites):
            assert site.do("connected", timeout=30)
        rid = server.do("offer", path=str(small))
        for site in sites:
            site.do("pull", rid=rid, owner="server")
        idle = anonymous(relay.popen.pid)
        rid = server.do("offer", path=str(source))
        with Peak([relay.popen.pid]) as peak, ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda site: site.do("pull", rid=rid, owner="server"), sites)) == {size}
        counters = relay.do("counters")
        assert counters["relay_bytes"] == 4 * size + 4
        assert counters["relay_evictions"] > 0
        assert peak.highest[relay.popen.pid] - idle <= cache / MIB + 32
    finally:
        for site in (*sites, relay, server):
            site.close()
