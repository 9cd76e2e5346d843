"""Who is not let in, what is not acted on, and that nobody else notices."""

from __future__ import annotations

import os
import queue
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import zmq

from tests.system.federation import LONG, QUICK, Federation, asking_all_the_while, counter, state_of, until
from tests.system.stranger import FalseParent, Stranger
from zmqfl import Cell, Message
from zmqfl.errors import RequestFailed
from zmqfl.protocol.fence import MAX_TOKEN
from zmqfl.transport.listener import Listener
from zmqfl.wire.codec import encode_header, encode_packet
from zmqfl.wire.messages import Attach, Attached, Bye, ByeReason, Fire, Hello, Packet, Reset, Welcome


class Taken:
    """What test:take was called with, in order: (payload, origin)."""

    def __init__(self, *cells: Cell) -> None:
        self.calls: queue.SimpleQueue[tuple[Any, str]] = queue.SimpleQueue()
        for cell in cells:
            cell.register_request_cb("test", "take", self)

    def __call__(self, message: Message) -> str:
        self.calls.put((message.payload, message.origin))
        return "taken"

    def next(self) -> tuple[Any, str]:
        return self.calls.get(timeout=LONG)


@contextmanager
def others_served(server: Cell, federation: Federation, name: str = "site-2") -> Iterator[None]:
    """A good client makes requests all the while."""
    good = next((cell for cell in federation.cells if cell.fqcn == name), None) or federation.start(name, server, None)
    with asking_all_the_while(good, server.fqcn):
        yield


@pytest.fixture
def server(locked: Federation) -> Cell:
    """A server that lets in those with a key."""
    locked.config = replace(QUICK, calls_min=1, calls_max=1)  # what is taken, is taken in the order of its coming
    for name in ("server", "site-1", "site-2", "relay"):
        locked.keys_of(name)
    return locked.start("server")


def stranger(federation: Federation, cell: Cell, name: str) -> Stranger:
    """With the key of `name`."""
    return Stranger(cell.url, federation.pairs[name], federation.pairs[cell.fqcn][0])


# ------------------------------------------------------------------------------------------------- who is not let in


def test_a_random_key_and_no_key_are_refused_and_counted(locked: Federation, server: Cell) -> None:
    public = locked.pairs["server"][0]
    with (
        others_served(server, locked),
        Stranger(server.url, zmq.curve_keypair(), public) as random,
        Stranger(server.url) as null,
    ):
        random.wait_refused()
        null.wait_refused()
        until(lambda: counter(server, "failed_handshakes") >= 2)
    assert [link.fqcn for link in server.statistics().links] == ["site-2"]


def test_a_child_accepts_only_the_parent_whose_key_it_knows(locked: Federation, server: Cell) -> None:
    keys = replace(locked.keys_of("site-1"), parent_public=zmq.curve_keypair()[0])
    site = locked.make("site-1", server, keys=keys)
    site.start()
    assert not site.wait_connected(0.1)
    with pytest.raises(RequestFailed):
        site.request("server", "test", "take", deadline=0.2).result(LONG)


def test_a_revoked_key_is_not_let_in_again(locked: Federation, server: Cell) -> None:
    with others_served(server, locked):
        server.revoke("site-1")
        with stranger(locked, server, "site-1") as site:
            site.wait_refused()


def test_a_key_that_is_revoked_while_connected_is_cut_at_once_and_nothing_of_it_counts(
    locked: Federation, server: Cell
) -> None:
    taken = Taken(server)
    with others_served(server, locked), stranger(locked, server, "site-1").bind("site-1") as site:
        site.fire("site-1", "server", "before")
        assert taken.next() == ("before", "site-1")
        server.revoke("site-1")
        _, bye = site.receive()
        assert isinstance(bye, Bye)
        assert (bye.reason, bye.text) == (ByeReason.REFUSED, "its key is not allowed any more")
        for _ in range(3):
            site.fire("site-1", "server", "after")
        answer = site.hello("site-1", instance=2)
        while not isinstance(answer, Bye):
            answer = site.receive()[1]
        assert answer.reason == ByeReason.REFUSED
        assert state_of(server, "site-1") == "gone"
        assert counter(server, "unbound") == 3
    assert taken.calls.empty()


def test_a_key_that_is_revoked_between_welcome_and_the_first_message_is_not_bound(
    locked: Federation, server: Cell
) -> None:
    with stranger(locked, server, "site-1") as site:
        assert isinstance(site.hello("site-1"), Welcome)
        server.revoke("site-1")
        site.beat()
        until(lambda: counter(server, "unbound"))
        assert state_of(server, "site-1") == "gone"


