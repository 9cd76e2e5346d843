"""Files pushed and pulled, to one sink and to four, on loopback and over a slow link, beside the peers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.party import Party, Peer, SlowLink, sink_names
from tests.bench.processes import missing
from tests.bench.results import Bar, Figure, Result, Table, compare, ratio
from zmqfl.transport import keys

Rounds = dict[str, list[float]]

MIB = 1 << 20
FULL, QUICK, WARM = 1024, 64, 16
"""MiB of the file: of a full run, of a quick one, of the round before."""
MANY = 4
LINK = SlowLink(megabits=100, milliseconds=50)
LINK_FULL, LINK_QUICK = 200, 24
"""MiB over the slow link: long enough that the start does not count, and a look."""
SHARED_MEMORY = Path("/dev/shm")
KEYS = "keys"
FLARE = "FLARE"
PLAIN, CURVE, EIGHT = "zmqfl tcp", "zmqfl CURVE", "zmqfl tcp, window 8"
BARE, BARE_CURVE = "bare pyzmq tcp", "bare pyzmq CURVE"


@dataclass
class Contest:
    """One verb, all peers in turn, round after round."""

    verb: str
    """push or pull"""
    sinks: int
    link: SlowLink | None = None
    rates: Rounds = field(default_factory=dict)
    """MB/s at each sink, by name of peer and window."""
    memory: dict[str, list[float]] = field(default_factory=dict)
    """MiB above idle by name: of the source, and of the sink that took most."""

    def play(self, folder: Path, file: Path, warm: Path, count: int) -> None:
        """`count` rounds with `file`, and one before with `warm`."""
        folder.mkdir()
        peers = [peer for peer in _peers(self.verb, folder) if not missing(peer.environment, peer.needs)]
        if self.link is not None:
            peers = [peer for peer in peers if peer.name in (PLAIN, BARE, FLARE)]
        with ExitStack() as stack:
            parties = [stack.enter_context(Party(peer, self.sinks, folder / peer.name, self.link)) for peer in peers]
            turns = [(party, window) for party in parties for window in self._windows(party.peer)]
            for party, window in turns:
                self._move(party, window, warm)
                party.take(warm, compare=True)
            for number in range(count):
                for party, window in turns if number % 2 else reversed(turns):
                    took = self._move(party, window, file)
                    party.take(file)
                    rate = file.stat().st_size / took / 1e6
                    self.rates.setdefault(_name(party.peer, window), []).append(rate)
            for party, window in turns if self.link is None else []:
                with party.peak() as above:
                    self._move(party, window, file)
                party.take(file)
                self.memory[_name(party.peer, window)] = above

    def _windows(self, peer: Peer) -> tuple[int, ...]:
        return peer.windows if self.verb == "push" else (1,)

    def _move(self, party: Party, window: int, file: Path) -> float:
        return party.push(file, window) if self.verb == "push" else party.pull(file)

    @property
    def tables(self) -> list[Table]:
        """Rates, in the order of the peers."""
        order = [name for name in _names() if name in self.rates]
        rates = {name: self.rates[name] for name in order}
        if self.link is None:
            to = "to one sink" if self.sinks == 1 else f"to {self.sinks} sinks, rate of each"
            return [compare(f"{self.verb.capitalize()} {to}", "MB/s", rates, PLAIN)]
        shares = {name: [self.share(rate) for rate in values] for name, values in rates.items()}
        where = f"{self.link.megabits:g} Mbit/s, {self.link.milliseconds:g} ms there and back"
        return [compare(f"{self.verb.capitalize()} over {where}", "% of the link", shares, "")]

    def share(self, rate: float) -> float:
        """A rate in percent of the link's."""
        assert self.link is not None
        return 100 * rate * 8 / self.link.megabits

    def bar(self, text: str, name: str, times: float, against: str) -> list[Bar]:
        """That `name` is `times` as fast as a peer; nothing where one of them did not play."""
        if name not in self.rates or against not in self.rates:
            return []
        return [Bar(f"{text}: times {against}", times, ratio(self.rates[name], self.rates[against]))]


def run(quick: bool, size: int | None = None) -> Result:
    """Alternating rounds; the peers that do not play wait. `size`: MiB of the file."""
    size = size or (QUICK if quick else FULL)
    count = 3 if quick else 5
    across = LINK_QUICK if quick else LINK_FULL
    contests = {(verb, sinks): Contest(verb, sinks) for verb in ("push", "pull") for sinks in (1, MANY)}
    linked = {verb: Contest(verb, 1, LINK) for verb in ("push", "pull")}
    with _workplace(max((MANY + 1) * size, 2 * across) + WARM) as folder:
        file, warm = make_file(folder / "file", size), make_file(folder / "warm", WARM)
        for name in ("server", *sink_names(MANY)):
            keys.generate(name, folder / KEYS)
        for (verb, sinks), contest in contests.items():
            contest.play(folder / f"{verb}-{sinks}", file, warm, count)
        file, warm = make_file(folder / "file", across), make_file(folder / "warm", 1)
        for verb, contest in linked.items():
            contest.play(folder / f"{verb}-link", file, warm, 1)
        skipped = _skipped(folder)
    how = (
        f"A file of {size} MiB in memory, chunks of 1 MiB; source and sinks are a process each on one machine. "
        f"{count} rounds, the peers in turn within each, and a small one before whose content is compared. From the "
        "offer or the push until the last sink has the file under its name. Bare pyzmq reads, digests, checks, writes "
        "and renames as zmqfl does, with 8 requests in flight where it pulls. FLARE's push is its FileStreamer on a "
        f"Cell, in the place of a job. Over the slow link: {across} MiB, one round, since the link sets the pace."
    )
    tables = [table for contest in [*contests.values(), *linked.values()] for table in contest.tables]
    return Result(
        "transfers",
        "Files, pushed and pulled",
        how,
        [*tables, _memory_table(contests)],
        [*_bars(contests), *_link_bars(linked["pull"]), *_memory_bars(contests)],
        skipped,
    )


