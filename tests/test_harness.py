"""The simulated network does what it says, or the tests on it would prove nothing."""

from __future__ import annotations

import pytest

from tests.harness import Net, Weather
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Call, Finish, Invoke, PeerState
from zmqfl.protocol.plane.updates import CHANNEL as PLANE
from zmqfl.wire.codec import decode_header
from zmqfl.wire.messages import Conn, Kind, Lane, Packet, Request

OK = CellReturnCode.OK


def recorded(net: Net, name: str) -> list[tuple[Conn, Packet]]:
    """What the cell receives from now on."""
    node, heard = net.hosts[name].node, list[tuple[Conn, Packet]]()
    receive = node.receive

    def record(conn: Conn, packet: Packet, now: float, user: str | None = None) -> object:
        heard.append((conn, packet))
        return receive(conn, packet, now, user)

    node.receive = record  # type: ignore[method-assign, assignment]
    return heard


def requests(heard: list[tuple[Conn, Packet]]) -> list[int]:
    """The numbers of the packets with requests of a user; those of the plane are before or between them."""
    return [packet.sequence for _, packet in heard if is_request(packet)]


def is_request(packet: Packet) -> bool:
    if packet.kind != Kind.REQUEST:
        return False
    message = decode_header(packet.kind, packet.header)
    return isinstance(message, Request) and message.channel != PLANE


def test_the_same_seed_is_the_same_story() -> None:
    stories = []
    for seed in (1, 1, 2):
        net = Net(seed, weather=Weather(loss=0.1, reorder=0.1, duplicate=0.1)).form("relay-a", "relay-a.site-1")
        net.restart("relay-a")
        net.request("server", "relay-a.site-1")
        net.run(30)
        stories.append((net.now, net.delivered, dict(net.traffic), repr(net.outcomes)))
    assert stories[0] == stories[1] != stories[2]


def test_a_connection_keeps_the_order_of_messages() -> None:
    net = Net().form("site-1")
    heard = recorded(net, "site-1")
    for _ in range(100):
        net.request("server", "site-1")
    net.run(0.1)
    first = requests(heard)[0]
    assert requests(heard) == [*range(first, first + 100)]


@pytest.mark.parametrize(
    ("weather", "changed"),
    [(Weather(loss=0.5), "fewer"), (Weather(duplicate=0.5), "more"), (Weather(reorder=0.5), "another order")],
)
def test_weather(weather: Weather, changed: str) -> None:
    net = Net().form("site-1")
    heard = recorded(net, "site-1")
    net.weather = weather
    for _ in range(100):
        net.request("server", "site-1")
    net.run(0.4)
    numbers = requests(heard)
    assert {
        "fewer": len(numbers) < 80,
        "more": len(numbers) > 120,
        "another order": numbers != sorted(numbers) and len(set(numbers)) == 100,
    }[changed]


def test_a_broken_connection_has_a_new_name_afterwards() -> None:
    net = Net().form("site-1")
    before = {cable.conn for cable in net.cables}
    net.cut("site-1")
    assert {cable.conn for cable in net.cables} == {None}
    net.heal("site-1")
    net.run(1)
    after = {cable.conn for cable in net.cables}
    assert len(after) == 2
    assert not before & after


@pytest.mark.parametrize(("leftover", "arrive"), [(0.0, 0), (1.0, 1)])
@pytest.mark.parametrize("receiver", ["server", "site-1"])
def test_what_was_under_way_on_a_broken_connection_may_still_arrive(
    leftover: float, arrive: int, receiver: str
) -> None:
    net = Net(weather=Weather(leftover=leftover)).form("site-1")
    heard = recorded(net, receiver)
    net.request("server" if receiver == "site-1" else "site-1", receiver)
    net.cut("site-1")
    net.run(2)
    assert len(requests(heard)) == arrive


def test_what_is_sent_before_the_break_is_known_goes_out_on_the_next_connection() -> None:
    for seed in range(20):
        net = Net(seed, weather=Weather(leftover=0.0)).form("site-1")
        heard = recorded(net, "server")
        old = {cable.conn for cable in net.cables}
        for cable in net.cables:
            net.break_off(cable)
        net.request("site-1", "server")
        net.run(0.1)
        if requests(heard):
            assert heard[0][0] not in old
            kinds = [packet.kind for _, packet in heard if is_request(packet) or packet.kind == Kind.HELLO]
            assert kinds[:2] == [Kind.REQUEST, Kind.HELLO]
            break
    else:
        raise AssertionError("never in 20 seeds")