def test_cell_N10_another_cells_name_needs_its_key(locked: Federation, server: Cell) -> None:
    victim = locked.start("site-2", server, None)
    with asking_all_the_while(victim, "server"), stranger(locked, server, "site-1") as liar:
        for number, name in enumerate(["site-2", "relay", "server.job", "site-2.job"], start=1):
            answer = liar.hello(name)
            assert isinstance(answer, Bye)
            assert answer.reason == ByeReason.REFUSED
            assert counter(server, "hello_refused") == number
    impostor = locked.make("site-2", server, keys=replace(locked.keys_of("site-1"), name="site-2"))
    impostor.start()
    until(lambda: impostor.refusal)
    assert impostor.refusal == "its key is that of 'site-1'"
    assert state_of(server, "site-2") == "up"


# -------------------------------------------------------------------------------------------------- whose word counts


ORIGINS = ["site-1", "site-1.job", "server", "site-2", "relay", "server.job", "site-1x", "", "a..b"]


def test_up_a_child_speaks_for_itself_and_those_below_it(locked: Federation, server: Cell) -> None:
    taken = Taken(server)
    with others_served(server, locked), stranger(locked, server, "site-1").bind("site-1") as site:
        for origin in ORIGINS:
            site.fire(origin, "server", origin, fence=MAX_TOKEN - 1 if origin == "server" else site.fence)
        site.fire("site-1", "server", "end")
        assert [taken.next()[0] for _ in range(3)] == ["site-1", "site-1.job", "end"]
        assert counter(server, "origin_refused") == len(ORIGINS) - 2
    assert taken.calls.empty()
    server.register_request_cb("test", "echo", lambda message: message.payload)
    site2 = next(cell for cell in locked.cells if cell.fqcn == "site-2")
    assert site2.request("server", "test", "echo", 1).result(LONG).payload == 1  # no fence was moved


def test_sideways_nobody_speaks_to_a_sibling_in_anothers_name(locked: Federation, server: Cell) -> None:
    victim = locked.start("site-2", server, None)
    taken = Taken(victim)
    with stranger(locked, server, "site-1").bind("site-1") as site:
        for origin in ORIGINS:
            site.fire(origin, "site-2", origin)
        site.fire("site-1", "site-2", "end")
        assert [taken.next()[0] for _ in range(3)] == ["site-1", "site-1.job", "end"]
    assert taken.calls.empty()


def test_a_relay_lets_its_children_speak_for_themselves_only(locked: Federation, server: Cell) -> None:
    taken = Taken(server)
    relay = locked.start("relay", server)
    with stranger(locked, relay, "relay.site-1").bind("relay.site-1") as site:
        for origin in ["relay", "server", "relay.site-2", "site-1", "relay.site-1"]:
            site.fire(origin, "server", origin)
        assert taken.next() == ("relay.site-1", "relay.site-1")
        assert counter(relay, "origin_refused") == 4
    with stranger(locked, server, "relay").bind("relay", instance=9) as false:  # a relay gone bad, above it all is well
        for origin in ["server", "site-2", "relay.site-1"]:
            false.fire(origin, "server", origin)
        assert taken.next()[0] == "relay.site-1"
        assert counter(server, "origin_refused") == 2
    assert taken.calls.empty()


def test_a_job_cell_does_not_speak_for_its_site(federation: Federation) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server)
    taken = Taken(server, site)
    with Stranger(site.url).bind("site-1.job") as job:
        for origin in ["site-1", "server", "site-2", "site-1.other", "site-1.job"]:
            job.fire(origin, "site-1", origin)
            job.fire(origin, "server", origin)
        assert sorted([taken.next(), taken.next()]) == [("site-1.job", "site-1.job")] * 2
        assert counter(site, "origin_refused") == 8
    assert taken.calls.empty()


def test_down_the_parent_speaks_for_all_but_the_child_and_those_below(federation: Federation) -> None:
    federation.config = replace(QUICK, calls_min=1, calls_max=1)
    with FalseParent() as parent:
        site = federation.make("site-1", parent.url)
        taken = Taken(site)
        site.start()
        parent.accept()
        for origin in ["site-1", "site-1.job", "server", "site-2", "relay.site-1"]:
            parent.fire(origin, "site-1", origin)
        assert [taken.next()[0] for _ in range(3)] == ["server", "site-2", "relay.site-1"]
        assert counter(site, "origin_refused") == 2
        site.close(drain=0)
    assert taken.calls.empty()


