"""The owner's half of pulls: transactions, their files, and who may have them. Every request is answered on its own.

    transaction  event                                 next     effect
    -            new_transaction                       open     the clock of inactivity starts
    open         OPEN, known and granted               open     Read of nothing: a check; its size and grid
    open         OPEN, otherwise                       open     invalid_request: a guess learns nothing
    open         GET                                   open     waits for room in the lane of its receiver, then Read
    open         GET again, its chunk is on its way    open     waits until that has come, or must be lost
    open         read                                  open     the chunk and its digest
    open         read, digest differs from before      open     source_changed, for all from now on
    open         more of a chunk has arrived           open     a slow receiver is active, too
    open         HAVE                                  open     makes room for what waits, as each new GET does
    open         GRANT of a relay                      open     which of its receivers may have it; they are active
    open         DONE                                  open     Served: the receiver has it, or failed
    open         nothing for `timeout` seconds         ended    Expired
    open         end                                   ended    what comes from now on is not known

GETs wait as offsets: a chunk is read only when the lane has room for it, and each receiver has its share of what may be
on its way (`SERVED_BYTES`), so that one that is slow or stands still holds a bounded number of chunks and nobody up.
On a slow path a GET is sent again while the chunk is still on its way; to read it again at once would make it slower.

A relay may ask for a chunk in the name of a receiver below it (`u`), as it sees all that goes there anyway. It is one
receiver then, with a share of its own, however many it serves. Source: seed 000 (pull), design, decisions 20, 22, 23.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

from zmqfl.errors import CellReturnCode
from zmqfl.fqcn import FQCN
from zmqfl.protocol.commands import Answer, Call, Command, Expired, Outcome, Read, Served
from zmqfl.protocol.pull_grid import Grid
from zmqfl.protocol.ways import Ways

CHANNEL = "zmqfl.pull"
OPEN, GET, HAVE, GRANT, DONE = "open", "get", "have", "grant", "done"
"""Topics of the requests."""
SERVED_BYTES = 16 * 1024 * 1024
"""Bytes read for all receivers together that may not have arrived yet."""
LEAST_SERVED = 1
"""Chunks of that for each receiver in any case."""
IDLE = 10.0
"""Seconds after which a receiver that asks for nothing does not count for the shares any more."""
SILENCE = 60.0
"""Seconds after which a receiver that neither asks nor gets anything is forgotten, with what it has asked for."""
ON_ITS_WAY = 5.0
"""Seconds that a chunk is not read again for a receiver, unless it has something that was sent later."""
MOST_QUEUED = 256
"""GETs of one receiver that may wait."""
MOST_GRANTED = 4096
"""Receivers that a relay may ask for at once; further ones are not looked at."""
FOREVER = 365 * 86400.0
"""A GET has no time-out of its own: a chunk may wait its turn as long as others of this pull come."""
BELOW = ".*"
"""Behind the name of a receiver: the cells below it may have it as well."""
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
    number: int = 0
    """Of the references of this source, from 1."""
    digests: dict[int, bytes] = field(default_factory=dict)
    changed: bool = False

    @property
    def grid(self) -> Grid:
        """What receivers are told of it."""
        return Grid(self.size, self.chunk, self.fingerprint, self.name)


@dataclass(slots=True)
class _Transaction:
    timeout: float
    active: float
    rids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Taker:
    """One pull of one receiver: what it waits for, and what it has not confirmed."""

    rid: str
    queue: deque[Call] = field(default_factory=deque)
    served: dict[int, float] = field(default_factory=dict)
    """Chunks that are being read, or may still be on their way, and since when."""
    heard: float = 0.0
    latest: Call | None = None
    """Its latest request: what one with a lower number says is out of date."""
    is_behind: bool = False
    """It takes from a relay's cache, and has no share here."""
    look_at: float | None = None
    """When a GET that waits for its first chunk has waited enough."""

    def confirm(self, waits_for: set[int]) -> list[Call]:
        """The receiver waits for these only: the rest has come. Returns the calls that nobody waits for any more."""
        latest = max((since for index, since in self.served.items() if index not in waits_for), default=0.0)
        self.served = {
            index: since if since >= latest else 0.0 for index, since in self.served.items() if index in waits_for
        }
        over = [call for call in self.queue if call.headers["i"] not in waits_for]
        if over:
            self.queue = deque(call for call in self.queue if call.headers["i"] in waits_for)
        return over

    def next(self, share: int, now: float) -> Call | None:
        """The first call that may be served: for one more chunk than the `share` that may be on its way, or for one
        that must be lost. The latter needs no room, and must not wait behind what does."""
        self.look_at = None
        while self.queue and self.queue[0].revoked:
            self.queue.popleft()
        for call in self.queue:
            since = self.served.get(call.headers["i"])
            if since is None:
                if len(self.served) < share:
                    return call
            elif since + ON_ITS_WAY <= now:
                return call
            else:
                self.look_at = min(since + ON_ITS_WAY, self.look_at or inf)
        return None


