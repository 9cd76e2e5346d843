"""Random writers and subscribers that come, go and die, and whether every item is accounted for.

An episode: a channel with some writers; readers with any policy, of which some read at once, some leave in the middle,
some begin to take only at the end, and one is a process that is killed. When the writers have closed, each reader that
is left has got what it was offered, less what was thinned out and dropped, exactly, in order.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from itertools import count
from typing import Any

from tests.system.federation import LONG, QUICK, ROOT, until
from zmqfl import Cell, ChannelReader, ChannelWriter, Policy
from zmqfl.protocol.channels.subscription import Subscription


class ReadingProcess:
    """A process of `tests.system.reading`."""

    def __init__(self, fqcn: str, parent: str, paced: bool = False, create: str = "", **subscribe: Any) -> None:
        settings = {
            "fqcn": fqcn, "parent": parent, "config": asdict(QUICK), "subscribe": subscribe, "paced": paced,
            **({"create": create} if create else {}),
        }  # fmt: skip
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.system.reading", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self.hear() == "ready"

    def hear(self) -> Any:
        assert self.popen.stdout is not None
        return json.loads(self.popen.stdout.readline())

    def say(self, line: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def report(self) -> dict[str, Any]:
        self.say("report")
        report: dict[str, Any] = self.hear()
        return report

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def close(self) -> None:
        self.popen.kill()
        self.popen.communicate()


class Subscriber:
    """A reader in a thread of its own."""

    def __init__(self, cell: Cell, name: str, chance: random.Random) -> None:
        self.policy = chance.choice(list(Policy))
        self.is_late = chance.random() < 0.4 and self.policy is not Policy.WAIT
        self.leaves_after = chance.randrange(200) if chance.random() < 0.3 and not self.is_late else None
        self.begin = threading.Event()
        self.numbers: dict[tuple[str, int], list[int]] = {}
        self.got = 0
        self.left: dict[str, int] | None = None
        self.error: BaseException | None = None
        options: dict[str, Any] = {
            "policy": self.policy, "items": chance.choice([None, 1, 10, 100]), "size": chance.choice([20_000, 1 << 20]),
            "every": chance.choice([1, 1, 1, 3]), "ahead": chance.choice([None, 0, 50_000]),
        }  # fmt: skip
        if self.policy is Policy.WAIT:
            options["size"] = 1 << 20
        self.about = f"{options} of {cell.fqcn}"
        self.reader: ChannelReader = cell.subscribe(name, **options).result(LONG)
        self.thread = threading.Thread(target=self._run, name=f"subscriber {self.about}")
        self.thread.start()

    def _run(self) -> None:
        try:
            if self.is_late:
                assert self.begin.wait(LONG)
            for item in self.reader:
                self.numbers.setdefault((item.writer, item.place), []).append(item.number)
                self.got += 1
                if self.got == self.leaves_after:
                    self.left = self.reader.close().result(LONG)
                    return
        except BaseException as error:  # noqa: BLE001  told by `check`
            self.error = error

    def check(self, offered: int | None) -> None:
        """Everything is accounted for."""
        self.thread.join(LONG)
        assert not self.thread.is_alive(), f"hangs: {self.about}"
        assert self.error is None, f"{self.about}: {self.error!r}"
        for numbers in self.numbers.values():
            assert numbers == sorted(set(numbers)), f"order: {self.about}"
        if self.left is not None:
            left = self.left
            assert left["offered"] == left["decimated"] + left["dropped"] + left["delivered"] + left["queued"]
            assert left["queued"] == 0
            return
        counts = self.reader.statistics()
        assert counts.received == self.got
        assert offered == counts.decimated + counts.dropped + self.got, f"{self.about}: {offered} offered, {counts}"


class Campaign:
    """Episodes at one broker. `cells`: those that write and read; `broker`: where the channels are."""

    def __init__(self, broker: Cell, cells: list[Cell], seed: int) -> None:
        self.broker = broker
        self.cells = cells
        self.chance = random.Random(seed)
        self.items = self.subscribers = 0
        self._numbers = count(1)

    def episode(self, with_process: bool) -> None:
        """One channel, from its beginning to its end."""
        chance, name = self.chance, f"c{next(self._numbers)}"
        owner = chance.choice(self.cells)
        channel = owner.create_channel(name, self.broker.fqcn, single=False).result(LONG)
        subscribers: list[Subscriber] = []
        lock = threading.Lock()

        def subscribe() -> None:
            subscriber = Subscriber(chance.choice(self.cells), name, chance)
            with lock:
                subscribers.append(subscriber)

        for _ in range(chance.randint(1, 4)):
            subscribe()
        victim = f"victim-{name}"
        killed = ReadingProcess(victim, self.broker.url, name=name, policy="wait", items=5) if with_process else None
        writers = [chance.choice(self.cells).write_channel(name).result(LONG) for _ in range(chance.randint(1, 3))]
        terms = [(chance.randint(1, 1500), chance.choice([10, 1000, 30_000])) for _ in writers]
        threads = [
            threading.Thread(target=self._write, args=(writer, *each))
            for writer, each in zip(writers, terms, strict=True)
        ]
        for thread in threads:
            thread.start()
        for _ in range(chance.randint(0, 3)):
            subscribe()
        if killed is not None:
            killed.close()
        for thread in threads:
            thread.join(2 * LONG)
            assert not thread.is_alive(), "a writer hangs"
        for row in channel.info().result(LONG)["of_readers"]:
            assert row["offered"] == row["decimated"] + row["dropped"] + row["delivered"] + row["queued"], row
        offered = self._offered()
        for subscriber in subscribers:
            subscriber.begin.set()
        channel.delete().result(LONG)
        for subscriber in subscribers:
            subscriber.check(offered.get((subscriber.reader._edges.fqcn, subscriber.reader.place)))
        self.subscribers += len(subscribers)
        until(lambda: not self.broker._node.channels.broker.channels, "a channel does not end")

    def _offered(self) -> dict[tuple[str, int], int]:
        """Offered, by cell and place: the broker's own books, as the rows of one cell cannot be told apart."""
        return {
            (bond.peer, place): each.buffer.offered
            for bond in list(self.broker._node.channels.broker.bonds.values())
            for place, each in list(bond.places.items())
            if isinstance(each, Subscription)
        }

    def _write(self, writer: ChannelWriter, number: int, size: int) -> None:
        item = bytes(size)
        for _ in range(number):
            writer.put(item, confirm=False).result(LONG)
        writer.close().result(2 * LONG)
        self.items += number
