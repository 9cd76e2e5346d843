"""Where a cell publishes, over real sockets. The peers are raw XSUBs, so that they can send whatever they like."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from zmqfl.config import CellConfig
from zmqfl.errors import UserError
from zmqfl.protocol.plane.publication import Ticket, encode_ticket
from zmqfl.transport.authentication import CurvePolicy, LoopbackPolicy, Policy, SameUserPolicy, ZapAnswerer
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.frames import send_frames
from zmqfl.transport.keys import Keys
from zmqfl.transport.outlet import (
    MOST_REFUSED,
    MOST_STRIKES,
    SNDHWM,
    Doorkeeper,
    Outlet,
    place_beside,
)
from zmqfl.transport.sockets import Context, Socket
from zmqfl.wire.messages import Buffer

CONFIG = CellConfig(reconnect_min=0.01, reconnect_max=0.02)
ANY = Endpoint.parse("tcp://127.0.0.1:*")
SERVER = Keys("server", *zmq.curve_keypair())
NAMES = ["site-1", "site-2", "site-10"]
KEYS = {name: Keys(name, *zmq.curve_keypair(), parent_public=SERVER.public) for name in NAMES}
ALLOWED = {name: keys.public for name, keys in KEYS.items()}
WITHIN = 10
ALL = ("",)


class Desk:
    """Who may hear what. Counts nothing twice: `listening` is what the hub would know."""

    def __init__(self) -> None:
        self.members: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.listening: set[str] = set()
        self.proves_keys = False

    def admit(self, ticket: Ticket, user: str | None) -> tuple[str, ...]:
        session, granted = self.members.get(ticket.name, (0, ()))
        if session != ticket.session or (self.proves_keys and user != ticket.name):
            return ()
        if granted:
            self.listening.add(ticket.name)
        return granted

    def dismiss(self, name: str) -> None:
        self.listening.discard(name)


class Site:
    """An outlet, and who comes to it."""

    def __init__(self, context: Context, endpoint: Endpoint = ANY, keys: Keys | None = None) -> None:
        self.desk = Desk()
        self.desk.proves_keys = keys is not None
        self.zap = ZapAnswerer(context)
        self.curve = CurvePolicy(ALLOWED)
        policy: Policy = self.curve if keys is not None else LoopbackPolicy()
        self.doorkeeper = Doorkeeper(SameUserPolicy() if endpoint.is_ipc else policy)
        self.zap.add_domain("plane-0", self.doorkeeper)
        self.poller = zmq.Poller()
        self.recorded: list[bytes] = []
        """The first frames of all that was handed to libzmq."""
        self.outlet = Outlet(context, endpoint, "plane-0", self.doorkeeper, CONFIG, keys, False, self.poller)
        self._context = context
        self._peers: list[Socket] = []

    def peer(self, keys: Keys | None = None) -> Socket:
        """A connection that has said nothing yet."""
        peer = self._context.socket(zmq.XSUB)
        peer.linger = 0
        peer.rcvhwm = 16
        peer.reconnect_ivl, peer.reconnect_ivl_max = 10, 20
        if keys is not None:
            assert keys.parent_public is not None
            peer.curve_serverkey = keys.parent_public
            peer.curve_publickey, peer.curve_secretkey = keys.public, keys.secret
        peer.connect(str(self.outlet.endpoint))
        self._peers.append(peer)
        return peer

    def listener(self, name: str, granted: tuple[str, ...] = ALL, keys: Keys | None = None) -> Socket:
        """A child that listens."""
        self.desk.members[name] = len(self.desk.members) + 1, granted
        peer = self.peer(keys)
        peer.send(self.ticket(name))
        self.until(lambda: name in self.desk.listening)
        return peer

    def ticket(self, name: str) -> bytes:
        return encode_ticket(Ticket(name, self.desk.members[name][0]))

    def step(self) -> None:
        """A pass of a reactor."""
        ready = {socket for socket, _ in self.poller.poll(5)}
        for peer in self._peers:
            if not peer.closed:
                peer.poll(0)  # libzmq repeats subscriptions in the thread of the socket
        self.zap.handle()
        now = time.monotonic()
        if self.outlet.socket in ready:
            self.outlet.read(self.desk, now)
        self.outlet.handle_timeout(now)

    def until(self, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + WITHIN
        while not is_so():
            assert time.monotonic() < deadline, "it never comes so"
            self.step()

    def publish(self, topic: str, body: bytes = b"x") -> None:
        self.recorded.append(topic.encode())
        self.outlet.publish([topic.encode(), b"n", body])

    def heard(self, peer: Socket, under: str = "props/last/") -> list[str]:
        """The topics that come to who may hear what is under `under`, where something is published now."""
        last = f"{under}{len(self.recorded)}/"
        self.publish(last)
        topics: list[str] = []
        while not topics or topics[-1] != last:
            self.until(lambda: peer.poll(0))
            topics.append(peer.recv_multipart()[0].decode())
        return [topic for topic in topics if "/last/" not in topic]

    def hears_nothing(self, peer: Socket) -> bool:
        """Whether nothing (but ends of `heard`) waits for it, now that all that was published before has arrived."""
        waiting: list[bytes] = []
        while peer.poll(100):
            waiting.append(peer.recv_multipart()[0])
        return all(b"/last/" in topic for topic in waiting)

    def close(self) -> None:
        self.outlet.close(0.0)
        self.zap.close()


@pytest.fixture
def site(context: Context) -> Iterator[Site]:
    site = Site(context)
    yield site
    site.close()


@pytest.fixture
def keyed(context: Context) -> Iterator[Site]:
    site = Site(context, keys=SERVER)
    yield site
    site.close()


def test_a_ticket_gives_what_its_holder_may_hear_and_no_more(site: Site) -> None:
    one = site.listener("site-1", ("props/site-1/", "rids/"))
    ten = site.listener("site-10", ("props/site-10/", "props/last/"))
    every = site.listener("site-2")
    topics = ["props/site-1/", "props/site-10/", "props/site-2/", "rids/models/"]
    for topic in topics:
        site.publish(topic)
    assert site.heard(every) == topics
    assert site.heard(one, "rids/last/") == ["props/site-1/", "rids/models/"]
    assert site.heard(ten) == ["props/site-10/"]
    assert site.recorded.count(b"props/site-1/") == 1


@pytest.mark.parametrize("subscription", [b"\x01", b"\x01props/", b"\x01zmqfl/0000000000000063/site-1", b"\x01\xff"])
def test_what_is_no_good_ticket_hears_nothing_and_is_counted(site: Site, subscription: bytes) -> None:
    good = site.listener("site-2")
    site.desk.members["site-1"] = 98, ALL
    stranger = site.peer()
    stranger.send(subscription)
    site.until(lambda: site.outlet.counters["refused"])
    site.publish("props/site-1/")
    assert site.heard(good) == ["props/site-1/"]
    assert site.hears_nothing(stranger)
    assert site.desk.listening == {"site-2"}


def test_a_child_that_the_rule_grants_nothing_hears_nothing(site: Site) -> None:
    site.desk.members["site-1"] = 1, ()
    peer = site.peer()
    peer.send(site.ticket("site-1"))
    site.until(lambda: site.outlet.counters["refused"])
    site.publish("props/site-1/")
    assert site.hears_nothing(peer)


def test_what_is_published_before_the_ticket_is_not_heard(site: Site) -> None:
    site.publish("props/site-1/")
    assert site.outlet.counters["published"] == 0  # nobody is there
    assert site.heard(site.listener("site-1")) == []


def test_the_end_of_a_connection_is_seen(site: Site) -> None:
    peer = site.listener("site-1")
    peer.close()
    site.until(lambda: not site.desk.listening)


def test_a_child_that_listens_twice_listens_until_both_have_ended(site: Site) -> None:
    first = site.listener("site-1")
    second = site.peer()
    second.send(site.ticket("site-1"))
    site.until(lambda: site.outlet.counters["granted"] == 2)
    site.desk.members["site-1"] = 77, ALL  # bound anew
    third = site.peer()
    third.send(site.ticket("site-1"))
    site.until(lambda: site.outlet.counters["granted"] == 3)
    first.close()
    second.close()
    assert site.heard(third) == []
    assert site.desk.listening == {"site-1"}
    third.close()
    site.until(lambda: not site.desk.listening)


def test_who_gives_its_ticket_back_hears_no_more(site: Site) -> None:
    good, peer = site.listener("site-2"), site.listener("site-1", ("props/site-1/", "rids/"))
    peer.send(b"\x00" + site.ticket("site-1")[1:])
    site.until(lambda: site.desk.listening == {"site-2"})
    site.publish("props/site-1/")
    assert site.heard(good) == ["props/site-1/"]
    assert site.hears_nothing(peer)
    peer.close()
    site.step()
    assert site.heard(good) == []


def test_who_gives_back_what_it_never_had_changes_nothing(site: Site) -> None:
    good, other = site.listener("site-2"), site.peer()
    site.desk.members["site-1"] = 9, ALL
    other.send(b"\x01" + b"zmqfl/0000000000000063/site-2")
    other.send(b"\x00" + b"zmqfl/0000000000000063/site-2")
    site.until(lambda: site.outlet.counters["refused"])
    site.step()
    assert site.heard(good) == []
    assert site.desk.listening == {"site-2"}


# -- cuts ------------------------------------------------------------------------------------------------------------


def test_after_reopen_only_those_hear_whose_ticket_is_still_good(site: Site) -> None:
    good, bad = site.listener("site-1"), site.listener("site-2")
    endpoint = site.outlet.endpoint
    site.desk.members["site-2"] = 99, ALL  # its link has ended
    site.outlet.reopen(site.desk, time.monotonic())
    assert site.desk.listening == set()
    site.publish("props/site-1/")
    site.until(lambda: site.desk.listening == {"site-1"} and site.outlet.counters["refused"])
    site.publish("props/site-2/")
    assert site.heard(good) == ["props/site-2/"]
    assert site.hears_nothing(bad)
    assert site.outlet.endpoint == endpoint


def test_a_narrowed_rule_is_what_holds_after_reopen(site: Site) -> None:
    peer = site.listener("site-1", ("props/", "rids/"))
    site.desk.members["site-1"] = 1, ("rids/",)
    site.outlet.reopen(site.desk, time.monotonic())
    site.until(lambda: site.desk.listening)
    site.publish("props/site-2/")
    assert site.heard(peer, "rids/last/") == []


def test_who_is_revoked_receives_nothing_that_is_published_after(keyed: Site) -> None:
    good, bad = (keyed.listener(name, keys=KEYS[name]) for name in ("site-1", "site-2"))
    keyed.publish("props/site-1/")
    assert keyed.heard(bad) == ["props/site-1/"]
    assert keyed.heard(good) == ["props/site-1/"]
    allowed = {name: key for name, key in ALLOWED.items() if name != "site-2"}
    keyed.curve.replace(allowed)
    keyed.outlet.revoke(frozenset(allowed), keyed.desk, time.monotonic())
    keyed.publish("props/site-1/")
    keyed.until(lambda: keyed.desk.listening == {"site-1"} and keyed.zap.refused["plane-0"])
    keyed.publish("props/site-2/")
    assert keyed.heard(good) == ["props/site-2/"]
    assert keyed.hears_nothing(bad)


def test_who_gave_its_ticket_back_is_cut_all_the_same(keyed: Site) -> None:
    peer = keyed.listener("site-2", keys=KEYS["site-2"])
    peer.send(b"\x00" + keyed.ticket("site-2")[1:])
    keyed.until(lambda: not keyed.desk.listening)
    keyed.outlet.revoke(frozenset({"site-1"}), keyed.desk, time.monotonic())
    assert keyed.outlet.counters["reopened"] == 1


def test_a_revocation_of_somebody_else_cuts_nobody(keyed: Site) -> None:
    peer = keyed.listener("site-1", keys=KEYS["site-1"])
    keyed.outlet.revoke(frozenset({"site-1"}), keyed.desk, time.monotonic())
    assert keyed.heard(peer) == []
    assert keyed.outlet.counters["reopened"] == 0


def test_an_address_that_is_taken_is_tried_again(site: Site, context: Context) -> None:
    site.outlet.close(0.0)
    taken = context.socket(zmq.PAIR)

    def is_taken() -> bool:
        try:
            taken.bind(str(site.outlet.endpoint))
        except zmq.ZMQError:
            return False
        return True

    site.until(is_taken)
    site.outlet.reopen(site.desk, 0.0)
    assert site.outlet.deadline
    assert repr(site.outlet).endswith("of 0 listeners>")
    taken.close()
    site.until(lambda: site.outlet.deadline is None)
    assert site.heard(site.listener("site-1")) == []


# -- keys ------------------------------------------------------------------------------------------------------------


def test_a_ticket_is_good_for_the_key_of_its_name_only(keyed: Site) -> None:
    good = keyed.listener("site-1", keys=KEYS["site-1"])
    thief = keyed.peer(KEYS["site-2"])
    thief.send(keyed.ticket("site-1"))
    keyed.until(lambda: keyed.outlet.counters["refused"])
    assert keyed.heard(good) == []
    assert keyed.hears_nothing(thief)


def test_a_key_that_nobody_knows_is_not_let_in(keyed: Site) -> None:
    keyed.desk.members["site-1"] = 1, ALL
    stranger = keyed.peer(Keys("site-1", *zmq.curve_keypair(), parent_public=SERVER.public))
    stranger.send(keyed.ticket("site-1"))
    keyed.until(lambda: keyed.zap.refused["plane-0"])
    assert keyed.desk.listening == set()


# -- garbage ---------------------------------------------------------------------------------------------------------

GARBAGE = [[b"garbage"], [b""], [b"\x02"], [b"zz", b"\x01zmqfl/0000000000000001/site-1"], [b"", b"", b""]]


@pytest.mark.parametrize("frames", GARBAGE)
def test_garbage_gives_nobody_what_is_granted_to_another(site: Site, frames: list[bytes]) -> None:
    """Without a close libzmq 4.3.5 grants to B what A may hear, as it counts the garbage as a subscription."""
    attacker, a, b = site.peer(), site.peer(), site.peer()
    site.desk.members = {"site-1": (1, ("props/site-1/",)), "site-2": (2, ("props/site-2/",))}
    for peer in (attacker, a, b):
        peer.send(b"\x01here")
    site.until(lambda: site.outlet.counters["refused"] == 3)
    assert site.outlet.socket is not None
    attacker.send_multipart(frames)
    for peer, name in ((a, "site-1"), (b, "site-2")):  # so that they are read in this order
        assert site.outlet.socket.poll(WITHIN * 1000)
        peer.send(site.ticket(name))
    site.until(lambda: site.outlet.counters["garbage"] == 1)
    attacker.close()
    site.until(lambda: site.desk.listening == {"site-1", "site-2"})
    for topic in ("props/site-1/", "props/site-2/", "props/site-1/last/", "props/site-2/last/"):
        site.publish(topic)
    for peer, name in ((a, "site-1"), (b, "site-2")):
        site.until(lambda peer=peer: peer.poll(0))  # type: ignore[misc]
        assert [peer.recv_multipart()[0].decode() for _ in range(2)] == [f"props/{name}/", f"props/{name}/last/"]
        assert site.hears_nothing(peer)


def test_who_sends_garbage_is_shut_out_by_its_key(keyed: Site) -> None:
    good = keyed.listener("site-1", keys=KEYS["site-1"])
    bad = keyed.listener("site-2", keys=KEYS["site-2"])
    bad.send(b"garbage")
    keyed.until(lambda: keyed.zap.refused["plane-0"] and keyed.desk.listening == {"site-1"})
    assert keyed.doorkeeper.shut_out == {"site-2"}
    assert keyed.heard(good) == []
    assert keyed.hears_nothing(bad)


def test_who_subscribes_to_everything_is_shut_out_by_its_key(keyed: Site) -> None:
    good = keyed.listener("site-1", keys=KEYS["site-1"])
    bad = keyed.peer(KEYS["site-2"])
    for number in range(MOST_REFUSED):
        bad.send(b"\x01%d" % number)
    keyed.until(lambda: keyed.outlet.counters["refused"] == MOST_REFUSED)
    assert keyed.outlet.counters["reopened"] == 0
    bad.send(b"\x01more")
    keyed.until(lambda: keyed.zap.refused["plane-0"] and keyed.desk.listening == {"site-1"})
    assert keyed.heard(good) == []


def test_without_keys_nothing_is_published_after_some_garbage(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1, MOST_STRIKES + 1):
        bad = site.peer()
        bad.send(b"\x01here")
        site.until(lambda number=number: site.outlet.counters["refused"] == number)  # type: ignore[misc]
        bad.send(b"garbage")
        site.until(lambda number=number: site.outlet.counters["garbage"] == number)  # type: ignore[misc]
        bad.close()
    assert site.outlet.socket is None
    assert site.outlet.deadline is None
    assert "nothing is published there any more" in caplog.text
    site.publish("props/site-1/")
    site.outlet.reopen(site.desk, 0.0)
    assert site.outlet.socket is None


def test_a_long_subscription_costs_the_connection(site: Site) -> None:
    good, bad = site.listener("site-1"), site.listener("site-2")
    bad.send(b"\x01" + bytes(10_000))
    site.until(lambda: "site-2" not in site.desk.listening)
    assert site.heard(good) == []


# -- those who do not read -------------------------------------------------------------------------------------------


def test_a_child_that_does_not_read_slows_nobody_and_costs_little(site: Site) -> None:
    fast = site.listener("site-1")
    slow = site.listener("site-2")
    body = bytes(40_000)
    for number in range(2000):
        site.publish("props/site-1/", body + b"%d" % number)
        assert fast.poll(WITHIN * 1000)
        assert fast.recv_multipart()[2][40_000:] == b"%d" % number
    received = 0
    while slow.poll(200):
        slow.recv_multipart()
        received += 1
    kernel = 400  # what the two socket buffers take of these
    assert SNDHWM <= received <= SNDHWM + slow.rcvhwm + kernel
    site.publish("props/site-1/")
    assert slow.poll(WITHIN * 1000)


# -- addresses -------------------------------------------------------------------------------------------------------


def test_over_ipc_it_is_beside_the_listener(context: Context, tmp_path: Path) -> None:
    listener = Endpoint.parse(f"ipc://{tmp_path}/run/hub")
    beside = place_beside(listener, 7000)
    assert beside == Endpoint.parse(f"ipc://{tmp_path}/run/hub.plane")
    site = Site(context, beside)
    peer = site.listener("site-1")
    assert site.outlet.told == "ipc:.plane"
    assert site.heard(peer) == []
    site.outlet.reopen(site.desk, time.monotonic())
    site.until(lambda: site.desk.listening)
    assert site.heard(peer) == []
    site.close()
    assert not list((tmp_path / "run").iterdir())


def test_a_path_that_would_be_too_long() -> None:
    assert place_beside(Endpoint("ipc", path="/" + "x" * 101), 0) is None
    assert place_beside(Endpoint("ipc", path="/" + "x" * 100), 0) is not None


def test_over_tcp_it_has_a_port_of_its_own(site: Site) -> None:
    assert place_beside(Endpoint.parse("tcp://127.0.0.1:7000"), 7001) == Endpoint.parse("tcp://127.0.0.1:7001")
    assert site.outlet.told == f"tcp:{site.outlet.endpoint.port}"


def test_a_port_that_is_taken_is_the_callers_error(site: Site, context: Context) -> None:
    with pytest.raises(UserError, match="the port is taken"):
        Outlet(context, site.outlet.endpoint, "plane-1", site.doorkeeper, CONFIG, None, False, site.poller)


def test_nothing_is_published_without_keys_where_strangers_are(context: Context) -> None:
    with pytest.raises(UserError, match="open to anybody"):
        Site(context, Endpoint.parse("tcp://*:*"))


def test_an_error_of_libzmq_is_a_loss_like_any_other(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(socket: Socket, frames: list[Buffer]) -> None:
        raise zmq.ZMQError(zmq.ETERM)

    peer = site.listener("site-1")
    monkeypatch.setattr("zmqfl.transport.outlet.send_frames", fail)
    site.publish("props/site-1/")
    monkeypatch.setattr("zmqfl.transport.outlet.send_frames", send_frames)
    assert site.heard(peer) == []
    assert site.outlet.counters["send_errors"] == 1
