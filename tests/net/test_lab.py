"""The lab itself: hosts that reach each other, every fault and its end, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from tests.net.lab import Lab
from tests.system.federation import LONG, until

pytestmark = pytest.mark.netns

MakeLab = Callable[[int], Lab]
SHORT = 0.3
"""Seconds after which a packet of this machine counts as lost."""


class Ends:
    """Sockets in the hosts of a lab, UDP to see each packet and TCP to see a stream."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self.lab = lab
        self._stack = stack
        self._udp = {host: self._bound(host, socket.SOCK_DGRAM) for host in lab.hosts}

    def reaches(self, one: int, other: int) -> bool:
        """Whether a packet goes from one host to another."""
        source, sink = self._udp[one], self._udp[other]
        sink.settimeout(SHORT)
        word = os.urandom(8)
        source.sendto(word, sink.getsockname())
        try:
            while sink.recv(8) != word:  # one that was late
                pass
        except TimeoutError:
            return False
        return True

    def send(self, one: int, other: int, packets: int) -> int:
        """Send many packets; returns how many came."""
        source, sink = self._udp[one], self._udp[other]
        sink.settimeout(SHORT)
        came = 0
        for _ in range(packets):
            source.sendto(b"x", sink.getsockname())
        try:
            while came < packets:
                sink.recv(8)
                came += 1
        except TimeoutError:
            pass
        return came

    def stream(self, one: int, other: int) -> tuple[socket.socket, socket.socket]:
        """A connection from one host to another."""
        listener = self._bound(other, socket.SOCK_STREAM)
        listener.listen()
        near = self._bound(one, socket.SOCK_STREAM)
        near.connect(listener.getsockname())
        far = self._stack.enter_context(closing(listener.accept()[0]))
        far.settimeout(LONG)
        return near, far

    def _bound(self, host: int, kind: socket.SocketKind) -> socket.socket:
        with self.lab.inside(host):
            end = self._stack.enter_context(closing(socket.socket(socket.AF_INET, kind)))
        end.settimeout(LONG)
        end.bind((self.lab.address(host), 0))
        return end


@pytest.fixture
def ends(lab: MakeLab) -> Iterator[Ends]:
    """Three hosts."""
    with ExitStack() as stack:
        yield Ends(lab(3), stack)


def pairs(lab: Lab) -> list[tuple[int, int]]:
    return [(one, other) for one in lab.hosts for other in lab.hosts if one != other]


def broken(ends: Ends) -> set[tuple[int, int]]:
    """The directed pairs of hosts between which nothing passes."""
    return {pair for pair in pairs(ends.lab) if not ends.reaches(*pair)}


def settle(ends: Ends, expected: set[tuple[int, int]]) -> None:
    """Wait until these pairs are broken and no others: after a change a packet or two may take another way."""
    until(lambda: broken(ends) == expected, f"never just {expected} were broken")


# --------------------------------------------------------------------------------------------------------------- hosts


def test_every_host_reaches_every_other(ends: Ends) -> None:
    assert [ends.lab.address(host).rpartition(".")[2] for host in ends.lab.hosts] == ["11", "12", "13"]
    settle(ends, set())


def test_two_labs_do_not_know_each_other(lab: MakeLab) -> None:
    one, other = lab(1), lab(1)
    assert one.prefix != other.prefix
    with one.inside(1):
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(end), pytest.raises(OSError, match="unreachable"):
        end.sendto(b"x", (other.address(1), 9))


def test_a_host_reaches_nothing_outside(lab: MakeLab) -> None:
    with lab(1).inside(1):
        end = socket.socket()
    with closing(end), socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(ConnectionRefusedError):
        end.connect(listener.getsockname())


def test_the_thread_comes_back_from_a_host(lab: MakeLab) -> None:
    here = os.readlink("/proc/thread-self/ns/net")
    with suppress(KeyError), lab(1).inside(1):
        assert os.readlink("/proc/thread-self/ns/net") != here
        raise KeyError
    assert os.readlink("/proc/thread-self/ns/net") == here


