"""Network namespaces as hosts, on a bridge that lives in a namespace of its own: a real network in one machine.

    with Lab(2) as lab:
        listener = lab.run(1, [sys.executable, "-m", "http.server"])
        lab.cut(2)

Nothing here is visible from the machine's own network, nor reaches it. Host 1 has the address 10.77.x.11, host 2 the
next one, and so on. The faults, which add up and are taken back one by one, or all by `clear`:

    cut, heal              the cable of a host
    partition, join        packets between two hosts are dropped, at once and in silence
    one_way, join          only those of one direction
    loss                   each packet from and to a host is lost with a chance
    rate                   bits per second from and to a host

Needs root and `ip`; `nft` for partitions and loss, `tc` for rates. Hosts share everything but the network: files and
process ids too.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000
MAX_HOSTS = 200
PATIENCE = 10.0
"""Seconds that a killed process may take to end."""
FINE = 10_000
"""Parts of a whole, in which the kernel counts a chance."""
MTU = 1514
"""Bytes of the longest frame."""
QUEUE = 0.1
"""Seconds that a packet may wait for a slow link before it is dropped: a short queue, so that no beat waits long."""

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


class Lab:
    """See the module. Hosts are numbered from 1."""

    def __init__(self, hosts: int) -> None:
        if not 0 < hosts <= MAX_HOSTS:
            raise ValueError(f"a lab has 1 to {MAX_HOSTS} hosts, not {hosts}")
        number = next(_numbers)
        self.hosts = range(1, hosts + 1)
        self.prefix = f"zmqfl-{os.getpid()}-{number}"
        """How the names of its namespaces begin: the process in them keeps parallel runs apart."""
        self.switch = f"{self.prefix}-sw"
        self._net = f"10.77.{number % 256}"
        self._popens: list[subprocess.Popen[Any]] = []
        self._cut: set[int] = set()
        self._dropped: set[tuple[int, int]] = set()
        self._loss: dict[int, float] = {}
        self._rate: dict[int, int] = {}
        with ExitStack() as undo:
            undo.callback(self.close)
            self._build()
            undo.pop_all()

    # -- hosts -------------------------------------------------------------------------------------------------------

    def address(self, host: int) -> str:
        """The IP address of a host."""
        return f"{self._net}.{10 + self._known(host)}"

    def url(self, host: int, port: int | str = "*") -> str:
        """A TCP address of a host, to bind or to dial."""
        return f"tcp://{self.address(host)}:{port}"

    def name(self, host: int) -> str:
        """The namespace of a host."""
        return f"{self.prefix}-h{self._known(host)}"

    @contextmanager
    def inside(self, host: int) -> Iterator[None]:
        """Have this thread be in a host: sockets that it opens, processes and threads that it starts stay there."""
        with ExitStack() as stack:
            here, there = (
                stack.enter_context(open(path, "rb"))
                for path in ("/proc/thread-self/ns/net", NAMESPACES / self.name(host))
            )
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    def run(self, host: int, argv: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in a host, to which signals go directly; `close` ends it. `options` are those of Popen."""
        with self.inside(host):
            popen = subprocess.Popen(argv, **options)
        self._popens.append(popen)
        return popen

    def pids(self, *hosts: int) -> list[int]:
        """The processes in these hosts, whoever started them; in all of them by default."""
        spaces = self._identities(hosts or self.hosts)
        found = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
        return [pid for pid in found if _space_of(pid) in spaces and pid != os.getpid()]

    # -- faults ------------------------------------------------------------------------------------------------------

    def cut(self, host: int) -> None:
        """Pull the cable of a host: its port of the bridge is off."""
        _ip("-n", self.switch, "link", "set", self._port(host), "down")
        self._cut.add(host)

    def heal(self, host: int) -> None:
        """Put the cable of a host back."""
        _ip("-n", self.switch, "link", "set", self._port(host), "up")
        self._cut.discard(host)

    def one_way(self, source: int, sink: int) -> None:
        """Drop what goes from one host to another; what comes back passes."""
        self._dropped.add((source, sink))
        self._filter()

    def partition(self, one: int, other: int) -> None:
        """Drop what goes between two hosts, both ways."""
        self._dropped |= {(one, other), (other, one)}
        self._filter()

    def join(self, one: int, other: int) -> None:
        """Take back `partition` and `one_way` of two hosts."""
        self._dropped -= {(one, other), (other, one)}
        self._filter()

    def loss(self, host: int, percent: float) -> None:
        """Lose packets from and to a host by chance; 0: none."""
        if not 0 <= percent <= 100:
            raise ValueError(f"a loss is 0 to 100 percent, not {percent}")
        self._loss.pop(host, None)
        if percent:
            self._loss[host] = percent / 100
        self._filter()

    def rate(self, host: int, bits_per_second: int) -> None:
        """Let so much pass from a host, and as much to it, headers included; 0: all."""
        for space, device in ((self.switch, self._port(host)), (self.name(host), "eth0")):
            if bits_per_second:
                burst = max(2 * MTU, bits_per_second // 8 // 100)  # ten milliseconds, for the kernel's coarse timers
                shape = ["tbf", "rate", f"{bits_per_second}bit", "burst", str(burst), "latency", f"{QUEUE}s"]
                _run(["tc", "-n", space, "qdisc", "replace", "dev", device, "root", *shape])
            elif host in self._rate:
                _run(["tc", "-n", space, "qdisc", "del", "dev", device, "root"])
        self._rate.pop(host, None)
        if bits_per_second:
            self._rate[host] = bits_per_second

    def clear(self) -> None:
        """Take all faults back."""
        for host in tuple(self._cut):
            self.heal(host)
        for host in tuple(self._rate):
            self.rate(host, 0)
        if self._dropped or self._loss:
            self._dropped.clear()
            self._loss.clear()
            self._filter()

    def drops(self) -> dict[str, int]:
        """Packets dropped so far: "cut" by partitions and one-way cuts, "loss1" by the loss of host 1, and so on."""
        listed = json.loads(_run(["nft", "-j", "list", "counters"], self.switch))["nftables"]
        return {row["counter"]["name"]: row["counter"]["packets"] for row in listed if "counter" in row}

    # -- life --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End every process in the hosts, and remove the hosts and the bridge. Again does nothing."""
        self._kill()
        for popen in self._popens:
            popen.wait(PATIENCE)
            for stream in (popen.stdin, popen.stdout, popen.stderr):
                if stream is not None:
                    with suppress(BrokenPipeError):  # what was never read by the one that was killed
                        stream.close()
        self._popens.clear()
        for name in self.namespaces():
            _ip("netns", "del", name)

    def namespaces(self) -> list[str]:
        """Those of its namespaces that exist."""
        mine = {self.switch, *map(self.name, self.hosts)}
        return sorted(mine & set(os.listdir(NAMESPACES))) if NAMESPACES.exists() else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        kinds = {"cut": self._cut, "dropped": self._dropped, "loss": self._loss, "rate": self._rate}
        faults = [f"{name} {value}" for name, value in kinds.items() if value]
        return f"<Lab {self.prefix} {len(self.hosts)} hosts, {', '.join(faults) or 'no faults'}>"

    # -- within ------------------------------------------------------------------------------------------------------

    def _known(self, host: int) -> int:
        if host not in self.hosts:
            raise ValueError(f"no host {host} in a lab of {len(self.hosts)}")
        return host

    def _port(self, host: int) -> str:
        """Its end of the cable at the bridge."""
        return f"p{self._known(host)}"

    def _identities(self, hosts: Iterable[int]) -> set[tuple[int, int]]:
        paths = (NAMESPACES / self.name(host) for host in hosts)
        return {_identity(path) for path in paths if path.exists()}

    def _kill(self) -> None:
        """Kill what runs in the hosts, and what that has started meanwhile; wait until it has ended."""
        deadline = time.monotonic() + PATIENCE
        while pids := self.pids():
            if time.monotonic() > deadline:
                raise TimeoutError(f"killed processes have not ended within {PATIENCE} s: {pids}")
            with ExitStack() as stack:
                for descriptor in [self._kill_one(pid, stack) for pid in pids]:
                    if descriptor is not None:
                        select.select([descriptor], [], [], PATIENCE)

    def _kill_one(self, pid: int, stack: ExitStack) -> int | None:
        """A descriptor that tells when the process has ended; None when it has, and its number is perhaps another's."""
        try:
            descriptor = os.pidfd_open(pid)
            stack.callback(os.close, descriptor)
            if _space_of(pid) not in self._identities(self.hosts):
                return None
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return None
        return descriptor

    def _build(self) -> None:
        _batch([f"netns add {name}" for name in (self.switch, *map(self.name, self.hosts))])
        plugs = [
            line
            for host in self.hosts
            for line in (
                f"link add {self._port(host)} type veth peer name eth0 netns {self.name(host)}",
                f"link set {self._port(host)} master br0 up",
            )
        ]
        _batch(["link add br0 type bridge", "link set br0 up", *plugs], self.switch)
        for host in self.hosts:
            address = f"addr add {self.address(host)}/24 dev eth0"
            _batch(["link set lo up", address, "link set eth0 up"], self.name(host))

    def _filter(self) -> None:
        """Give the bridge the rules for what is dropped, all at once; the counters go on."""
        chance = {host: f"numgen random mod {FINE} < {round(share * FINE)} " for host, share in self._loss.items()}
        chance |= {host: "" for host, share in self._loss.items() if share == 1}
        names = ["cut", *(f"loss{host}" for host in self.hosts)]
        rules = [
            f"ip saddr {self.address(one)} ip daddr {self.address(other)} counter name cut drop"
            for one, other in sorted(self._dropped)
        ]
        rules += [
            f"ip {end} {self.address(host)} {condition}counter name loss{host} drop"
            for host, condition in chance.items()
            for end in ("saddr", "daddr")
        ]
        lines = ["add table bridge lab", *(f"add counter bridge lab {name}" for name in names)]
        lines += ["add chain bridge lab pass { type filter hook forward priority 0; }", "flush chain bridge lab pass"]
        lines += [f"add rule bridge lab pass {rule}" for rule in rules]
        _run(["nft", "-f", "-"], self.switch, "\n".join(lines))


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments])


def _batch(lines: Iterable[str], space: str = "") -> None:
    _run(["ip", *(["-n", space] if space else []), "-batch", "-"], text="\n".join(lines))


def _run(argv: list[str], space: str = "", text: str = "") -> str:
    """What a tool says; in a namespace if one is named. Raises `RuntimeError` with its words when it fails."""
    command = [*(["ip", "netns", "exec", space] if space else []), *argv]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{text}")
    return done.stdout


def _enter(space: int) -> None:
    """Put this thread into the namespace of an open descriptor (os.setns is of Python 3.12)."""
    if _libc.setns(space, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _space_of(pid: int) -> tuple[int, int] | None:
    """The namespace of a process; None when it has ended, or is not ours to look at."""
    try:
        return _identity(Path("/proc", str(pid), "ns/net"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
