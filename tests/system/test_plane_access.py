"""Who hears what of the plane, on real sockets: a recorder of frames, revoked children, strangers, one port only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import zmq

from tests.system.federation import Federation, until
from zmqfl import Cell
from zmqfl.protocol.plane.facts import props_topic
from zmqfl.protocol.plane.publication import Ticket, encode_ticket
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.transport.outlet import MOST_STRIKES

SECRET = "a secret of one site"
marks = count(1)


def outlet(cell: Cell) -> Any:
    return cell._reactor.ports.plane.outlets[0]


def listeners(cell: Cell) -> set[str]:
    return set(cell._node.plane.hub.listeners)


def ticket_of(cell: Cell) -> bytes:
    """What a cell shows to its parent's XPUB."""
    uplink = cell._node.uplink
    assert uplink is not None
    assert uplink.link is not None
    return encode_ticket(Ticket(cell.fqcn, uplink.link.session))


class Recorder:
    """A plain XSUB at the XPUB of a cell. `sees` collects all frames that come."""

    def __init__(self, cell: Cell, keys: tuple[bytes, bytes] | None = None, server: bytes | None = None) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.XSUB)
        self.socket.linger = 0
        if keys is not None:
            assert server is not None
            self.socket.curve_publickey, self.socket.curve_secretkey = keys
            self.socket.curve_serverkey = server
        self.socket.connect(str(outlet(cell).endpoint))
        self.frames: list[bytes] = []

    def show(self, frame: bytes) -> None:
        self.socket.send(frame)

    def look(self) -> list[bytes]:
        """All frames that have come."""
        while self.socket.poll(0):
            self.frames += self.socket.recv_multipart()
        return self.frames

    def sees(self, text: str) -> bool:
        return any(text.encode() in frame for frame in self.look())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.socket.close()
        self.context.term()