def test_signals_reach_the_program_itself(lab: MakeLab) -> None:
    made = lab(2)
    popen = made.run(2, [sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert made.pids(2) == [popen.pid]
    assert made.pids(1) == []
    popen.send_signal(signal.SIGTERM)
    assert popen.wait(LONG) == -signal.SIGTERM
    assert made.pids() == []


@pytest.mark.parametrize("hosts", [0, 201])
def test_a_lab_has_a_number_of_hosts_that_fits(hosts: int) -> None:
    with pytest.raises(ValueError, match="1 to 200 hosts"):
        Lab(hosts)


def test_a_host_that_is_not_there(lab: MakeLab) -> None:
    made = lab(2)
    for act in (made.name, made.address, made.cut, made.heal, lambda host: made.rate(host, 1000)):
        with pytest.raises(ValueError, match="no host 3 in a lab of 2"):
            act(3)


# -------------------------------------------------------------------------------------------------------------- faults


def test_a_cut_host_reaches_nobody_until_it_is_healed(ends: Ends) -> None:
    ends.lab.cut(2)
    settle(ends, {(1, 2), (2, 1), (2, 3), (3, 2)})
    ends.lab.heal(2)
    settle(ends, set())


@pytest.mark.usefixtures("nft")
def test_a_partition_is_between_two_hosts(ends: Ends) -> None:
    ends.lab.partition(1, 2)
    settle(ends, {(1, 2), (2, 1)})
    assert ends.lab.drops()["cut"] >= 2
    ends.lab.join(2, 1)
    settle(ends, set())


@pytest.mark.usefixtures("nft")
def test_a_one_way_cut_lets_the_other_way_pass(ends: Ends) -> None:
    ends.lab.one_way(1, 2)
    ends.lab.one_way(3, 1)
    settle(ends, {(1, 2), (3, 1)})
    ends.lab.join(1, 2)
    settle(ends, {(3, 1)})


@pytest.mark.usefixtures("nft")
def test_a_loss_is_that_of_one_host_and_is_counted(ends: Ends) -> None:
    settle(ends, set())  # and everybody knows where everybody is
    ends.lab.loss(2, 30)
    sent, came = 400, ends.send(1, 2, 200) + ends.send(2, 3, 200)
    assert ends.lab.drops()["loss2"] == sent - came
    assert 0.1 * sent < sent - came < 0.5 * sent  # 18 and 24 standard deviations away from 30 %
    assert ends.send(1, 3, 50) == 50
    ends.lab.loss(2, 0)
    assert ends.send(1, 2, 50) == 50
    assert ends.lab.drops()["loss2"] == sent - came  # the counters go on


@pytest.mark.usefixtures("nft")
@pytest.mark.parametrize("percent", [-1, 101])
def test_a_loss_is_a_percentage(lab: MakeLab, percent: float) -> None:
    with pytest.raises(ValueError, match="0 to 100 percent"):
        lab(1).loss(1, percent)


@pytest.mark.usefixtures("tc")
@pytest.mark.parametrize("way", [(1, 2), (2, 1)])
def test_a_rate_is_about_right_both_ways(ends: Ends, way: tuple[int, int]) -> None:
    size, rate = 200_000, 1_600_000
    near, far = ends.stream(*way)
    ends.lab.rate(2, rate)
    assert size * 8 / rate * 0.9 < transfer(near, far, size) < size * 8 / rate * 4  # a busy machine is slower
    ends.lab.rate(2, 0)
    transfer(near, far, 20 * size)  # ten times the size that would fit into the time of a test


def transfer(near: socket.socket, far: socket.socket, size: int) -> float:
    """Seconds that so many bytes take."""
    begin = time.monotonic()
    near.setblocking(False)
    data, left = bytes(65536), size
    while size:
        if left:
            with suppress(BlockingIOError):
                left -= near.send(data[:left])
        far.settimeout(0.05 if left else LONG)
        with suppress(TimeoutError):
            size -= len(far.recv(65536))
    return time.monotonic() - begin


@pytest.mark.usefixtures("nft", "tc")
def test_clear_takes_all_faults_back(ends: Ends) -> None:
    made = ends.lab
    made.cut(3)
    made.partition(1, 2)
    made.loss(1, 100)
    made.rate(2, 1000)
    settle(ends, set(pairs(made)))
    made.clear()
    made.clear()
    settle(ends, set())
    assert repr(made).endswith("3 hosts, no faults>")


# -------------------------------------------------------------------------------------------------- nothing left behind


def test_close_ends_what_runs_whoever_started_it(lab: MakeLab) -> None:
    made = lab(1)
    popen = made.run(1, ["sh", "-c", "trap '' TERM; sleep 60 & echo; wait"], stdout=subprocess.PIPE)
    assert popen.stdout is not None
    popen.stdout.readline()
    assert len(made.pids()) == 2
    made.close()
    assert popen.returncode == -signal.SIGKILL
    assert made.pids() == []
    assert made.namespaces() == []
    made.close()


def test_a_lab_that_cannot_be_built_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "address", lambda self, host: "nowhere")
    before = set(os.listdir("/run/netns"))
    with pytest.raises(RuntimeError, match="nowhere"):
        Lab(2)
    assert set(os.listdir("/run/netns")) == before


def test_a_fault_without_its_tool_says_so(lab: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lab(2)
    (tmp_path / "ip").symlink_to(str(shutil.which("ip")))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(RuntimeError, match='"nft"'):
            made.loss(1, 5)