@pytest.mark.parametrize(
    ("welcome", "refusal"),
    [
        ({"fqcn": "relay"}, "the cell at the parent's address is 'relay', but 'site-1' belongs below 'server'"),
        ({"root": "other"}, "the cell at the parent's address is 'server', but 'site-1' belongs below 'other'"),
        ({"version": 9}, "the parent speaks protocol version 9, this cell 1 to 1"),
    ],
)
def test_a_child_is_not_bound_by_another_cell_than_its_parent(
    federation: Federation, welcome: dict[str, Any], refusal: str
) -> None:
    with FalseParent() as parent:
        site = federation.make("site-1", parent.url)
        taken = Taken(site)
        site.start()
        parent.accept(**welcome)
        parent.fire("server", "site-1", "not bound")
        until(lambda: site.refusal)
        assert site.refusal == refusal
        until(lambda: counter(site, "unbound"))
        site.close(drain=0)
    assert taken.calls.empty()


# ------------------------------------------------------------------------------------------------- before and after


@pytest.fixture
def open_server(federation: Federation) -> Cell:
    """On loopback, without keys: who comes may take any name below."""
    federation.config = replace(QUICK, calls_min=1, calls_max=1)
    return federation.start("server")


def test_nothing_counts_before_hello(federation: Federation, open_server: Cell) -> None:
    taken = Taken(open_server)
    with others_served(open_server, federation), Stranger(open_server.url) as nobody:
        for number in range(3):
            nobody.fire("site-1", "server", number)
        nobody.send(Packet(Bye.KIND, encode_header(Bye(1, "")), session=3))
        nobody.link(Attach(), lane=1)
        assert isinstance(nobody.receive()[1], Reset)  # one for all
        until(lambda: counter(open_server, "unbound") == 4)
        assert isinstance(nobody.receive()[1], Reset)  # one for the ATTACH
        assert counter(open_server, "attach_refused") == 1
        assert nobody.socket.poll(0) == 0
    assert taken.calls.empty()


def test_nothing_counts_between_hello_and_the_session(federation: Federation, open_server: Cell) -> None:
    taken = Taken(open_server)
    with Stranger(open_server.url) as nobody:
        answer = nobody.hello("site-1")
        assert isinstance(answer, Welcome)
        session, nobody.session = nobody.session, 12345
        nobody.fire("site-1", "server", "a guess")
        assert isinstance(nobody.receive()[1], Reset)
        nobody.session = session
        nobody.fire("site-1", "server", "good")
        assert taken.next() == ("good", "site-1")
        nobody.session = 12345
        nobody.fire("site-1", "server", "a guess")
        until(lambda: counter(open_server, "wrong_session") == 1)
    assert taken.calls.empty()


def test_what_is_repeated_counts_once(federation: Federation, open_server: Cell) -> None:
    taken = Taken(open_server)
    with Stranger(open_server.url).bind("site-1") as site:
        for number in (1, 2, 2, 1, 5, 3, 5, 0):
            site.fire("site-1", "server", number, sequence=number)
        assert [taken.next()[0] for _ in range(4)] == [1, 2, 5, 3]
        until(lambda: counter(open_server, "repeated") == 4)
    assert taken.calls.empty()


@pytest.mark.parametrize(
    "name", ["server", "site-1.job", "a..b", "", "ä", " site-1", "server.a.b", "x" * 300, "server.server"]
)
def test_names_that_do_not_belong_below_are_refused(open_server: Cell, name: str) -> None:
    with Stranger(open_server.url) as liar:
        answer = liar.hello(name)
        assert isinstance(answer, Bye)
        assert answer.reason == ByeReason.REFUSED


@pytest.mark.parametrize("fields", [{"version_min": 2, "version_max": 3}, {"version_min": 0, "version_max": 0}])
def test_other_versions_are_refused_and_told_so(open_server: Cell, fields: dict[str, int]) -> None:
    with Stranger(open_server.url) as old:
        answer = old.hello("site-1", **fields)
        assert isinstance(answer, Bye)
        assert "protocol version" in answer.text


def test_a_greeting_that_is_too_long_is_none(open_server: Cell) -> None:
    with Stranger(open_server.url) as long:
        long.send(Packet(Hello.KIND, encode_header(Hello("x" * 5000, 1, 0))))
        assert isinstance(long.receive()[1], Reset)


