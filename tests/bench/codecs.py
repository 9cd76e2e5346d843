"""What the codecs make of what federations move: in memory, and on their way over loopback and over a slow link."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import closing
from time import perf_counter
from typing import Any

import numpy as np

from tests.bench.party import SlowLink
from tests.bench.processes import Process
from tests.bench.results import Figure, Result, Table, compare
from zmqfl.wire.compression import CodecName, compress, decompress

MIB = 1 << 20
CHUNK = MIB
IN_MEMORY, LOOPBACK, LINKED = 32, 96, 64
"""MiB of each kind: in memory, over loopback, over the link."""
QUICK = 8
LINK = SlowLink(megabits=100, milliseconds=50)
CODECS: tuple[CodecName, ...] = ("lz4", "zstd")
CHOICES = ("none", *CODECS, "auto")
SPARSE = 0.01
"""Part of a delta that is not zero."""
WORDS = 4000


def weights(size: int) -> Any:
    """float32, as a trained layer has them: small, around zero."""
    return np.random.default_rng(1).normal(0, 0.02, size // 4).astype(np.float32)


def deltas(size: int) -> Any:
    """float32, nearly all of them zero."""
    chance = np.random.default_rng(2)
    count = size // 4
    values = np.zeros(count, np.float32)
    where = chance.choice(count, int(count * SPARSE), replace=False)
    values[where] = chance.normal(0, 0.001, len(where)).astype(np.float32)
    return values


def text(size: int) -> Any:
    """Words of a language that has a few thousand, the first ones often; as uint8."""
    chance = random.Random(3)
    letters = "etaoinshrdlcumwfgypbvk"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(WORDS)]
    often = [1 / (number + 1) for number in range(WORDS)]
    line = " ".join(chance.choices(words, often, k=size // 3)).encode()
    return np.frombuffer(line[:size].ljust(size), np.uint8)


KINDS: dict[str, Callable[[int], Any]] = {"float32 weights": weights, "sparse deltas": deltas, "text": text}


def run(quick: bool) -> Result:
    """In memory in this process, on the way between two others."""
    count = 1 if quick else 3
    tables = []
    for kind, make in KINDS.items():
        tables.append(_in_memory(kind, make((QUICK if quick else IN_MEMORY) * MIB), count))
    for link in (None, LINK):
        size = QUICK if quick else LOOPBACK if link is None else LINKED
        tables += _on_the_way(link, size, count if link is None else 1)
    how = (
        f"In memory: chunks of 1 MiB, {IN_MEMORY} MiB of each kind, one thread. On the way: `push_object`, window 8, "
        f"of an array of {LOOPBACK} MiB over loopback ({count} rounds, the codecs in turn), and of {LINKED} MiB over "
        f"{LINK.megabits:g} Mbit/s and {LINK.milliseconds:g} ms, one round; MB/s are plain bytes that have arrived. "
        "blosc2 was imported before; `auto` never does where the rest takes less than a few seconds."
    )
    return Result("codecs", "Codecs", how, tables)


def _in_memory(kind: str, array: Any, count: int) -> Table:
    data, item = memoryview(array.view(np.uint8)), array.itemsize
    chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    figures = []
    for codec in CODECS:
        compress(chunks[0], codec, item)
        ratios, packing, unpacking = [], [], []
        for _ in range(count):
            start = perf_counter()
            packed = [compress(chunk, codec, item) for chunk in chunks]
            middle = perf_counter()
            plain = [decompress(each, len(chunk)) for each, chunk in zip(packed, chunks, strict=True)]
            end = perf_counter()
            if b"".join(plain) != data:
                raise RuntimeError(f"{codec} gave other bytes back")
            ratios.append(len(data) / sum(map(len, packed)))
            packing.append(len(data) / (middle - start) / 1e6)
            unpacking.append(len(data) / (end - middle) / 1e6)
        figures += [
            Figure(f"{codec}, ratio", "plain : packed", ratios),
            Figure(f"{codec}, packing", "MB/s", packing),
            Figure(f"{codec}, unpacking", "MB/s", unpacking),
        ]
    return Table(f"{kind[0].upper()}{kind[1:]}, in memory", figures)


def _on_the_way(link: SlowLink | None, size: int, count: int) -> list[Table]:
    rates: dict[str, dict[str, list[float]]] = {kind: {codec: [] for codec in CHOICES} for kind in KINDS}
    module = "tests.bench.peers.zmqfl_codecs"
    with (
        closing(Process(module, "source", "tcp://127.0.0.1:0", str(size))) as source,
        closing(_Link(link, source.ready)) as way,
        closing(Process(module, "sink", "site-1", json.dumps(way.address), "none")),
    ):
        for kind in KINDS:  # the first packed chunk of a process imports blosc2
            source.ask(["push", kind, "zstd"])
        for _ in range(count):
            for kind, by_codec in rates.items():
                for codec, found in by_codec.items():
                    found.append(size * MIB / source.ask(["push", kind, codec]) / 1e6)
    where = "loopback" if link is None else f"{link.megabits:g} Mbit/s, {link.milliseconds:g} ms there and back"
    return [
        compare(f"{kind[0].upper()}{kind[1:]} over {where}", "MB/s", found, "none") for kind, found in rates.items()
    ]


class _Link:
    """The address of a source, over a slow link or as it is."""

    def __init__(self, link: SlowLink | None, address: list[Any]) -> None:
        self._process: Process | None = None
        self.address = address
        if link is not None:
            port = address[0].rpartition(":")[2]
            self._process = Process("tests.bench.slow_link", port, str(link.megabits), str(link.milliseconds))
            self.address = [f"tcp://127.0.0.1:{self._process.ready}", *address[1:]]

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
