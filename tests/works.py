"""What workers do on a simulated network: producers, consumers and files in memory, which take time and may fail.

`Works` obeys the commands of a transfer as the edges of a cell do, and checks while it runs:

- a producer, a consumer and a sink do one thing at a time (a sink: several writes), and nothing after their end;
- chunks are consumed in order, once, byte for byte; none before all targets have consumed the one `window` before it;
- each stream gets one CloseStream, each push and pull of a cell that lives ends once;
- what has ended well is whole, what has not has left no whole file.

`check_ended` asks the rest: all targets that live have committed or none, and nothing is left anywhere.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import (
    Abandon,
    Chunk,
    CloseStream,
    Command,
    Commit,
    Consume,
    Expired,
    OpenStream,
    Outcome,
    Prepare,
    Produce,
    PullEnded,
    PushEnded,
    Read,
    Served,
    Settle,
    StreamKey,
    Work,
    Write,
)
from zmqfl.protocol.node import Node
from zmqfl.protocol.pull_receiver import PullReceiver
from zmqfl.protocol.pull_source import changed
from zmqfl.protocol.push_sender import PushSender
from zmqfl.protocol.transfers import Transfers

if TYPE_CHECKING:
    from tests.harness import Host, Net

OK, FAILED = CellReturnCode.OK, CellReturnCode.PROCESS_EXCEPTION


@dataclass
class Faults:
    """Probabilities that a piece of work fails; `damage`: that a chunk is read well and arrives damaged."""

    produce: float = 0.0
    settle: float = 0.0
    refuse: float = 0.0
    unready: float = 0.0
    consume: float = 0.0
    rename: float = 0.0
    read: float = 0.0
    damage: float = 0.0
    write: float = 0.0
    commit: float = 0.0


@dataclass(eq=False)
class Push:
    """One push, from the verb to its end."""

    host: Host
    sender: PushSender
    chunks: list[bytes]
    window: int
    knows_end: bool
    """The consumers know which chunk is the last."""
    stops: dict[str, int]
    """Targets that have enough after so many chunks."""
    streams: dict[Host, Stream] = field(default_factory=dict)
    made: int = 0
    settled: list[dict[str, Outcome]] = field(default_factory=list)
    settle_failed: bool = False
    ended: PushEnded | None = None

    @property
    def code(self) -> CellReturnCode | None:
        """How it has ended for its owner."""
        return None if self.ended is None else self.ended.code

    def enough(self, target: str) -> int:
        """After how many chunks this target knows that it has all; 0: never."""
        return self.stops.get(target, len(self.chunks) if self.knows_end else 0)


@dataclass(eq=False)
class Stream:
    """A push at one process of one of its targets."""

    host: Host
    push: Push
    consumed: list[bytes] = field(default_factory=list)
    has_all: bool = False
    busy: bool = False
    ended: CloseStream | None = None
    rename_failed: bool = False

    @property
    def committed(self) -> bool:
        """Whether it was told that all have all."""
        return self.ended is not None and self.ended.code is OK


@dataclass(eq=False)
class Offer:
    """A file that is offered."""

    host: Host
    rid: str
    transaction: str
    content: bytes
    chunk: int
    timeout: float
    changed: bool = False
    reads: Counter[int] = field(default_factory=Counter)
    served: list[Served] = field(default_factory=list)
    expired: int = 0
    withdrawn: bool = False


@dataclass(eq=False)
class Pull:
    """One pull, from the verb to its end."""

    host: Host
    receiver: PullReceiver
    keep: bool
    sink: dict[int, bytes] | None = None
    preparing: bool = False
    writers: int = 0
    bad: int = 0
    committed: bytes | None = None
    abandoned: bool = False
    ended: PullEnded | None = None

    @property
    def code(self) -> CellReturnCode | None:
        """How it has ended."""
        return None if self.ended is None else self.ended.code


class Works:
    """The workers of all processes of a network; see the module."""

    def __init__(self, net: Net) -> None:
        self.faults = Faults()
        self.time: Callable[[Host, Command], float] = lambda host, command: 0.0
        """Seconds that a piece of work takes."""
        self.pushes: dict[StreamKey, Push] = {}
        self.pulls: dict[tuple[Host, int], Pull] = {}
        self.offers: dict[str, Offer] = {}
        self.disks: dict[tuple[str, str], dict[int, bytes]] = {}
        """Per (receiver, rid) the chunks that outlive a failed pull, and the process."""
        self._net = net

    # -- verbs -----------------------------------------------------------------------------------------------------

    def push(
        self,
        host: Host,
        targets: tuple[str, ...],
        chunks: list[bytes],
        window: int,
        looks_ahead: bool,
        judges: bool,
        knows_end: bool,
        timeout: float,
        stops: dict[str, int],
    ) -> Push:
        """Begin a push."""
        sender = PushSender(
            host.node.next_id(), targets, "c", "t", (0, (b"context",)),
            window=window, looks_ahead=looks_ahead, judges=judges, chunk_timeout=timeout,
        )  # fmt: skip
        width = window if looks_ahead else 1
        push = Push(host, sender, chunks, width, knows_end, stops)
        self.pushes[host.fqcn, host.node.instance, sender.id] = push
        self._tell(host, lambda transfers: transfers.push(sender, self._net.now))
        return push

    def offer(self, host: Host, content: bytes, chunk: int, timeout: float, receivers: list[str] | None) -> Offer:
        """Offer a file, in a transaction of its own."""
        number = len(self.offers)
        offer = Offer(host, f"R{number}", f"T{number}", content, chunk, timeout)
        self.offers[offer.rid] = offer
        source, now = host.node.transfers.source, self._net.now
        source.new_transaction(offer.transaction, timeout, now)
        size, name = len(content), f"file-{number}"
        assert source.add(offer.transaction, offer.rid, size, chunk, f"F{number}", name, receivers, now)
        self._tell(host, lambda transfers: [])  # its deadline is another one now
        return offer

    def withdraw(self, offer: Offer) -> None:
        """End the transaction of an offer."""
        offer.withdrawn = True
        offer.host.node.transfers.source.end(offer.transaction)
        self._tell(offer.host, lambda transfers: [])

    def pull(self, host: Host, owner: str, rid: str, timeout: float, keep: bool) -> Pull:
        """Begin a pull."""
        receiver = PullReceiver(host.node.next_id(), owner, rid, timeout, self._net.config.heartbeat, self._net.now)
        pull = self.pulls[host, receiver.id] = Pull(host, receiver, keep)
        self._tell(host, lambda transfers: transfers.pull(receiver, self._net.now))
        return pull

    def cancel(self, work: Push | Pull) -> None:
        """The user wants it no more."""
        abort, now = CellReturnCode.ABORT_RUN, self._net.now
        if isinstance(work, Push):
            id = work.sender.id
            self._tell(work.host, lambda t: t.to_push(id, lambda sender: sender.cancel(abort, "cancelled", now)))
        else:
            id = work.receiver.id
            self._tell(work.host, lambda t: t.to_pull(id, lambda pull: pull.cancel(abort, "cancelled", now)))

    # -- the interpreter -------------------------------------------------------------------------------------------

    def obey(self, host: Host, command: Work) -> None:
        """Have it done: what it comes to is told to the node after a while."""
        match command:
            case Produce():
                self._produce(host, command)
            case Settle():
                self._settle(host, command)
            case PushEnded():
                self._push_ended(host, command)
            case OpenStream():
                self._open(host, command)
            case Consume():
                self._consume(host, command)
            case CloseStream():
                self._close(host, command)
            case Read():
                self._read(host, command)
            case Served():
                self.offers[command.rid].served.append(command)
            case Expired():
                self._expired(host, command)
            case Prepare():
                self._prepare(host, command)
            case Write():
                self._write(host, command)
            case Commit():
                self._commit(host, command)
            case Abandon():
                self._abandon(host, command)
            case PullEnded():
                self._pull_ended(host, command)

    def _tell(self, host: Host, act: Callable[[Transfers], list[Command]]) -> None:
        if host.alive:
            self._net.obey(host, host.node.transfer(act, self._net.now))

    def _later(self, host: Host, command: Command, act: Callable[[Transfers], list[Command]]) -> None:
        self._net.after(self.time(host, command), partial(self._tell, host, act))

    def _fails(self, probability: float) -> bool:
        return probability > 0 and self._net.random.random() < probability

    # -- the owner of a push ---------------------------------------------------------------------------------------

    def _push_of(self, host: Host, id: int) -> Push:
        push = self.pushes[host.fqcn, host.node.instance, id]
        assert push.ended is None, f"{push.sender!r} has ended already"
        return push

    def _produce(self, host: Host, command: Produce) -> None:
        push = self._push_of(host, command.id)
        chunk, error = None, "no more ideas" if self._fails(self.faults.produce) else ""
        if push.made < len(push.chunks) and not error:
            chunk = Chunk({"n": push.made}, 2, (push.chunks[push.made],))
        push.made += 1
        self._later(host, command, lambda t: t.to_push(command.id, lambda s: s.produced(chunk, error, self._net.now)))

    def _settle(self, host: Host, command: Settle) -> None:
        push = self._push_of(host, command.id)
        error = "not good" if self._fails(self.faults.settle) else ""
        push.settle_failed = push.settle_failed or bool(error)
        push.settled.append(command.replies)
        self._later(host, command, lambda t: t.to_push(command.id, lambda s: s.settled(None, error, self._net.now)))

    def _push_ended(self, host: Host, command: PushEnded) -> None:
        self._push_of(host, command.id).ended = command

    # -- a target --------------------------------------------------------------------------------------------------

    def _open(self, host: Host, command: OpenStream) -> None:
        push = self.pushes[command.key]
        assert host not in push.streams, f"{command.key} is opened twice at {host.fqcn}"
        assert command.call.revoked or bytes(command.call.bodies[0]) == b"context"
        command.call.started = self._net.now
        outcome = Outcome(OK)
        if self._fails(self.faults.unready):
            outcome = Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "nobody consumes it", headers={"not_ready": 1})
        elif self._fails(self.faults.refuse):
            outcome = Outcome(FAILED, "the factory raised")

        def opened(transfers: Transfers) -> list[Command]:
            if outcome.code is OK:
                push.streams[host] = Stream(host, push)
            return transfers.to_stream(command.key, lambda stream: stream.opened(outcome, self._net.now))

        self._later(host, command, opened)

    def _consume(self, host: Host, command: Consume) -> None:
        stream = self.pushes[command.key].streams[host]
        push, index = stream.push, command.index
        assert not stream.busy, f"{command.key} is at work or has ended"
        assert stream.ended is None, f"{command.key} is at work or has ended"
        assert index == len(stream.consumed)
        assert not stream.has_all
        self._check_barrier(stream, index)
        command.call.started = self._net.now
        data = b"".join(command.call.bodies)
        assert command.call.revoked or data == push.chunks[index]
        assert command.call.headers["h"] == {"n": index}
        stream.busy = True
        taken_back = command.call.revoked
        failed = self._fails(self.faults.consume)
        outcome = Outcome(FAILED, "the consumer raised") if failed else Outcome(OK, headers={"got": index})

        def consumed(transfers: Transfers) -> list[Command]:
            stream.busy = False
            if taken_back:
                return transfers.to_stream(command.key, lambda s: s.withdrawn(self._net.now))
            if not failed:
                stream.consumed.append(data)
                stream.has_all = len(stream.consumed) == push.enough(host.fqcn)
            go = not failed and not stream.has_all
            return transfers.to_stream(command.key, lambda s: s.consumed(outcome, go, self._net.now))

        self._later(host, command, consumed)

    def _check_barrier(self, stream: Stream, index: int) -> None:
        """No target is more than a window ahead of another."""
        push = stream.push
        others = [other for other in push.streams.values() if not other.has_all]
        assert len(push.streams) == len(push.sender.targets)
        slowest = min((len(other.consumed) for other in others), default=index)
        assert index - push.window < slowest, f"round {index} before round {slowest} was everywhere"

    def _close(self, host: Host, command: CloseStream) -> None:
        stream = self.pushes[command.key].streams[host]
        assert stream.ended is None, f"{command.key} has two ends at {host.fqcn}"
        assert not stream.busy, f"{command.key} ends while its consumer is at work"
        stream.ended = command
        stream.rename_failed = stream.committed and self._fails(self.faults.rename)
        outcome = Outcome(FAILED, "cannot be renamed") if stream.rename_failed else Outcome(OK, bodies=(b"end",))
        self._later(host, command, lambda t: t.to_stream(command.key, lambda s: s.closed(outcome)))

    # -- the owner of a file ---------------------------------------------------------------------------------------

    def _read(self, host: Host, command: Read) -> None:
        offer = self.offers[command.rid]
        assert offer.host is host
        command.call.started = self._net.now
        outcome = self._chunk(offer, command)
        self._later(
            host, command,
            lambda t: t.source.read(command.call, command.rid, command.index, outcome, self._net.now),
        )  # fmt: skip

    def _chunk(self, offer: Offer, command: Read) -> Outcome:
        if offer.changed:
            return changed(offer.rid)
        if command.index is None:
            return Outcome(OK)
        if self._fails(self.faults.read):
            return Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "no free worker")
        assert command.offset == command.index * offer.chunk
        offer.reads[command.index] += 1
        data = offer.content[command.offset : command.offset + command.size]
        assert len(data) == command.size
        headers = {"d": digest(data)}
        if data and self._fails(self.faults.damage):
            data = bytes([data[0] ^ 1]) + data[1:]
        return Outcome(OK, headers=headers, codec=2, bodies=(data,) if data else ())

    def _expired(self, host: Host, command: Expired) -> None:
        offer = self.offers["R" + command.transaction[1:]]
        assert offer.host is host
        assert not offer.withdrawn
        offer.expired += 1
        assert offer.expired == 1

    # -- the receiver of a file ------------------------------------------------------------------------------------

    def _prepare(self, host: Host, command: Prepare) -> None:
        pull = self.pulls[host, command.id]
        assert pull.sink is None
        assert not pull.preparing
        assert not pull.abandoned
        assert pull.ended is None
        pull.preparing = True
        offer = self.offers[pull.receiver.rid]
        assert (command.size, command.chunk) == (len(offer.content), offer.chunk)

        def prepared(transfers: Transfers) -> list[Command]:
            pull.preparing = False
            pull.sink = dict(self.disks.get((host.fqcn, pull.receiver.rid), {})) if pull.keep else {}
            have = set(pull.sink)
            return transfers.to_pull(command.id, lambda receiver: receiver.prepared(have, "", self._net.now))

        self._later(host, command, prepared)

    def _write(self, host: Host, command: Write) -> None:
        pull = self.pulls[host, command.id]
        assert pull.sink is not None
        assert pull.committed is None
        assert not pull.abandoned
        data = b"".join(command.bodies)
        verdict, error = "ok", ""
        if digest(data) != command.digest:
            verdict, pull.bad = "bad", pull.bad + 1
        elif self._fails(self.faults.write):
            verdict, error = "failed", "the disk is full"
        pull.writers += 1

        def written(transfers: Transfers) -> list[Command]:
            pull.writers -= 1
            assert pull.sink is not None, "the sink is closed under a write"
            assert not pull.abandoned, "the sink is closed under a write"
            if verdict == "ok":
                assert command.index not in pull.sink
                pull.sink[command.index] = data
                if pull.keep:
                    self.disks.setdefault((host.fqcn, pull.receiver.rid), {})[command.index] = data
            return transfers.to_pull(command.id, lambda r: r.written(command.index, verdict, error, self._net.now))

        self._later(host, command, written)

    def _commit(self, host: Host, command: Commit) -> None:
        pull = self.pulls[host, command.id]
        assert pull.sink is not None
        assert not pull.writers
        assert pull.committed is None
        assert not pull.abandoned
        failed = self._fails(self.faults.commit)

        def committed(transfers: Transfers) -> list[Command]:
            assert pull.sink is not None, "the sink is closed under a commit"
            assert not pull.abandoned, "the sink is closed under a commit"
            if failed:
                return transfers.to_pull(command.id, lambda r: r.committed(None, "cannot be renamed", self._net.now))
            pull.committed = b"".join(pull.sink[index] for index in sorted(pull.sink))
            self.disks.pop((host.fqcn, pull.receiver.rid), None)
            return transfers.to_pull(command.id, lambda r: r.committed(pull.committed, "", self._net.now))

        self._later(host, command, committed)

    def _abandon(self, host: Host, command: Abandon) -> None:
        pull = self.pulls[host, command.id]
        assert not pull.abandoned
        assert pull.ended is None
        assert not pull.preparing, "the sink is closed while it is at work"
        assert not pull.writers, "the sink is closed while it is at work"
        pull.abandoned = True
        self._later(host, command, lambda t: t.to_pull(command.id, lambda receiver: receiver.abandoned()))

    def _pull_ended(self, host: Host, command: PullEnded) -> None:
        pull = self.pulls[host, command.id]
        assert pull.ended is None, f"{pull.receiver!r} has ended twice"
        pull.ended = command
        if command.code is OK:
            content = self.offers[pull.receiver.rid].content
            assert pull.committed == content == command.value
        else:
            assert pull.committed is None
            assert pull.abandoned, f"{pull.receiver!r} has left its sink open"

    # -- the end ---------------------------------------------------------------------------------------------------

    def is_quiet(self) -> bool:
        """Whether nothing of any transfer goes on at any process that lives."""
        return all(
            not (t.pushes or t.pulls or t.streams or t.source.waiting or self._asked(host.node))
            for host in self._net.processes
            for t in (host.node.transfers,)
        )

    @staticmethod
    def _asked(node: Node) -> bool:
        """Whether a machine waits for an answer; those of its plane ask as long as it lives."""
        return any(not node.plane.has(asked.ask.owner) for asked in node.asks._asked.values())

    def check_ended(self) -> None:
        """Everything has ended as it must; nothing is kept."""
        assert self.is_quiet(), [repr(host.node) for host in self._net.processes]
        for push in self.pushes.values():
            self._check_push(push)
        for pull in self.pulls.values():
            assert not pull.host.alive or pull.ended is not None, f"{pull.receiver!r} has not ended"
        for offer in self.offers.values():
            assert not offer.host.alive or offer.withdrawn or offer.expired == 1, f"{offer.rid} has not expired"
        for host in self._net.processes:
            source = host.node.transfers.source
            assert not source._transactions
            assert not source._references
            assert not source._takers

    def _check_push(self, push: Push) -> None:
        streams = [stream for stream in push.streams.values() if stream.host.alive]
        about = f"{push.sender!r} {push.ended} {[(s.host.fqcn, s.ended) for s in push.streams.values()]}"
        assert not push.host.alive or push.ended is not None, f"never ended: {about}"
        assert all(stream.ended is not None for stream in streams), f"a stream is open: {about}"
        committed = [stream for stream in streams if stream.committed]
        assert committed in ([], streams), f"some have it, some have not: {about}"
        for stream in committed:
            count = push.enough(stream.host.fqcn) or len(push.chunks)
            assert stream.consumed == push.chunks[:count], f"not whole: {about}"
        if push.ended is None:
            return
        if push.ended.code is OK:
            assert len(committed) == len(streams), f"not all have it: {about}"
            assert not any(stream.rename_failed for stream in streams)
        elif committed and not push.settle_failed:
            said = push.ended.targets
            assert said[push.ended.culprit].code is not OK, f"who has failed? {about}"
            assert set(said) == set(push.sender.targets), about


def digest(data: bytes) -> bytes:
    """Of a chunk, in this world."""
    return zlib.crc32(data).to_bytes(4)


def chunk_count(size: int, chunk: int) -> int:
    """Chunks of a file."""
    return ceil(size / chunk)
