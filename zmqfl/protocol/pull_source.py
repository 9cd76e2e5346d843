"""The owner's half of pulls: transactions, their files, and who may have them. Every request is answered on its own.

    transaction  event                                 next     effect
    -            new_transaction                       open     the clock of inactivity starts
    open         OPEN, known and granted               open     Read of nothing: a check; its size and grid
    open         OPEN, otherwise                       open     invalid_request: a guess learns nothing
    open         GET                                   open     waits for room in the lane of its receiver, then Read
    open         read                                  open     the chunk and its digest
    open         read, digest differs from before      open     source_changed, for all from now on
    open         HAVE                                  open     makes room for what waits, as each GET does
    open         DONE                                  open     Served: the receiver has it, or failed
    open         nothing for `timeout` seconds         ended    Expired
    open         end                                   ended    what comes from now on is not known

GETs wait as offsets: a chunk is read only when the lane has room for it, and each receiver has its share of what may be
on its way (`SERVED_BYTES`), so that one that is slow or stands still holds a bounded number of chunks and nobody up.
Source: seed 000 (pull), design, decisions 20 and 22.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.commands import Answer, Call, Command, Expired, Outcome, Read, Served

CHANNEL = "zmqfl.pull"
OPEN, GET, HAVE, DONE = "open", "get", "have", "done"
"""Topics of the requests."""
SERVED_BYTES = 16 * 1024 * 1024
"""Bytes read for all receivers together that may not have arrived yet."""
LEAST_SERVED = 1
"""Chunks of that for each receiver in any case."""
IDLE = 10.0
"""Seconds after which a receiver that asks for nothing does not count for the shares any more."""
MOST_QUEUED = 256
"""GETs of one receiver that may wait."""
COMMAND_LINE = "admin-"
"""How the last part of the name of a command line begins; it stands right below the site that it speaks for."""
UNKNOWN = "no such reference: never offered, ended by now, or not for you"


@dataclass(slots=True)
class _Reference:
    """One file of a transaction.

    `receivers`: the only names that may have it, with their command lines; None: whoever knows its id.
    """

    rid: str
    transaction: str
    size: int
    chunk: int
    fingerprint: str
    name: str
    receivers: frozenset[str] | None
    digests: dict[int, bytes] = field(default_factory=dict)
    changed: bool = False


@dataclass(slots=True)
class _Transaction:
    timeout: float
    active: float
    rids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Taker:
    """One pull of one receiver: what it waits for, and what it has not confirmed."""

    queue: deque[Call] = field(default_factory=deque)
    served: set[int] = field(default_factory=set)
    """Chunks that are being read, or may still be on their way."""
    heard: float = 0.0


class PullSource:
    """See the module."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._transactions: dict[str, _Transaction] = {}
        self._references: dict[str, _Reference] = {}
        self._takers: dict[tuple[str, int, int], _Taker] = {}
        """In the order of their turns."""

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def new_transaction(self, id: str, timeout: float, now: float) -> None:
        """A group of files that ends after `timeout` seconds without activity on any of them."""
        self._transactions[id] = _Transaction(timeout, now)

    def add(
        self,
        transaction: str,
        rid: str,
        size: int,
        chunk: int,
        fingerprint: str,
        name: str,
        receivers: Iterable[str] | None,
        now: float,
    ) -> bool:
        """Offer a file; False when the transaction has ended."""
        if (entry := self._transactions.get(transaction)) is None:
            return False
        allowed = None if receivers is None else frozenset(receivers)
        self._references[rid] = _Reference(rid, transaction, size, chunk, fingerprint, name, allowed)
        entry.rids.append(rid)
        entry.active = now
        return True

    def end(self, transaction: str) -> bool:
        """Offer nothing of it any more; False when it has ended before."""
        if (entry := self._transactions.pop(transaction, None)) is None:
            return False
        for rid in entry.rids:
            del self._references[rid]
        return True

    def receive(self, call: Call, now: float) -> list[Command]:
        """A request of a receiver."""
        reference = self._references.get(str(call.headers.get("r", "")))
        if reference is None or not _may_have(call.origin, reference.receivers):
            self.counters["pulls_refused"] += 1
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, UNKNOWN))]
        self._transactions[reference.transaction].active = now
        match call.topic:
            case "open":
                return [Read(call, reference.rid, None, 0, 0)]
            case "get":
                return self._queue(call, reference, now)
            case "have":
                self._confirm(call, now)
                return [Answer(call, Outcome(CellReturnCode.OK))]
            case "done":
                return self._done(call, reference)
        return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, f"no topic {call.topic!r}"))]

    def read(self, call: Call, rid: str, index: int | None, outcome: Outcome, now: float) -> list[Command]:
        """The source was read for a call: the digest of a chunk is in the headers of the outcome."""
        reference = self._references.get(rid)
        if reference is None:
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, UNKNOWN))]
        self._transactions[reference.transaction].active = now
        if outcome.code is not CellReturnCode.OK:
            return [Answer(call, outcome)]
        if index is None:
            grid = {"n": reference.size, "k": reference.chunk, "f": reference.fingerprint, "name": reference.name}
            return [Answer(call, Outcome(CellReturnCode.OK, headers=grid))]
        digest = outcome.headers["d"]
        if reference.digests.setdefault(index, digest) != digest:
            reference.changed = True
        if reference.changed:
            return [Answer(call, changed(reference.name))]
        return [Answer(call, outcome)]

    def next_reads(self, is_free: Callable[[str], bool], now: float) -> list[Command]:
        """Read for whoever has room: at most one chunk for each receiver; call it again until there is nothing."""
        active = sum(1 for taker in self._takers.values() if now - taker.heard < IDLE) or 1
        reads: list[Command] = []
        for key, taker in list(self._takers.items()):
            if not taker.queue or not is_free(key[0]):
                continue
            call = taker.queue[0]
            if call.revoked:
                taker.queue.popleft()
                continue
            reference = self._references.get(str(call.headers.get("r", "")))
            if reference is None:
                taker.queue.popleft()
                reads.append(Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, UNKNOWN)))
                continue
            if len(taker.served) >= max(LEAST_SERVED, SERVED_BYTES // (reference.chunk * active)):
                continue
            taker.queue.popleft()
            index = int(call.headers["i"])
            taker.served.add(index)
            offset = index * reference.chunk
            reads.append(Read(call, reference.rid, index, offset, min(reference.chunk, reference.size - offset)))
        return reads

    def handle_timeout(self, now: float) -> list[Command]:
        """End the transactions in which nothing happens; forget receivers that ask for nothing."""
        commands: list[Command] = []
        for id, entry in list(self._transactions.items()):
            if entry.active + entry.timeout <= now:
                self.end(id)
                commands.append(Expired(id))
        for key, taker in list(self._takers.items()):
            if not taker.queue and now - taker.heard > 6 * IDLE:
                del self._takers[key]
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        return min((entry.active + entry.timeout for entry in self._transactions.values()), default=None)

    @property
    def waiting(self) -> bool:
        """Whether a chunk is to be read as soon as there is room."""
        return any(taker.queue for taker in self._takers.values())

    def _queue(self, call: Call, reference: _Reference, now: float) -> list[Command]:
        index = call.headers.get("i")
        if type(index) is not int or not 0 <= index * reference.chunk < max(1, reference.size):
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, f"{reference.name} has no chunk {index!r}"))]
        if reference.changed:
            return [Answer(call, changed(reference.name))]
        taker = self._confirm(call, now)
        taker.served.discard(index)
        if len(taker.queue) >= MOST_QUEUED:
            return [Answer(call, Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "too many chunks are asked for at once"))]
        taker.queue.append(call)
        return []

    def _confirm(self, call: Call, now: float) -> _Taker:
        """A receiver says what it still waits for: the rest has arrived, or is asked for again."""
        taker = self._takers.setdefault(_taker_key(call), _Taker())
        taker.heard = now
        taker.served.intersection_update(_numbers(call.headers.get("w")))
        return taker

    def _done(self, call: Call, reference: _Reference) -> list[Command]:
        self._takers.pop(_taker_key(call), None)
        success = call.headers.get("s") == "success"
        served = Served(reference.rid, call.origin, "success" if success else "failed")
        return [Answer(call, Outcome(CellReturnCode.OK)), served]


def _taker_key(call: Call) -> tuple[str, int, int]:
    pull = call.headers.get("p")
    return call.origin, call.instance, pull if type(pull) is int else 0


def _may_have(origin: str, receivers: frozenset[str] | None) -> bool:
    if receivers is None or origin in receivers:
        return True
    above, _, last = origin.rpartition(".")
    return last.startswith(COMMAND_LINE) and above in receivers


def _numbers(value: object) -> list[int]:
    return [item for item in value if type(item) is int] if isinstance(value, list) else []


def changed(name: str) -> Outcome:
    """What receivers are told when a source is not what it was."""
    text = f"{name} has changed since it was offered; offer it again"
    return Outcome(CellReturnCode.PROCESS_EXCEPTION, text, headers={"why": "source_changed"})