class PullSource:
    """See the module. A relay serves from its cache by one, too: then `rid_of` tells which file a call is about, and
    `watches` is False, as what it hands on is the owner's affair."""

    def __init__(
        self, ways: Ways | None = None, rid_of: Callable[[Call], str] | None = None, *, watches: bool = True
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._ways = ways or Ways()
        self._rid_of = rid_of or _rid_of
        self._watches = watches
        self._added = 0
        self._transactions: dict[str, _Transaction] = {}
        self._references: dict[str, _Reference] = {}
        self._takers: dict[tuple[str, int, int], _Taker] = {}
        """In the order of their turns."""
        self.reading: dict[Call, int] = {}
        """Chunks that are being read -> their bytes: they will be in the lane of the call's origin next."""

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
        self._added += 1
        self._references[rid] = _Reference(rid, transaction, size, chunk, fingerprint, name, allowed, self._added)
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

    def entry_for(self, rid: str, receiver: str, now: float) -> _Reference | None:
        """The file, if this receiver, which has proved who it is, may have it; it is active then."""
        if (reference := self._references.get(rid)) and _may_have(receiver, reference.receivers):
            self._transactions[reference.transaction].active = now
            return reference
        return None

    def receive(self, call: Call, now: float) -> list[Command]:
        """A request of a receiver."""
        reference = self._references.get(self._rid_of(call))
        if reference is None or not (names := self._granted(call, reference)):
            self.counters["pulls_refused"] += 1
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, UNKNOWN))]
        self._transactions[reference.transaction].active = now
        match call.topic:
            case "open":
                return [Read(call, reference.rid, None, 0, 0)]
            case "get":
                return self._queue(call, reference, now)
            case "have":
                _, over = self._confirm(call, now)
                return [Answer(call, Outcome(CellReturnCode.OK)), *over]
            case "grant":
                return [self._grant(call, reference, names, now)]
            case "done":
                return self._done(call, reference)
        return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, f"no topic {call.topic!r}"))]

    def read(self, call: Call, rid: str, index: int | None, outcome: Outcome, now: float) -> list[Command]:
        """The source was read for a call: the digest of a chunk is in the headers of the outcome."""
        self.reading.pop(call, None)
        reference = self._references.get(rid)
        if reference is None:
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, UNKNOWN))]
        self._transactions[reference.transaction].active = now
        if outcome.code is not CellReturnCode.OK:
            return [Answer(call, outcome)]
        if (taker := self._takers.get(_taker_key(call))) is not None:
            taker.heard = now
        if index is None:
            return [Answer(call, Outcome(CellReturnCode.OK, headers=reference.grid.to_headers()))]
        if self._watches:
            digest = outcome.headers["d"]
            if reference.digests.setdefault(index, digest) != digest:
                reference.changed = True
        if reference.changed:
            return [Answer(call, changed(reference.name))]
        return [Answer(call, outcome)]

    def moved(self, receiver: str, instance: int, now: float) -> None:
        """More of a chunk that travels as a flow has arrived at a receiver."""
        for key, taker in self._takers.items():
            if key[:2] == (receiver, instance) and (reference := self._references.get(taker.rid)) is not None:
                taker.heard = self._transactions[reference.transaction].active = now

    def next_reads(self, is_free: Callable[[str], bool], now: float) -> list[Command]:
        """Read for whoever has room: at most one chunk for each receiver; call it again until there is nothing."""
        active = sum(1 for taker in self._takers.values() if now - taker.heard < IDLE and not taker.is_behind) or 1
        reads: list[Command] = []
        for key, taker in list(self._takers.items()):
            if not taker.queue or not is_free(key[0]):
                continue
            reference = self._references.get(taker.rid)
            share = max(LEAST_SERVED, SERVED_BYTES // (reference.chunk * active)) if reference else MOST_QUEUED
            if (call := taker.next(share, now)) is None:
                continue
            taker.queue.remove(call)
            if reference is None:
                reads.append(Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, UNKNOWN)))
                continue
            index = int(call.headers["i"])
            taker.served[index] = now
            size = self.reading[call] = reference.grid.length(index)
            reads.append(Read(call, reference.rid, index, index * reference.chunk, size))
        return reads

    def handle_timeout(self, now: float) -> list[Command]:
        """End the transactions in which nothing happens; forget receivers that ask for nothing."""
        commands: list[Command] = []
        for id, entry in list(self._transactions.items()):
            if entry.active + entry.timeout <= now:
                self.end(id)
                commands.append(Expired(id))
        for key, taker in list(self._takers.items()):
            if taker.look_at is not None and taker.look_at <= now:
                taker.look_at = None  # its turn comes with the next reads
            if taker.heard + SILENCE <= now:
                commands += self._forget(key)
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        times = [entry.active + entry.timeout for entry in self._transactions.values()]
        times += [taker.heard + SILENCE for taker in self._takers.values()]
        times += [taker.look_at for taker in self._takers.values() if taker.look_at is not None]
        return min(times, default=None)

    @property
    def waiting(self) -> bool:
        """Whether a chunk is to be read as soon as there is room."""
        return any(taker.queue for taker in self._takers.values())

    def _queue(self, call: Call, reference: _Reference, now: float) -> list[Command]:
        index = call.headers.get("i")
        if type(index) is not int or not 0 <= index * reference.chunk < max(1, reference.size):
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, f"{reference.name} has no chunk {index!r}"))]
        if reference.changed or call.headers.get("f", reference.fingerprint) != reference.fingerprint:
            return [Answer(call, changed(reference.name))]  # or offered anew by the same id, with another content
        taker, over = self._confirm(call, now)
        if call is taker.latest:
            taker.served.pop(index, None)  # asked for anew: what has come was damaged, or could not be read
        if len(taker.queue) >= MOST_QUEUED:
            full = Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "too many chunks are asked for at once")
            return [Answer(call, full), *over]
        taker.queue.append(call)
        return over

    def _confirm(self, call: Call, now: float) -> tuple[_Taker, list[Command]]:
        """A receiver says what it still waits for: the rest has arrived."""
        taker = self._takers.setdefault(_taker_key(call), _Taker(self._rid_of(call)))
        taker.heard = now
        if taker.latest is not None and call.id <= taker.latest.id:
            return taker, []
        taker.latest = call
        return taker, _dismissed(taker.confirm(_numbers(call.headers.get("w"))))

    def _done(self, call: Call, reference: _Reference) -> list[Command]:
        success = call.headers.get("s") == "success"
        served = Served(reference.rid, call.origin, "success" if success else "failed")
        self._takers.pop(_behind_key(call.origin, reference), None)
        return [Answer(call, Outcome(CellReturnCode.OK)), served, *self._forget(_taker_key(call))]

    def dismiss(self, rid: str, origin: str | None = None) -> list[Command]:
        """Refuse what is asked of a file, and forget who takes it; `origin`: only this one."""
        keys = [key for key, taker in self._takers.items() if taker.rid == rid and origin in (None, key[0])]
        return [command for key in keys for command in self._forget(key)]

    def _granted(self, call: Call, reference: _Reference) -> list[str]:
        """For whom a call asks: those that it may ask for, and that may have it."""
        names: object = [call.origin]
        if call.topic in (GET, HAVE):
            names = [call.headers.get("u", call.origin)]
        elif call.topic == GRANT:
            names = call.headers.get("u")
        if not isinstance(names, list):
            return []
        named = [name for name in names[:MOST_GRANTED] if isinstance(name, str)]
        return [
            name for name in named
            if self._ways.speaks_for(call.origin, name) and _may_have(name, reference.receivers)
        ]  # fmt: skip

    def _grant(self, call: Call, reference: _Reference, names: list[str], now: float) -> Command:
        """A relay asks which of its receivers may have it: those take it, or are about to."""
        if reference.changed:
            return Answer(call, changed(reference.name))
        for name in names:
            key = _behind_key(name, reference)
            self._takers.setdefault(key, _Taker(reference.rid, is_behind=True)).heard = now
        milliseconds = round(1000 * self._transactions[reference.transaction].timeout)
        headers = {**reference.grid.to_headers(), "t": milliseconds, "u": names}
        return Answer(call, Outcome(CellReturnCode.OK, headers=headers))

    def _forget(self, key: tuple[str, int, int]) -> list[Command]:
        """This pull is over, or seems to be."""
        taker = self._takers.pop(key, None)
        return _dismissed(taker.queue) if taker is not None else []


