from __future__ import annotations

from zmqfl.config import CellConfig
from zmqfl.protocol.acceptor import Acceptor
from zmqfl.protocol.commands import Command, Deliver, GiveBack, Post, Send
from zmqfl.protocol.fence import FenceTable
from zmqfl.protocol.link import Link
from zmqfl.protocol.neighbours import Neighbours
from zmqfl.protocol.transit import Transit
from zmqfl.wire.codec import decode_header, encode_header
from zmqfl.wire.messages import Cancel, Flag, Lane, Packet, Probe, Request, Return, ReturnReason

CONFIG = CellConfig(control_limit=10)
BORN = 100.0


def transit(*children: str) -> tuple[Transit, Neighbours]:
    acceptor = Acceptor("server", True, CONFIG, FenceTable(), lambda: 7)
    for child in children:
        link = Link(child, 1, 1, 42, CONFIG.heartbeat, CONFIG.dead_after, BORN)
        link.control, link.bulk = ("in", 0, child), ("in", 1, child)
        acceptor.children[child] = link
    around = Neighbours("server", None, acceptor)
    return Transit(around, CONFIG, lambda: ("server", 3, 4), BORN), around


def request(origin: str = "server", instance: int = 4, body: bytes = b"x") -> Request:
    return Request(origin, 3, instance, 9, 0, 2, 1, [], 1000, "c", "t", 1, [len(body)])


def from_site(*targets: str, kind_flags: Flag = Flag.NONE, **more: object) -> Packet:
    header = encode_header(request("site-1", 55))
    fields: dict[str, object] = {"targets": targets, "hops": 5, "route": ("site-1",), "flags": int(kind_flags), **more}
    return Packet(Request.KIND, header, (b"x",), **fields)  # type: ignore[arg-type]  # fields by name


def sent(commands: list[Command]) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for command in commands:
        assert isinstance(command, Send)
        packet = command.packet
        found.append((command.conn, packet.targets, packet.lane, packet.session, packet.sequence))
    return found


def test_post_crosses_each_link_once_and_numbers_the_messages() -> None:
    way, _ = transit("relay-a", "site-4")
    post = Post(request(), ("relay-a.site-1", "relay-a.site-2", "site-4"), (b"x",))
    assert sent(way.post(post, 100.0)) == [
        (("in", 0, "relay-a"), ("relay-a.site-1", "relay-a.site-2"), Lane.CONTROL, 42, 1),
        (("in", 0, "site-4"), ("site-4",), Lane.CONTROL, 42, 1),
    ]
    assert sent(way.post(Post(request(), ("site-4",)), 100.0)) == [(("in", 0, "site-4"), ("site-4",), 0, 42, 2)]


def test_big_bodies_go_by_bulk_and_by_control_while_there_is_no_bulk() -> None:
    way, around = transit("site-4")
    big = Post(request(body=bytes(11)), ("site-4",), (bytes(11),))
    assert sent(way.post(big, 100.0)) == [(("in", 1, "site-4"), ("site-4",), Lane.BULK, 42, 1)]
    around.acceptor.children["site-4"].bulk = None
    assert sent(way.post(big, 100.0)) == [(("in", 0, "site-4"), ("site-4",), Lane.CONTROL, 42, 1)]


def test_what_is_for_this_cell_is_delivered_here() -> None:
    way, _ = transit("site-4")
    here, there = way.post(Post(request(), ("server", "site-4")), 100.0)
    assert isinstance(here, Deliver)
    assert isinstance(there, Send)
    assert there.packet.targets == ("site-4",)


def test_own_request_without_a_way_is_given_back() -> None:
    way, _ = transit()
    text = "server has no route to site-9"
    back = Return("server", 3, 4, 9, 4, Request.KIND, 2, ReturnReason.UNREACHABLE, text, ["site-9"])
    assert way.post(Post(request(), ("site-9",)), 200.0) == [GiveBack(back)]


def test_own_request_over_a_broken_link_is_to_be_kept() -> None:
    way, around = transit("site-4")
    around.acceptor.children["site-4"].control = None
    (back,) = way.post(Post(request(), ("site-4",)), 100.0)
    assert isinstance(back, GiveBack)
    assert (back.message.reason, back.message.targets) == (ReturnReason.SUSPECTED, ["site-4"])


def test_others_messages_go_on_with_one_hop_less() -> None:
    way, _ = transit("site-4")
    (command,) = way.forward(from_site("site-4"), ("site-4",), 100.0)
    assert isinstance(command, Send)
    assert (command.packet.hops, command.packet.route) == (4, ("site-1", "server"))
    assert command.packet.header == from_site("site-4").header
    assert way.counters == {"forwarded": 1}


def returned(commands: list[Command]) -> Return:
    (command,) = commands
    assert isinstance(command, Send)
    back = decode_header(command.packet.kind, command.packet.header)
    assert isinstance(back, Return)
    return back


def test_others_requests_without_a_way_go_back_to_their_origin() -> None:
    way, _ = transit("site-1")
    back = returned(way.forward(from_site("site-9"), ("site-9",), 200.0))
    assert (back.origin, back.to_instance, back.id, back.attempt) == ("server", 55, 9, 2)
    assert (back.reason, back.targets) == (ReturnReason.UNREACHABLE, ["site-9"])


def test_a_young_cell_asks_the_patient_to_wait() -> None:
    way, _ = transit("site-1")
    patient = from_site("site-9", kind_flags=Flag.PATIENT)
    young, old = BORN + 1, BORN + CONFIG.dead_after
    assert returned(way.forward(patient, ("site-9",), young)).reason == ReturnReason.SUSPECTED
    assert returned(way.forward(patient, ("site-9",), old)).reason == ReturnReason.UNREACHABLE
    assert returned(way.forward(from_site("site-9"), ("site-9",), young)).reason == ReturnReason.UNREACHABLE


def test_circles_end() -> None:
    way, _ = transit("site-1", "site-4")
    for circling in (from_site("site-4", hops=1), from_site("site-4", route=("site-1", "server", "relay-a"))):
        back = returned(way.forward(circling, ("site-4",), 200.0))
        assert (back.reason, back.text) == (ReturnReason.UNREACHABLE, "the message goes in circles")
    assert way.counters["loops"] == 2


def test_probes_come_back_other_kinds_are_dropped() -> None:
    way, _ = transit()
    (back,) = way.post(Post(Probe("server", 3, 4, 0, [9]), ("site-9",)), 200.0)
    assert isinstance(back, GiveBack)
    assert (back.message.kind, back.message.attempt) == (Probe.KIND, 0)
    assert way.post(Post(Cancel("server", 3, 4, 9), ("site-9",)), 200.0) == []
    assert way.counters["undeliverable"] == 1
