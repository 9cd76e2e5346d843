"""The table of `zmqfl.protocol.transit`, a test per row. The cell is relay-a, its children relay-a.site-1 and -2."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zmqfl.config import CellConfig
from zmqfl.protocol.acceptor import Acceptor
from zmqfl.protocol.commands import Command, Deliver, GiveBack, PeerState, Post, Send
from zmqfl.protocol.fence import FenceTable
from zmqfl.protocol.link import Link
from zmqfl.protocol.neighbours import Neighbours
from zmqfl.protocol.transit import Transit
from zmqfl.protocol.uplink import Uplink, UplinkState, up
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import (
    MAX_TARGETS,
    Cancel,
    Conn,
    Flag,
    Lane,
    Packet,
    Probe,
    Reply,
    Request,
    Return,
    ReturnReason,
    RoutedMessage,
    Segment,
)

CONFIG = CellConfig(control_limit=100, max_hops=16, dead_after=10.0)
BORN, GROWN = 100.0, 200.0
PARENT = up(Lane.CONTROL)
ONE: Conn = ("in", 1)
TWO: Conn = ("in", 2)
TWO_BULK: Conn = ("in", 3)
SESSIONS = {PARENT: 10, ONE: 11, TWO: 12}
ME = ("relay-a", 70, 7)
SITE, SITE_2 = "relay-a.site-1", "relay-a.site-2"


def link(fqcn: str, conn: Conn) -> Link:
    peer = Link(fqcn, 1, 1, SESSIONS[conn], 1.0, 5.0, GROWN)
    peer.bind(1, 1, SESSIONS[conn], conn, GROWN)
    return peer


def transit(*, bound: bool = True) -> Transit:
    uplink = Uplink("relay-a", 7, CONFIG)
    acceptor = Acceptor("relay-a", False, CONFIG, FenceTable(), lambda: 1)
    if bound:
        uplink.state, uplink.root, uplink.token, uplink.link = UplinkState.BOUND, "server", 70, link("server", PARENT)
        acceptor.children = {SITE: link(SITE, ONE), SITE_2: link(SITE_2, TWO)}
        acceptor.children[SITE_2].bulk = TWO_BULK
    return Transit(Neighbours("relay-a", uplink, acceptor), CONFIG, lambda: ME, BORN)


def request(origin: str = SITE, id: int = 5, attempt: int = 2) -> Request:
    return Request(origin, 1000, 99, id, 0, attempt, 1, [], 1000, "c", "t", 0, [])


def passing(
    message: RoutedMessage, *targets: str, hops: int = 16, flags: int = 0, route: tuple[str, ...] = (SITE,)
) -> Packet:
    """A packet of another cell, as it came in."""
    return Packet(message.KIND, encode_header(message), (), targets, flags, Lane.CONTROL, hops, 11, 500, route, 77)


def send(
    conn: Conn, message: RoutedMessage, *targets: str, number: int = 1, hops: int = 15, route: tuple[str, ...] = ()
) -> Send:
    """What `passing` becomes on its next link."""
    return Send(
        conn,
        Packet(
            message.KIND, encode_header(message), (), targets, 0, Lane.CONTROL, hops, SESSIONS[conn], 500,
            route or (SITE, "relay-a"), number,
        ),
    )  # fmt: skip


def returned(
    message: Request | Probe | Segment,
    reason: ReturnReason,
    text: str,
    *names: str,
    conn: Conn = ONE,
    number: int = 1,
    attempt: int = 0,
) -> Send:
    """The RETURN to the origin of a message."""
    attempt = message.attempt if isinstance(message, Request) else attempt
    back = Return(*ME, message.id, message.instance, message.KIND, attempt, reason, text, list(names))
    targets, session = (message.origin,), SESSIONS[conn]
    packet = Packet(Return.KIND, encode_header(back), (), targets, 0, Lane.CONTROL, 16, session, route=("relay-a",))
    return Send(conn, replace(packet, sequence=number))


def forward(transit: Transit, packet: Packet, now: float = GROWN) -> list[Command]:
    return transit.forward(packet, packet.targets, now)


def test_this_cell__deliver() -> None:
    [deliver] = transit().post(Post(request("relay-a"), ("relay-a",), (b"x",)), GROWN)
    assert isinstance(deliver, Deliver)
    assert (deliver.packet.targets, deliver.packet.bodies, deliver.packet.route) == (
        ("relay-a",),
        (b"x",),
        ("relay-a",),
    )


def test_this_cell_and_others__deliver_and_send() -> None:
    commands = transit().post(Post(request("relay-a"), (SITE, "relay-a", SITE_2)), GROWN)
    assert [type(command) for command in commands] == [Deliver, Send, Send]
    assert [command.packet.targets for command in commands[1:]] == [(SITE,), (SITE_2,)]  # type: ignore[union-attr]


def test_a_neighbour__up__send_with_the_links_session_and_next_number() -> None:
    cell = transit()
    assert forward(cell, passing(request(), SITE_2)) == [send(TWO, request(), SITE_2)]
    assert forward(cell, passing(request(), SITE_2)) == [send(TWO, request(), SITE_2, number=2)]
    assert forward(cell, passing(request(), "site-4")) == [send(PARENT, request(), "site-4")]
    assert cell.counters == {"forwarded": 3}


def test_several_targets__each_link_once() -> None:
    targets = ("site-4", SITE_2, "relay-b.x", f"{SITE_2}.job")
    assert forward(transit(), passing(request(), *targets)) == [
        send(PARENT, request(), "site-4", "relay-b.x"),
        send(TWO, request(), SITE_2, f"{SITE_2}.job"),
    ]


def test_a_neighbour__stalled__send() -> None:
    cell = transit()
    cell._neighbours.acceptor.children[SITE_2].state = PeerState.STALLED
    assert forward(cell, passing(request(), SITE_2)) == [send(TWO, request(), SITE_2)]


@pytest.mark.parametrize("message", [request(), Probe(SITE, 1000, 99, 0, [5])])
def test_a_neighbour__suspected__back_to_the_origin(message: Request | Probe) -> None:
    cell = transit()
    cell._neighbours.acceptor.children[SITE_2].break_off(GROWN)
    text = f"the link to {SITE_2} is broken"
    assert forward(cell, passing(message, SITE_2)) == [returned(message, ReturnReason.SUSPECTED, text, SITE_2)]


def segment(origin: str = SITE, offset: int = 4096) -> Segment:
    return Segment(origin, 1000, 99, 3, offset, 9000, Request.KIND, 0, b"", [10])


def test_a_segment_comes_back_with_its_offset() -> None:
    text = "relay-a has no route to relay-a.site-9"
    assert forward(transit(), passing(segment(), "relay-a.site-9")) == [
        returned(segment(), ReturnReason.UNREACHABLE, text, "relay-a.site-9", attempt=4096)
    ]


def test_a_segment_takes_the_bulk_lane_however_short() -> None:
    [command] = transit().post(Post(segment("relay-a"), (SITE_2,), (bytes(10),)), GROWN)
    assert isinstance(command, Send)
    assert (command.conn, command.packet.lane) == (TWO_BULK, Lane.BULK)


def test_none__back_to_the_origin_unreachable() -> None:
    name = "relay-a.site-9"
    text = f"relay-a has no route to {name}"
    assert forward(transit(), passing(request(), name)) == [returned(request(), ReturnReason.UNREACHABLE, text, name)]


def test_none__several_targets__one_return_names_them() -> None:
    names = ("relay-a.site-8", "relay-a.site-9")
    text = "relay-a has no route to it"
    assert forward(transit(), passing(request(), *names)) == [
        returned(request(), ReturnReason.UNREACHABLE, text, *names)
    ]


def test_none__for_a_while_after_a_start__patient_ones_try_again() -> None:
    name = "relay-a.site-9"
    text = f"relay-a has no route to {name}"
    again, over = ReturnReason.SUSPECTED, ReturnReason.UNREACHABLE
    patient, plain = passing(request(), name, flags=Flag.PATIENT), passing(request(), name)
    for packet, now, reason in (
        (patient, BORN + 9.9, again), (plain, BORN + 9.9, over), (patient, BORN + 10, over), (plain, BORN + 10, over),
    ):  # fmt: skip
        assert forward(transit(), packet, now) == [returned(request(), reason, text, name)]


@pytest.mark.parametrize(("name", "reason"), [("relay-a.site-9", ReturnReason.SUSPECTED), ("relay-a.site-1", 1)])
def test_none__for_a_while_after_a_restart__all_try_again_but_for_who_has_left(name: str, reason: int) -> None:
    cell = transit()
    acceptor = cell._neighbours.acceptor
    acceptor.succeeds = True
    acceptor._starts[SITE] = {1: 1}
    acceptor.end(SITE, "it has stopped", BORN)
    text = f"relay-a has no route to {name}"
    [command] = forward(cell, passing(request(SITE_2), name), BORN + 9.9)
    assert command == returned(request(SITE_2), ReturnReason(reason), text, name, conn=TWO)
    [command] = forward(cell, passing(request(SITE_2), "relay-a.site-1", flags=Flag.PATIENT), BORN + 9.9)
    assert isinstance(command, Send)


def test_none__while_it_dials_for_the_first_time__its_own_wait() -> None:
    cell = transit(bound=False)
    [command] = cell.post(Post(request("relay-a"), ("site-4",)), BORN + 1)
    assert isinstance(command, GiveBack)
    assert command.message.reason == ReturnReason.SUSPECTED
    [command] = cell.post(Post(request("relay-a"), ("site-4",)), BORN + 10)
    assert isinstance(command, GiveBack)
    assert command.message.reason == ReturnReason.UNREACHABLE


def test_none__the_origin_is_this_cell__give_back() -> None:
    name = "relay-a.site-9"
    back = Return(
        *ME, 5, 99, Request.KIND, 2, ReturnReason.UNREACHABLE, f"relay-a has no route to {name}", [name]
    )  # fmt: skip
    assert transit().post(Post(request("relay-a"), (name,)), GROWN) == [GiveBack(back)]


CIRCLES = "the message goes in circles"


@pytest.mark.parametrize(
    ("hops", "route"), [(1, (SITE,)), (0, (SITE,)), (9, ("server", "relay-a", "site-4")), (9, ("relay-a",))]
)
def test_any__in_circles__back_to_the_origin(hops: int, route: tuple[str, ...]) -> None:
    cell = transit()
    packet = passing(request(), SITE_2, "site-4", hops=hops, route=route)
    assert forward(cell, packet) == [returned(request(), ReturnReason.UNREACHABLE, CIRCLES, SITE_2, "site-4")]
    assert cell.counters == {"loops": 1, "returned": 1}


def test_a_hop_less_each_time() -> None:
    assert forward(transit(), passing(request(), SITE_2, hops=2)) == [send(TWO, request(), SITE_2, hops=1)]


@pytest.mark.parametrize(
    "message",
    [Reply("x", 1, 2, 3, 4, "ok", "", 0, []), Cancel("x", 1, 2, 3), Return("x", 1, 2, 3, 4, 16, 1, 1, "", ["y"])],
    ids=lambda message: type(message).__name__,
)
def test_others_are_dropped_and_counted(message: RoutedMessage) -> None:
    cell = transit()
    assert forward(cell, passing(message, "relay-a.site-9")) == []
    assert cell.counters == {"forwarded": 1, "undeliverable": 1}


def test_a_kind_that_is_not_known_is_passed_on_all_the_same() -> None:
    packet = Packet(99, b"whatever", (), (SITE_2,), 0, Lane.CONTROL, 16, 11, 500, (SITE,), 77)
    [command] = forward(transit(), packet)
    assert isinstance(command, Send)
    assert (command.conn, command.packet.kind, command.packet.header) == (TWO, 99, b"whatever")


def test_a_malformed_request_does_not_come_back() -> None:
    cell = transit()
    packet = Packet(
        Request.KIND, b"\x94\xa1x\1\2\3", (), ("relay-a.site-9",), 0, Lane.CONTROL, 16, 11, 500, (SITE,), 77
    )
    assert forward(cell, packet) == []
    assert cell.counters == {"forwarded": 1, "malformed": 1}


def test_big_ones_take_the_bulk_lane_where_there_is_one() -> None:
    cell = transit()
    commands = cell.post(Post(request("relay-a"), (SITE, SITE_2), (bytes(60), bytes(41))), GROWN)
    ways = [(c.conn, c.packet.lane, c.packet.sequence) for c in commands if isinstance(c, Send)]
    assert ways == [(ONE, Lane.CONTROL, 1), (TWO_BULK, Lane.BULK, 1)]
    commands = cell.post(Post(request("relay-a"), (SITE_2,), (bytes(100),)), GROWN)
    ways = [(c.conn, c.packet.lane, c.packet.sequence) for c in commands if isinstance(c, Send)]
    assert ways == [(TWO, Lane.CONTROL, 1)]


def test_more_targets_than_fit_a_message_go_in_several() -> None:
    names = tuple(f"site-{i}" for i in range(MAX_TARGETS + 1))
    commands = transit().post(Post(request("relay-a"), names), GROWN)
    assert [c.packet.targets for c in commands if isinstance(c, Send)] == [names[:MAX_TARGETS], names[MAX_TARGETS:]]
