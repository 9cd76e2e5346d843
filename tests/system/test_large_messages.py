"""A broadcast of 64 MiB to eight sites: what it costs the sender's memory, and that it is given back."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from tests.bench.memory import Peak, anonymous
from tests.system.federation import LONG, Federation, until

MIB = 1024 * 1024
SIZE = 64 * MIB
MOST = 64
"""MiB above idle that moving it may cost, however many receivers (design, section 4). A copy for each would be 512."""


@pytest.fixture
def federation() -> Iterator[Federation]:
    federation = Federation()
    yield federation
    federation.close()


@pytest.mark.parametrize("copy", [False, True])
def test_a_model_to_eight_sites_costs_its_sender_no_copies(federation: Federation, copy: bool) -> None:
    server = federation.start("server")
    names = [f"site-{n}" for n in range(8)]
    for name in names:
        federation.process(name, parent=server.url)
    model = np.random.default_rng(1).random(SIZE // 8)
    server.broadcast(names, "test", "sum", np.zeros(MIB), LONG).result(LONG)  # what is loaded at the first use
    idle = anonymous(os.getpid())
    with Peak([os.getpid()]) as peak:
        replies = server.broadcast(names, "test", "sum", model, 4 * LONG, copy=copy).result(4 * LONG)
    assert {reply.payload for reply in replies.values()} == {float(model.sum())}
    assert peak.highest[os.getpid()] - idle < MOST + copy * SIZE // MIB
    until(lambda: not server._references.open)
    until(lambda: anonymous(os.getpid()) < idle + MOST)  # the allocator keeps some of what was freed, not the snapshot