Contests = dict[tuple[str, int], Contest]


def _bars(contests: Contests) -> list[Bar]:
    push, push_many = contests["push", 1], contests["push", MANY]
    pull, pull_many = contests["pull", 1], contests["pull", MANY]
    many = f"to {MANY} sinks"
    return [
        *push.bar("push, lockstep", PLAIN, 4, FLARE),
        *push.bar("push, window 8", EIGHT, 6, FLARE),
        *push_many.bar(f"push {many}, lockstep", PLAIN, 6, FLARE),
        *pull.bar("pull", PLAIN, 6, FLARE),
        *pull_many.bar(f"pull {many}", PLAIN, 5, FLARE),
        *pull.bar("pull", PLAIN, 0.7, BARE),
        *pull_many.bar(f"pull {many}", PLAIN, 0.7, BARE),
        *pull.bar("pull, CURVE", CURVE, 0.7, BARE_CURVE),
        *pull_many.bar(f"pull {many}, CURVE", CURVE, 0.7, BARE_CURVE),
    ]


def _link_bars(contest: Contest) -> list[Bar]:
    text = f"pull over {LINK.milliseconds:g} ms and {LINK.megabits:g} Mbit/s"
    return [Bar(text, 90, contest.share(rate), " % of the link") for rate in contest.rates.get(PLAIN, [])]


def _memory_table(contests: Contests) -> Table:
    figures = [
        Figure(f"{name}, {end}", "MiB", [peak])
        for name, peaks in _peaks(contests).items()
        for end, peak in zip(("source", "sink"), peaks, strict=True)
    ]
    return Table("Most memory above idle, of all the transfers above", figures)


def _memory_bars(contests: Contests) -> list[Bar]:
    ours = [peaks for name, peaks in _peaks(contests).items() if name.startswith("zmqfl")]
    return [
        Bar(f"{end} of zmqfl while it moves, above idle", 64, max(peaks), " MiB", at_most=True)
        for end, peaks in zip(("source", "sink"), zip(*ours, strict=True), strict=False)
    ]


def _peaks(contests: Contests) -> dict[str, list[float]]:
    found: dict[str, list[list[float]]] = {}
    for contest in contests.values():
        for name in _names():
            if name in contest.memory:
                found.setdefault(f"{name.partition(',')[0]}, {contest.verb}", []).append(contest.memory[name])
    return {name: [max(ends) for ends in zip(*peaks, strict=True)] for name, peaks in sorted(found.items())}


def _peers(verb: str, folder: Path) -> list[Peer]:
    secrets = folder.parent / KEYS
    tcp = "tcp://127.0.0.1:0"
    bare = f"pyzmq_{verb}"
    return [
        Peer(PLAIN, "zmqfl_transfers", (tcp,)),
        Peer("zmqfl ipc", "zmqfl_transfers", (f"ipc://{folder}/run/source",)),
        Peer(CURVE, "zmqfl_transfers", (tcp, str(secrets))),
        Peer(BARE, bare, (tcp,)),
        Peer("bare pyzmq ipc", bare, (f"ipc://{folder}/bare",)),
        Peer(BARE_CURVE, bare, (tcp, "curve")),
        Peer(FLARE, f"flare_{verb}", environment=".venv-flare", needs="nvflare", windows=(1,)),
    ]


def _name(peer: Peer, window: int) -> str:
    return peer.name if window == 1 else f"{peer.name}, window {window}"


def _names() -> list[str]:
    return [_name(peer, window) for peer in _peers("push", Path()) for window in peer.windows]


def _skipped(folder: Path) -> list[str]:
    peers = _peers("pull", folder)
    return [f"{peer.name}: {why}" for peer in peers if (why := missing(peer.environment, peer.needs))]


def make_file(path: Path, size: int) -> Path:
    """A file of `size` MiB that nothing can compress."""
    with path.open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(MIB))
    return path


@contextmanager
def _workplace(size: int) -> Iterator[Path]:
    """A folder with room for `size` MiB: in memory if it can be."""
    with tempfile.TemporaryDirectory(dir=in_memory(size)) as folder:
        yield Path(folder)


def in_memory(size: int) -> Path | None:
    """Where files of `size` MiB fit into memory; None: nowhere."""
    has_room = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > size * MIB
    return SHARED_MEMORY if has_room else None
