"""A relay's cache: a child asks its parent for the chunks of a pull, which asks the owner for each of them once.

    event                                          effect
    GET of a child, no word of the owner for it    held; GRANT to the owner, see `relay_grants`
    GET of a child, granted                        waits for its turn and for room in its lane, as at the owner
    its turn, the chunk is here                    the chunk, with the digest that the owner gave
    its turn, the chunk is not here                fetched once for all who wait for it, see `relay_file`
    HAVE of a child                                as at the owner; the answer says whether something has come (`m`)
    DONE of a child                                it is forgotten
    GRANT refused or not answered                  what it has asked for is refused
    a chunk cannot be had                          the file is forgotten, what was asked for is refused
    nobody asks for a file for `KEPT` seconds      the file is forgotten

Whatever is refused here the child asks of the owner, whose word alone counts; a cache never ends a pull. OPEN and DONE
go to the owner past it. The serving half is a `PullSource`: turns, windows and shares are those of owners.
Source: design, decision 23.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.chunk_store import OVERHEAD, ChunkStore
from zmqfl.protocol.commands import Answer, Call, Command, Expired, Outcome, Read, Served, Unask
from zmqfl.protocol.pull_grid import Grid, read_grid
from zmqfl.protocol.pull_source import DONE, GET, HAVE, PullSource
from zmqfl.protocol.relay_file import FileKey, RelayFile, receiver_of, unpacks
from zmqfl.protocol.relay_grants import TOUCH, TOUCHES
from zmqfl.protocol.ways import Ways

KEPT = 30.0
"""Seconds after which a file that nobody asks for is forgotten."""
MOST_FILES = 256
"""Files at once that one child was the first to ask for."""
MOST_ASKING = 64
"""Receivers behind one child for which the owner is asked at once; so a child that guesses holds up nobody else."""
MAX_NAME = 512
"""Characters of a reference id or a fingerprint."""
MAX_HEADERS = 512
"""Bytes beside a chunk that are kept with it: its digest, and what else its receivers need."""
LEAST_ROOM = 2
"""Chunks that must fit. Bigger ones are not kept: to fetch one after the other would be slower than no cache."""


class RelayCache:
    """See the module. `counters` are those of the transfers of the cell."""

    def __init__(self, config: CellConfig, counters: Counter[str], ways: Ways) -> None:
        self.store = ChunkStore(config.relay_cache)
        self.files: dict[FileKey, RelayFile] = {}
        self._pause = config.heartbeat
        self._counters = counters
        self._ways = ways
        self._serving = PullSource(ways, _name_of_call, watches=False)
        self._by_name: dict[str, RelayFile] = {}
        self._ready: list[tuple[RelayFile, int, Call]] = []
        """Requests whose chunk has come since they had their turn."""
        self._asking: Counter[str] = Counter()
        """Receivers for which the owner is being asked, by child."""
        self._last_id = 0

    # -- requests of children ------------------------------------------------------------------------------------------

    def receive(self, call: Call, now: float) -> list[Command]:
        """A request that names another owner than this cell."""
        key, receiver = _key_of_call(call), receiver_of(call)
        if key is None or not self._may_ask(call, key, receiver):
            self._counters["relay_refused"] += 1
            text = "not for a cache: it serves its children what comes to them by it"
            return [Answer(call, Outcome(CellReturnCode.INVALID_REQUEST, text))]
        file = self.files.get(key)
        if call.topic == GET:
            return self._get(call, key, file, receiver, now)
        if file is None or not file.grants.knows(receiver):
            return [_refused(call)]
        if call.topic == DONE:
            file.grants.rest(receiver)
            fine = Answer(call, Outcome(CellReturnCode.OK))
            said = self._serving.receive(call, now) if file.grid is not None else [fine]
            return [command for command in said if not isinstance(command, Served)]
        return self._have(call, file, receiver, now)

    def _may_ask(self, call: Call, key: FileKey, receiver: str) -> bool:
        return (
            self.store.limit > 0
            and call.topic in (GET, HAVE, DONE)
            and self._ways.is_child(call.origin)
            and self._ways.speaks_for(call.origin, receiver)
            and self._ways.passes_by(key[0], call.origin)
        )

    def _get(self, call: Call, key: FileKey, file: RelayFile | None, receiver: str, now: float) -> list[Command]:
        if file is not None and file.grants.hear(receiver, call, now):
            return self._serving.receive(call, now)
        if file is None or not file.grants.is_asking(receiver):
            if not self._may_begin(file, call.origin, receiver):
                return [_refused(call)]
            file = file or self._begin(key, call.origin, now)
            file.grants.ask(receiver, call, now)
            file.grants.hold(receiver, call)
            self._counters["relay_grants"] += 1
            return [file.ask_grant([receiver], call.origin)]
        return [] if file.grants.hold(receiver, call) else [_refused(call)]

    def _may_begin(self, file: RelayFile | None, child: str, receiver: str) -> bool:
        """Whether the owner may be asked for one more receiver, behind this child."""
        if file is not None and file.grants.is_full and not file.grants.knows(receiver):
            return False
        if file is None and sum(each.child == child for each in self.files.values()) >= MOST_FILES:
            return False
        return sum(each.asking[child] for each in self.files.values()) < MOST_ASKING

    def _begin(self, key: FileKey, child: str, now: float) -> RelayFile:
        self._last_id -= 1
        file = self.files[key] = self._by_name[_name(key)] = RelayFile(self._last_id, key, child, self._pause, now)
        return file

    def _have(self, call: Call, file: RelayFile, receiver: str, now: float) -> list[Command]:
        file.grants.hear(receiver, call, now)
        news = {"m": 1} if file.grants.has_news(receiver, file.progress, now) else {}
        answer = Answer(call, Outcome(CellReturnCode.OK, headers=news))
        confirmed = self._serving.receive(call, now) if file.grid is not None else []
        return [
            answer,
            *(command for command in confirmed if not (isinstance(command, Answer) and command.call is call)),
        ]

    # -- chunks that go down -------------------------------------------------------------------------------------------

    def next_reads(self, is_free: Callable[[str], bool], now: float) -> list[Command]:
        """Serve whoever has room: at most one chunk for each child; call it again until there is nothing."""
        if commands := self._serve_ready(is_free, now):
            return commands
        while reads := self._serving.next_reads(is_free, now):
            for read in reads:
                commands += self._take(read, now) if isinstance(read, Read) else [read]
            if commands:
                return commands
        return []

    @property
    def waiting(self) -> bool:
        """Whether a chunk is to be served as soon as there is room."""
        return bool(self._ready) or self._serving.waiting

    def _take(self, read: Read, now: float) -> list[Command]:
        """The turn of a request."""
        self._serving.reading.pop(read.call, None)  # no worker does: it waits here until its lane has room
        file, index = self._by_name[read.rid], read.index
        assert index is not None
        if (chunk := self.store.find(file.key, index)) is not None:
            self._counters["relay_hits"] += 1
            return self._hand_over(file, index, read.call, chunk, now)
        return self._want(file, index, read.call, now)

    def _want(self, file: RelayFile, index: int, call: Call, now: float) -> list[Command]:
        is_first = file.want(index, call)
        self._counters["relay_misses" if is_first else "relay_hits"] += 1
        return self._fetch(file, now) if is_first else []

    def _serve_ready(self, is_free: Callable[[str], bool], now: float) -> list[Command]:
        """Those whose turn it was, where the lane has room now; one for each child."""
        commands: list[Command] = []
        served: set[str] = set()
        ready, self._ready = self._ready, []
        for file, index, call in ready:
            if call.revoked or self.files.get(file.key) is not file:
                continue
            if call.origin in served or not is_free(call.origin):
                self._ready.append((file, index, call))
                continue
            served.add(call.origin)
            chunk = self.store.find(file.key, index)
            if chunk is not None:
                commands += self._hand_over(file, index, call, chunk, now)
            else:  # it was pushed out meanwhile
                commands += self._want(file, index, call, now)
        return commands

    def _hand_over(self, file: RelayFile, index: int, call: Call, chunk: Outcome, now: float) -> list[Command]:
        assert file.grid is not None
        size = sum(map(len, chunk.bodies))
        if file.grid.is_packed(index, size) and not unpacks(call):
            return [_refused(call)]
        self._counters["relay_bytes"] += size
        return self._serving.read(call, _name(file.key), index, chunk, now)

    # -- what comes from above -----------------------------------------------------------------------------------------

    def answered(self, file: RelayFile, tag: object, outcome: Outcome, now: float) -> list[Command]:
        """A request of a file has ended."""
        if self.files.get(file.key) is not file:
            return []
        if isinstance(tag, int):
            return self._came(file, tag, outcome, now)
        if isinstance(tag, tuple):
            child, *names = tag
            return self._grant_answered(file, child, names, outcome, now)
        file.told(outcome, now)
        return []

    def _grant_answered(
        self, file: RelayFile, child: str, names: list[str], outcome: Outcome, now: float
    ) -> list[Command]:
        file.asking[child] -= 1
        granted: list[str] = []
        if outcome.code is CellReturnCode.OK and self._learn(file, outcome, now):
            said = outcome.headers.get("u")
            granted = [name for name in names if isinstance(said, list) and name in said]
        if not granted and not child:  # they had it: so it has ended, or changed, or its owner is gone
            return self._forget(file)
        held = file.grants.grant(granted)
        commands = [command for call in held for command in self._serving.receive(call, now)]
        commands += self._refuse(file, [name for name in names if name not in granted])
        return commands if len(file.grants) else [*commands, *self._forget(file)]

    def _refuse(self, file: RelayFile, receivers: list[str]) -> list[Command]:
        """The owner does not grant it to these."""
        if not receivers:
            return []
        refused = [*file.grants.deny(receivers), *file.refuse(receivers)]
        refused += [call for each, _, call in self._ready if each is file and receiver_of(call) in receivers]
        self._ready = [ready for ready in self._ready if ready[2] not in refused]
        commands: list[Command] = [_refused(call) for call in refused]
        for receiver in receivers:
            commands += self._serving.dismiss(_name(file.key), receiver)
        return commands

    def _learn(self, file: RelayFile, outcome: Outcome, now: float) -> bool:
        """The owner has said what the file is. Returns whether chunks of it can be kept."""
        grid, timeout = read_grid(outcome.headers), outcome.headers.get("t")
        _, _, fingerprint = file.key
        if grid is None or grid.fingerprint != fingerprint or LEAST_ROOM * (grid.chunk + OVERHEAD) > self.store.limit:
            return False
        if type(timeout) is int and timeout > 0:
            file.grants.pause = min(TOUCH, timeout / 1000 / TOUCHES)
        if file.grid is None:
            file.grid = grid
            name = _name(file.key)
            self._serving.new_transaction(name, KEPT, now)
            self._serving.add(name, name, grid.size, grid.chunk, grid.fingerprint, grid.name, None, now)
        return file.grid == grid

    def _came(self, file: RelayFile, index: int, outcome: Outcome, now: float) -> list[Command]:
        assert file.grid is not None
        self.store.release(file.grid.length(index))
        if not _is_chunk(outcome, file.grid, index):
            goes_on = file.failed(index, outcome, now)
            return [*([] if goes_on else self._forget(file)), *self._fetch_all(now)]
        before = self.store.evicted
        self.store.keep(file.key, index, outcome)
        self._counters["relay_evictions"] += self.store.evicted - before
        self._ready += [(file, index, call) for call in file.take(index)]
        return [*file.came(index, sum(map(len, outcome.bodies)), now), *self._fetch_all(now)]

    def _fetch(self, file: RelayFile, now: float) -> list[Command]:
        before = self.store.evicted
        commands = file.fetch(self._ways.cache_for(file.key[0]), self.store.reserve, self.store.limit // 2, now)
        self._counters["relay_evictions"] += self.store.evicted - before
        return commands

    def _fetch_all(self, now: float) -> list[Command]:
        """There may be room again."""
        return [command for file in self.files.values() if file.wanted for command in self._fetch(file, now)]

    # -- the rest ------------------------------------------------------------------------------------------------------

    def moved(self, child: str, instance: int, now: float) -> None:
        """More of a chunk that travels as a flow has arrived at a child."""
        self._serving.moved(child, instance, now)
        for file in self.files.values():
            file.grants.moved(child, instance, now)

    def close(self) -> list[Command]:
        """The cell stops."""
        return [command for file in list(self.files.values()) for command in self._forget(file)]

    def handle_timeout(self, now: float) -> list[Command]:
        """Ask again, and forget what nobody asks for."""
        commands: list[Command] = []
        for file in list(self.files.values()):
            if names := file.grants.due(now):
                self._counters["relay_grants"] += 1
                commands.append(file.ask_grant(names))
            again, said = file.is_due(now)
            commands += said
            if again:
                commands += self._fetch(file, now)
        for command in self._serving.handle_timeout(now):
            commands += self._forget(self._by_name[command.transaction]) if isinstance(command, Expired) else [command]
        return commands

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do."""
        times = [file.deadline for file in self.files.values()]
        times.append(self._serving.deadline)
        return min((at for at in times if at is not None), default=None)

    def _forget(self, file: RelayFile) -> list[Command]:
        """Keep nothing of a file; refuse what is asked of it."""
        name = _name(file.key)
        del self.files[file.key], self._by_name[name]
        self._serving.end(name)
        self.store.forget(file.key)
        for index in file.asked:
            assert file.grid is not None
            self.store.release(file.grid.length(index))
        refused = [call for calls in file.waiting.values() for call in calls] + file.grants.held
        refused += [call for each, _, call in self._ready if each is file]
        self._ready = [ready for ready in self._ready if ready[0] is not file]
        return [Unask(file), *map(_refused, refused), *self._serving.dismiss(name)]

    def __repr__(self) -> str:
        return f"<RelayCache {len(self.files)} files, {self.store!r}>"