@pytest.mark.parametrize("token", [MAX_TOKEN - 1, MAX_TOKEN, (1 << 64) - 1, (1 << 62) - 2])
def test_a_child_cannot_move_anybodys_fence_out_of_reach(federation: Federation, open_server: Cell, token: int) -> None:
    good = federation.start("site-2", open_server, None)
    taken = Taken(good, open_server)
    with Stranger(open_server.url) as liar:
        assert isinstance(liar.hello("site-1", token=token), Bye)
    assert open_server.request("site-2", "test", "take", 1).result(LONG).payload == "taken"
    with Stranger(open_server.url).bind("site-1", instance=2) as site:  # its own name is not poisoned either
        site.fire("site-1", "server", "good")
        site.fire("site-1", "server", "far", fence=token)
        site.fire("site-1", "server", "good")
        assert [taken.next()[0] for _ in range(2)] == [1, "good"]
    again = federation.start("site-1", open_server, None)
    assert again.request("server", "test", "take", 2).result(LONG).payload == "taken"


# ---------------------------------------------------------------------------------------------- replaced connections


@pytest.mark.parametrize("late", [False, True], ids=["monitor in time", "monitor late"])
def test_nothing_of_a_replaced_start_counts(
    federation: Federation, open_server: Cell, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    if late:
        monkeypatch.setattr(Listener, "drain", lambda self, now: self.monitor.drain())  # and nothing is made of it
    taken = Taken(open_server)
    with (
        others_served(open_server, federation),
        Stranger(open_server.url).bind("site-1", instance=1) as old,
        Stranger(open_server.url) as new,
    ):
        old.fire("site-1", "server", "old 1")
        assert taken.next()[0] == "old 1"
        new.bind("site-1", instance=2)
        new.fire("site-1", "server", "new 1", instance=2)
        assert taken.next()[0] == "new 1"
        _, bye = old.receive()
        assert isinstance(bye, Bye)
        assert bye.reason == ByeReason.REPLACED
        for _ in range(5):
            old.fire("site-1", "server", "old 2")
            old.fire("site-1", "server", "old with the new session", session=new.session)
        until(lambda: counter(open_server, "unbound") == 10)
        answer = old.hello("site-1", instance=1, token=old.fence)  # the dead do not come back
        while not isinstance(answer, Bye):
            answer = old.receive()[1]
        assert answer.reason == ByeReason.REPLACED
        new.fire("site-1", "server", "new 2", instance=2)
        assert taken.next()[0] == "new 2"
    assert taken.calls.empty()


@pytest.mark.parametrize("late", [False, True], ids=["monitor in time", "monitor late"])
def test_the_leftovers_of_a_dead_start_do_not_mix_with_its_successor(
    federation: Federation, open_server: Cell, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    if late:
        monkeypatch.setattr(Listener, "drain", lambda self, now: self.monitor.drain())
    taken = Taken(open_server)
    for number in range(1, 40, 2):
        with Stranger(open_server.url).bind("site-1", instance=number) as old:
            for _ in range(20):
                old.fire("site-1", "server", number, instance=number)
        with Stranger(open_server.url).bind("site-1", instance=number + 1) as new:
            new.fire("site-1", "server", number + 1, instance=number + 1)
            seen = [taken.next()[0]]
            while seen[-1] != number + 1:
                seen.append(taken.next()[0])
            assert set(seen[:-1]) <= {number}  # and none of them comes after
    assert taken.calls.empty()


def test_the_bulk_lane_belongs_to_who_has_the_session_and_the_key(locked: Federation, server: Cell) -> None:
    taken = Taken(server)
    with (
        stranger(locked, server, "site-1").bind("site-1") as site,
        stranger(locked, server, "site-2") as thief,
        stranger(locked, server, "site-1") as bulk,
    ):
        thief.session = site.session
        thief.link(Attach(), lane=1)
        assert isinstance(thief.receive()[1], Reset)
        thief.fire("site-1", "server", "stolen", lane=1)
        bulk.session, bulk.fence = site.session, site.fence
        bulk.link(Attach(), lane=1)
        assert isinstance(bulk.receive()[1], Attached)
        bulk.fire("site-1", "server", "good", lane=1)
        assert taken.next()[0] == "good"
        until(lambda: counter(server, "unbound") == 1)
    assert taken.calls.empty()


# ------------------------------------------------------------------------------------------------------ bad messages


def frames_of(session: int, sequence: int) -> list[bytes]:
    header = encode_header(Fire("site-1", 1, 1, 1, "test", "take", 1, [1]))
    packet = Packet(Fire.KIND, header, (b"\xc0",), ("server",), session=session, sequence=sequence)
    return [bytes(frame) for frame in encode_packet(packet)]


BAD: dict[str, Callable[[bytes, bytes, bytes], list[bytes]]] = {
    "one frame": lambda hop, header, body: [b"GET / HTTP/1.1"],
    "empty frames": lambda hop, header, body: [b"", b""],
    "other magic": lambda hop, header, body: [b"XX" + hop[2:], header, body],
    "other major version": lambda hop, header, body: [b"zF\x07" + hop[3:], header, body],
    "short hop": lambda hop, header, body: [hop[:20], header, body],
    "long hop": lambda hop, header, body: [hop + b"x", header, body],
    "random header": lambda hop, header, body: [hop, os.urandom(100), body],
    "nested header": lambda hop, header, body: [hop, b"\x91" * 100_000, body],
    "66 bodies": lambda hop, header, body: [hop, header, *[body] * 66],
    "10,000 frames": lambda hop, header, body: [hop, header, *[body] * 10_000],
    "huge header": lambda hop, header, body: [hop, bytes(300_000), body],
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("is_bound", [False, True])
def test_a_message_that_is_none_is_dropped_and_counted(
    federation: Federation, open_server: Cell, bad: str, is_bound: bool
) -> None:
    taken = Taken(open_server)
    with others_served(open_server, federation), Stranger(open_server.url) as site:
        if is_bound:
            site.bind("site-1")
        for number in (101, 102, 103):
            site.send_frames(*BAD[bad](*frames_of(site.session, number)))
        until(lambda: counter(open_server, "malformed") + counter(open_server, "unbound") >= 3)
        if not is_bound:
            site.bind("site-1")
        site.fire("site-1", "server", "good")
        assert taken.next()[0] == "good"
    assert counter(open_server, "bugs") == 0


def test_bodies_of_other_lengths_than_the_header_says(federation: Federation, open_server: Cell) -> None:
    taken = Taken(open_server)
    with Stranger(open_server.url).bind("site-1") as site:
        for lengths in ([], [1, 1], [10_000_000]):
            site.fire("site-1", "server", "bad", lengths=lengths)
        site.fire("site-1", "server", "good")
        assert taken.next()[0] == "good"
        assert counter(open_server, "malformed") == 3


def test_a_frame_above_the_limit_ends_its_connection_only(federation: Federation, open_server: Cell) -> None:
    with others_served(open_server, federation), Stranger(open_server.url).bind("site-1") as site:
        site.send_frames(bytes(QUICK.segment + 1024 * 1024))
        site.wait(zmq.EVENT_DISCONNECTED)
        until(lambda: state_of(open_server, "site-1") in ("suspected", "gone"))


def test_frames_without_end_are_held_until_their_sender_goes(federation: Federation, open_server: Cell) -> None:
    # libzmq keeps them until the last one came: a known limit, of those who are let in. Nothing else suffers.
    with others_served(open_server, federation):
        with Stranger(open_server.url).bind("site-1") as site:
            for _ in range(2000):
                assert site.socket.poll(round(LONG * 1000), zmq.POLLOUT)
                site.socket.send(b"x" * 1000, zmq.SNDMORE)
        until(lambda: state_of(open_server, "site-1") in ("suspected", "gone"))
    assert counter(open_server, "malformed") == 0


# ---------------------------------------------------------------------------------------------------- not even ZeroMQ

ZMTP_1 = b"\x01\x00"
GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: server\r\n\r\n" * 10,
    "random": bytes(range(1, 256)) * 8,
    "zmtp 1.0": ZMTP_1 + b"\x20\x01" + b"z" * 31 + b"\x02\x00h",
    "zmtp 2.0": b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x05\x00\x00" + b"\x00\x05hello",
    "zmtp 3 with another mechanism": b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00"
    + b"PLAIN".ljust(20, b"\0")
    + bytes(32),
}


def raw(url: str) -> socket.socket:
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=LONG)


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("keys", [False, True], ids=["open", "curve"])
def test_garbage_is_hung_up_on(garbage: str, keys: bool) -> None:
    federation = Federation(keys=keys)
    try:
        if keys:
            federation.keys_of("server")
        server = federation.start("server")
        with others_served(server, federation), raw(server.url) as peer:
            peer.sendall(GARBAGE[garbage])
            while True:
                try:
                    if not peer.recv(4096):
                        break
                except ConnectionResetError:
                    break
        assert [link.fqcn for link in server.statistics().links] == ["site-2"]
        until(lambda: counter(server, "lost_connections") == 1)
    finally:
        federation.close()


def test_who_connects_and_says_nothing_is_hung_up_on(locked: Federation, server: Cell) -> None:
    with others_served(server, locked), ExitStack() as stack:
        silent = [stack.enter_context(raw(server.url)) for _ in range(50)]
        silent[0].sendall(b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03")
        for peer in silent:
            while peer.recv(4096):  # its greeting, and then the end
                pass