@pytest.fixture(params=["keys", "no keys"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Federation]:
    federation = Federation(keys=request.param == "keys")
    yield federation
    federation.close()


def recorder(federation: Federation, cell: Cell, name: str = "site-2") -> Recorder:
    """With the key of a site where there are keys."""
    if not federation.keys:
        return Recorder(cell)
    return Recorder(cell, federation.pairs[name], federation.pairs[cell.fqcn][0])


def listening(federation: Federation, *names: str) -> tuple[Cell, ...]:
    """A server, and sites that listen to what it publishes."""
    server = federation.start("server")
    cells = tuple(federation.start(name, server, None) for name in names)
    until(lambda: listeners(server) == set(names))
    return (server, *cells)


def mark(server: Cell, *cells: Cell) -> str:
    """Set a prop that nobody has seen, and wait until these cells know it."""
    value = f"mark-{next(marks)}"
    server.props.set("mark", value)
    until(lambda: all(cell.props.get(server.fqcn, "mark") == value for cell in cells))
    return value


def test_plane_S03_a_recorder_sees_no_private_prop_and_no_bound_reference(guarded: Federation, tmp_path: Path) -> None:
    server, one, two = listening(guarded, "site-1", "site-2")
    file = tmp_path / "model"
    file.write_bytes(b"model")
    with recorder(guarded, server) as spy:
        spy.show(ticket_of(two))
        until(lambda: outlet(server).counters["granted"] == 3)
        for cell in (server, one):
            engine = CellEngine(cell, publish_props=True)
            with engine.new_context() as fl_ctx:
                fl_ctx.set_prop("hidden", SECRET)
                fl_ctx.set_prop("here", SECRET, private=False, sticky=False)
                fl_ctx.set_prop("shown", f"by {cell.fqcn}", private=False)
            engine.shutdown_streamer()
        bound = [cell.offer(file, announce="models", to=["site-2"]) for cell in (server, one)]
        free = server.offer(file, announce="models")
        until(lambda: {each.rid for each in two.announcements()} == {free.rid, *(offer.rid for offer in bound)})
        last = mark(server, one, two)
        until(lambda: spy.sees(last))
        for text in ("by server", "by site-1", free.rid):
            assert spy.sees(text)
        for text in (SECRET, "hidden", "bound/", *(offer.rid for offer in bound)):
            assert not spy.sees(text)
    assert [each.rid for each in one.announcements()] == [free.rid], "nor does the link of another site"
    assert two.props.all()["site-1"] == {"shown": "by site-1"}


def test_without_a_session_that_is_known_nobody_hears_anything(guarded: Federation) -> None:
    server, one = listening(guarded, "site-1")
    with recorder(guarded, server) as stranger:
        for frame in (b"\1", b"\1props/", encode_ticket(Ticket("site-1", 1)), encode_ticket(Ticket("server", 0))):
            stranger.show(frame)
        until(lambda: outlet(server).counters["refused"] == 4)
        mark(server, one)
        assert stranger.look() == []
    assert listeners(server) == {"site-1"}


def test_a_ticket_is_good_with_the_key_of_its_name_only(locked: Federation) -> None:
    server, one, _ = listening(locked, "site-1", "site-2")
    with recorder(locked, server, "site-2") as thief:
        thief.show(ticket_of(one))
        until(lambda: outlet(server).counters["refused"])
        mark(server, one)
        assert thief.look() == []


def test_who_is_revoked_hears_nothing_that_is_published_after(locked: Federation) -> None:
    server, one, two = listening(locked, "site-1", "site-2")
    with recorder(locked, server) as live:
        live.show(ticket_of(two))
        until(lambda: outlet(server).counters["granted"] == 3)
        before = mark(server, one, two)
        until(lambda: live.sees(before))
        server.revoke("site-2")
        after = mark(server, one)
        until(lambda: listeners(server) == {"site-1"})
        again = mark(server, one)
        assert not live.sees(after)
        assert not live.sees(again)
    assert two.props.get("server", "mark") == before


def test_who_may_hear_less_is_cut_and_the_others_go_on(guarded: Federation) -> None:
    server, one, two = listening(guarded, "site-1", "site-2")
    with recorder(guarded, server) as live:
        live.show(ticket_of(two))
        until(lambda: outlet(server).counters["granted"] == 3)
        before = mark(server, one, two)
        until(lambda: live.sees(before))
        server.set_hearers({"site-2": ["rids/"], "*": [""]})
        after = mark(server, one)
        until(lambda: listeners(server) == {"site-1", "site-2"})
        again = mark(server, one)
        assert not live.sees(after)
        assert not live.sees(again)
    assert two.props.get("server", "mark") in (None, before)
    server.set_hearers({"site-2": [], "*": [""]})
    until(lambda: listeners(server) == {"site-1"})
    server.set_hearers(None)
    assert one.props.get("server", "mark") == again


def test_a_rule_for_site_1_says_nothing_of_site_10(guarded: Federation) -> None:
    server = guarded.start("server")
    server.set_hearers({"site-2": [props_topic("site-1"), props_topic("server")], "*": [""]})
    names = ("site-1", "site-10", "site-2")
    if guarded.keys:
        guarded.keys_of("site-10")
        server._keys = guarded.keys_of("server")
        server._reactor.set_allowed(server._keys.allowed)
    one, ten, two = (guarded.start(name, server, None) for name in names)
    until(lambda: listeners(server) == set(names))
    with recorder(guarded, server) as spy:
        spy.show(ticket_of(two))
        until(lambda: outlet(server).counters["granted"] >= 4)
        ten.props.set("round", "of ten")
        one.props.set("round", "of one")
        until(lambda: server.props.get("site-10", "round") and two.props.get("site-1", "round"))
        last = mark(server, one, ten, two)
        until(lambda: spy.sees(last))
        assert spy.sees("of one")
        assert not spy.sees("of ten")
        assert not spy.sees("site-10")
    assert two.props.all().keys() == {"site-1", "server"}
    assert "props/site-10/" not in two._node.plane._position[1]


def test_a_flood_of_subscriptions_harms_nobody(guarded: Federation) -> None:
    server, one, two = listening(guarded, "site-1", "site-2")
    with recorder(guarded, server) as flood:
        for number in range(5000):
            flood.show(b"\1props/%d/" % number)
        until(lambda: outlet(server).counters["refused"] >= 64)
        mark(server, one, two)
        one.props.set("round", 1)
        until(lambda: two.props.get("site-1", "round") == 1)
    until(lambda: outlet(server).counters["refused"] == 5000 or outlet(server).counters["reopened"])
    mark(server, one, two)
    assert "bugs" not in server.statistics().counters


@pytest.mark.parametrize("frames", [[b"\2garbage"], [b""], [b"\1zmqfl/", b"more", b"more"], [b"\1" + bytes(10_000)]])
def test_garbage_harms_nobody(guarded: Federation, frames: list[bytes]) -> None:
    server, one, two = listening(guarded, "site-1", "site-2")
    for number in range(MOST_STRIKES + 1):
        with recorder(guarded, server) as bad:
            bad.show(b"\1here")
            if number == 0:
                until(lambda: outlet(server).counters["refused"])
            bad.socket.send_multipart(frames)
            mark(server, one, two)
    one.props.set("round", 1)
    until(lambda: two.props.get("site-1", "round") == 1)
    assert "bugs" not in server.statistics().counters


# -- one port ----------------------------------------------------------------------------------------------------------


def everything_works(federation: Federation, cells: tuple[Cell, ...], folder: Path) -> None:
    """Props and announcements, both ways, whatever restarts."""
    _, relay, leaf, site = cells
    for cell in cells:
        cell.props.set("name", cell.fqcn)
    until(lambda: all(cell.props.all() == {each.fqcn: {"name": each.fqcn} for each in cells} for cell in cells))
    file = folder / "model"
    file.write_bytes(b"model")
    free, bound = leaf.offer(file, announce="models"), leaf.offer(file, announce="models", to=["site-2"])
    until(lambda: {each.rid for each in site.announcements("models")} == {free.rid, bound.rid})
    assert site.pull(free.rid, leaf.fqcn, folder / "site").result(30).read_bytes() == b"model"
    until(lambda: [each.rid for each in relay.announcements()] == [free.rid])
    free.withdraw()
    until(lambda: [each.rid for each in site.announcements()] == [bound.rid])
    relay.close(drain=0)
    until(lambda: site.props.all().keys() == {"server", "site-2"})


def test_with_links_there_is_one_port_and_everything_works(federation: Federation, tmp_path: Path) -> None:
    server = federation.start("server", plane=None)
    relay = federation.start("relay", server, plane=None)
    leaf = federation.start("relay.site-1", relay, None, plane=None)
    site = federation.start("site-2", server, None, plane=None)
    assert all(cell._reactor.ports.plane.outlets == {} for cell in (server, relay))
    (tmp_path / "site").mkdir()
    everything_works(federation, (server, relay, leaf, site), tmp_path)


def test_who_cannot_reach_the_port_of_the_plane_is_told_by_its_link(federation: Federation, tmp_path: Path) -> None:
    """A firewall lets through one port: the child is told of another one, and dials in vain."""
    server = federation.start("server")
    relay = federation.start("relay", server)
    for cell in (server, relay):
        cell._node.acceptor.published = {0: "tcp:9"}
    leaf = federation.start("relay.site-1", relay, None)
    site = federation.start("site-2", server, None)
    (tmp_path / "site").mkdir()
    everything_works(federation, (server, relay, leaf, site), tmp_path)
    assert listeners(server) <= {"relay"}
    assert "heard" not in site._reactor.ports.plane.inlet.counters  # type: ignore[union-attr]


def test_one_listens_and_one_cannot(federation: Federation) -> None:
    server, one = listening(federation, "site-1")
    server._node.acceptor.published = {}
    two = federation.start("site-2", server, None)
    last = mark(server, one, two)
    one.props.set("round", last)
    until(lambda: two.props.get("site-1", "round") == last)
    assert listeners(server) == {"site-1"}