def test_a_parent_may_hear_of_a_break_long_after_the_child_is_back() -> None:
    late = 0
    for seed in range(20):
        net = Net(seed).form("site-1")
        control = next(cable for cable in net.cables if cable.lane is Lane.CONTROL)
        net.break_off(control)
        net.run(0.5)
        states = [change.state for change in net.hosts["server"].changes]
        late += PeerState.SUSPECTED not in states
        assert net.is_formed()
    assert 0 < late < 20


def test_what_is_frozen_arrives_when_it_thaws() -> None:
    net = Net().form("site-1")
    heard = recorded(net, "site-1")
    net.freeze("site-1")
    ids = [net.request("server", "site-1") for _ in range(5)]
    net.run(2)
    assert heard == []
    assert net.is_formed()
    net.thaw("site-1")
    net.run(0.1)
    first = requests(heard)[0]
    assert requests(heard) == [*range(first, first + 5)]
    assert {net.code("server", id, "site-1") for id in ids} == {OK}


def test_a_crash_forgets_everything_and_a_restart_is_another_instance() -> None:
    net = Net().form("site-1")
    before = net.hosts["site-1"]
    net.hosts["site-1"].handler_time = lambda: 1.0
    net.request("server", "site-1")
    net.run(0.1)
    net.crash("site-1")
    assert (before.alive, len(net.processes), net.cables) == (False, 1, [])
    after = net.restart("site-1")
    assert after.node.instance != before.node.instance
    net.run(5)
    assert net.is_formed()
    assert after.node.responder.counters == {}


def test_twins_have_connections_of_their_own() -> None:
    net = Net().form("site-1")
    twin = net.twin("site-1")
    assert net.hosts["site-1"] is twin
    assert len(net.processes) == 3
    assert len(net.cables) == 4


def test_the_process_that_started_first_listens_at_the_address() -> None:
    net = Net().form("relay-a", "relay-a.site-1")
    first = net.hosts["relay-a"]
    second = net.twin("relay-a")
    net.run(0.01)
    assert {cable.listener for cable in net.cables if cable.parent == "relay-a"} == {first}
    net.run_until(lambda: first.exited is not None and net.is_formed(), 10)  # it was replaced
    assert {cable.listener for cable in net.cables if cable.parent == "relay-a"} == {second}


def test_a_process_that_stops_leaves_soon() -> None:
    net = Net().form("site-1")
    net.stop("site-1")
    net.run(0.4)
    assert net.hosts["server"].changes[-1].reason == "site-1 has stopped"
    net.run(0.2)
    assert not net.hosts["site-1"].alive


def test_it_sees_a_second_execution_and_a_second_end() -> None:
    net = Net().form("site-1")
    id = net.request("server", "site-1")
    net.run(0.1)
    site, server = net.hosts["site-1"], net.hosts["server"]
    call = Call("server", server.node.instance, id, "c", "t", 0, {}, (), 1.0, True)
    with pytest.raises(AssertionError, match="was executed twice"):
        net.obey(site, [Invoke(call)])
    finish = Finish(id, "site-1", net.outcomes["server", server.node.instance, id, "site-1"])
    with pytest.raises(AssertionError, match="has ended twice"):
        net.obey(server, [finish])
    with pytest.raises(AssertionError, match="was never asked"):
        net.obey(site, [finish])


def test_it_sees_an_old_start() -> None:
    net = Net().form("site-1", "site-2")
    older = net.hosts["site-1"]
    newer = net.twin("site-1")
    net.run(0.2)
    net.request(newer, "site-2")
    net.run(0.1)
    assert net.hosts["site-2"].heard["site-1"] == newer.node.fence > older.node.fence
    older.alive = True
    net.processes.append(older)
    call = Call("site-1", older.node.instance, 99, "c", "t", 0, {}, (), 1.0, True)
    with pytest.raises(AssertionError, match="site-2 hears an old start of site-1"):
        net.obey(net.hosts["site-2"], [Invoke(call)])


def test_it_sees_what_never_ends() -> None:
    net = Net().form("site-1")
    net.freeze("site-1")
    id = net.request("server", "site-1")
    with pytest.raises(AssertionError, match="still waits"):
        net.check_ended()
    net.hosts["server"].node.cancel(id, net.now)  # behind the back of the harness
    with pytest.raises(AssertionError, match="never ended"):
        net.check_ended()


def test_run_until_says_when_nothing_comes_of_it() -> None:
    with pytest.raises(AssertionError, match="not within 3 s of simulated time"):
        Net().form("site-1").run_until(lambda: False, 3)


def test_time_moves_even_when_nothing_happens() -> None:
    net = Net()
    net.run(1000)
    assert net.now == 1100.0