def _key_of_call(call: Call) -> FileKey | None:
    """Which file a request is about; None when it does not say."""
    match call.headers:
        case {"o": str(owner), "r": str(rid), "f": str(fingerprint)} if max(len(rid), len(fingerprint)) <= MAX_NAME:
            return owner, rid, fingerprint
    return None


def _name(key: FileKey) -> str:
    """What the serving half calls a file; no two have the same."""
    owner, rid, fingerprint = key
    return f"{owner} {len(rid)} {rid} {fingerprint}"


def _name_of_call(call: Call) -> str:
    key = _key_of_call(call)
    return "" if key is None else _name(key)


def _is_chunk(outcome: Outcome, grid: Grid, index: int) -> bool:
    """Whether this may be the chunk. Whether it is the right one, its receivers find out."""
    headers = sum(len(name) + _weight(value) for name, value in outcome.headers.items()) + len(outcome.error)
    is_whole = grid.may_hold(index, sum(map(len, outcome.bodies)))
    return outcome.code is CellReturnCode.OK and is_whole and headers <= MAX_HEADERS


def _weight(value: object) -> int:
    """About how much is kept of a header."""
    if isinstance(value, str | bytes):
        return len(value)
    return 8 if value is None or isinstance(value, int | float) else MAX_HEADERS


def _refused(call: Call) -> Command:
    return Answer(call, Outcome(CellReturnCode.SERVICE_UNAVAILABLE, "not from this cache; ask the owner"))
