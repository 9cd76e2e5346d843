"""What a cell moves now, as one snapshot."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.system.federation import LONG, Federation, until
from zmqfl import Cell, NetAgent
from zmqfl.cell.transfer_statistics import TransferStatistics

SIZE = 3 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "model.pt"
    file.write_bytes(bytes(SIZE))
    return file


def rows(cell: Cell) -> list[tuple[str, str, str, int]]:
    return [(each.kind, each.peer, each.name, each.total) for each in cell.transfers()]


def test_a_push_at_both_ends(federation: Federation, tmp_path: Path, file: Path) -> None:
    server = federation.start("server")
    sites = [federation.start(name, server) for name in ("site-1", "site-2")]
    go = threading.Event()
    for site in sites:
        (tmp_path / site.fqcn).mkdir()
        site.consume(to=tmp_path / site.fqcn, chunk_taken=lambda index, size: go.wait(LONG))
    handle = server.push_file(file, ["site-1", "site-2"])
    until(lambda: all(site.transfers() for site in sites))
    until(lambda: all(each.state == "sending" for each in server.transfers()))
    assert rows(server) == [("push", "site-1", "model.pt", SIZE), ("push", "site-2", "model.pt", SIZE)]
    until(lambda: sites[0].transfers()[0].state == "consuming")
    assert rows(sites[0]) == [("receive", "server", "model.pt", SIZE)]
    (received,) = sites[0].transfers()
    assert (received.done, received.rate) == (1 << 20, (1 << 20) / received.seconds)
    go.set()
    assert handle.result(LONG).ok
    assert [server.transfers(), *(site.transfers() for site in sites)] == [(), (), ()]


def test_a_stream_that_is_no_file_has_the_name_of_its_topic(federation: Federation, file: Path) -> None:
    server = federation.start("server")
    entered, go = threading.Event(), threading.Event()

    def refuse(incoming: object) -> object:
        entered.set()
        go.wait(LONG)
        raise RuntimeError("no")

    server.consume_streams("a", "b", refuse)  # type: ignore[arg-type]
    handle = server.push_file(file, "server", "b", channel="a")
    assert entered.wait(LONG)
    assert ("receive", "server", "a:b", 0) in rows(server)
    go.set()
    assert not handle.report(LONG).ok


def test_offers_and_pulls(federation: Federation, tmp_path: Path, file: Path) -> None:
    server = federation.start("server")
    with server.offer(file, timeout=1000), server.offer(b"x", to=["site-2", "site-1"], name="facts"):
        assert rows(server) == [("offer", "", "model.pt", SIZE), ("offer", "site-1, site-2", "facts", 1)]
        (first, _) = server.transfers()
        assert (first.state, first.done, first.rate) == ("offered", 0, 0)
        assert 900 < first.seconds <= 1000  # until it ends
    assert rows(server) == []
    handle = federation.start("site-1", server).pull(f"R{0:032x}", "site-9", tmp_path)
    with pytest.raises(Exception, match="site-9"):
        handle.result(LONG)


def test_what_a_relay_keeps(federation: Federation, tmp_path: Path, file: Path) -> None:
    server, relay, other, _ = federation.tree()
    site = federation.start("relay.site-3", relay)
    (tmp_path / "to").mkdir()
    offer = server.offer(file)
    site.pull(offer.rid, "server", tmp_path / "to").result(LONG)
    (kept,) = relay.transfers()
    assert (kept.kind, kept.peer, kept.name, kept.done, kept.total) == ("relay", "server", "model.pt", SIZE, SIZE)
    assert kept.state == "kept"
    counters = relay.statistics().counters
    assert (counters["relay_misses"], counters["relay_bytes"], counters["relay_grants"]) == (3, SIZE, 1)
    assert other.transfers() == ()


def test_names_of_others_do_nothing_to_a_terminal(federation: Federation, tmp_path: Path) -> None:
    server = federation.start("server")
    go = threading.Event()
    server.consume(to=tmp_path, chunk_taken=lambda index, size: go.wait(LONG))
    (tmp_path / "a\x1b[2J\nb").write_bytes(b"x")
    handle = server.push_file(tmp_path / "a\x1b[2J\nb", "server")
    until(lambda: any(each.kind == "receive" and each.state == "consuming" for each in server.transfers()))
    assert [each.name for each in server.transfers() if each.kind == "receive"] == ["a_[2J_b"]
    go.set()
    handle.result(LONG)


def test_as_a_dict() -> None:
    each = TransferStatistics("pull", "server", "f", "fetching", 10, 100, 2.0)
    assert each.to_dict() == {
        "kind": "pull", "peer": "server", "name": "f", "state": "fetching", "done": 10, "total": 100, "seconds": 2.0,
        "rate": 5.0,
    }  # fmt: skip


def test_names_of_files_are_told_to_those_who_may_stop_a_cell(federation: Federation) -> None:
    server, relay, other, site = federation.tree()
    deep = federation.start("relay.site-3", relay)
    own = federation.start("relay.site-3.admin-7", deep, None)
    job = federation.start("relay.site-3.job", deep, None)
    admin = federation.start("server.admin-7", server, None)
    with deep.offer(b"x", name="facts"):
        for friend in (deep, relay, server, admin, own):
            error, found = NetAgent(friend).get_transfers("relay.site-3")
            assert (error, [each["name"] for each in found]) == ("", ["facts"])
        for stranger in (site, other, job):
            error, found = NetAgent(stranger).get_transfers("relay.site-3")
            assert found == []
            assert "authentication_error" in error