def _taker_key(call: Call) -> tuple[str, int, int]:
    pull = call.headers.get("p")
    return call.origin, call.instance, pull if type(pull) is int else 0


def _behind_key(receiver: str, reference: _Reference) -> tuple[str, int, int]:
    """Of a receiver that takes from a relay's cache; the instance of no cell is 0."""
    return receiver, 0, reference.number


def _rid_of(call: Call) -> str:
    return str(call.headers.get("r", ""))


def _may_have(origin: str, receivers: frozenset[str] | None) -> bool:
    if receivers is None or origin in receivers:
        return True
    above, _, last = origin.rpartition(".")
    if last.startswith(COMMAND_LINE) and above in receivers:
        return True
    while origin := FQCN.get_parent(origin):
        if origin + BELOW in receivers:
            return True
    return False


def _numbers(value: object) -> set[int]:
    return {item for item in value if type(item) is int} if isinstance(value, list) else set()


def _dismissed(calls: Iterable[Call]) -> list[Command]:
    """Answers for nobody, as far as is known; a receiver that waits after all asks again."""
    again = Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "this pull does not seem to wait for it; ask again")
    return [Answer(call, again) for call in calls]


def changed(name: str) -> Outcome:
    """What receivers are told when a source is not what it was."""
    text = f"{name} has changed since it was offered; offer it again"
    return Outcome(CellReturnCode.PROCESS_EXCEPTION, text, headers={"why": "source_changed"})
