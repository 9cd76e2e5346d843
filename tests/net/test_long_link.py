"""A link that is fast and long, made by a proxy on loopback: what is under way must fill it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.net.delay import DelayProxy
from tests.system.federation import LONG, Federation
from tests.system.transfer_ends import make_file
from zmqfl import Cell
from zmqfl.config import KIB, MIB
from zmqfl.protocol.commands import Command, Outcome
from zmqfl.protocol.pull_receiver import MOST_WINDOW, PullReceiver

DELAY, RATE = 0.025, 100_000_000
"""Seconds each way, and bits per second: 610 KiB fill the round trip."""
FILLS = int(2 * DELAY * RATE / 8)
SIZE, CHUNK = 16 * MIB, 256 * KIB


class Ends(NamedTuple):
    server: Cell
    site: Cell


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A server, and a site far away."""
    federation = Federation()
    server = federation.start("server")
    with DelayProxy(server.url) as proxy:
        proxy.up.delay = proxy.down.delay = DELAY
        proxy.up.rate = proxy.down.rate = RATE
        yield Ends(server, federation.start("site-1", proxy.url, None))
        federation.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that pulls have asked for and not got: after each chunk that has come, but for the last ones."""
    seen: list[int] = []
    answered = PullReceiver.answered

    def counting(pull: PullReceiver, tag: object, target: str, outcome: Outcome, now: float) -> list[Command]:
        commands = answered(pull, tag, target, outcome, now)
        if isinstance(tag, int) and pull._missing:
            seen.append(len(pull._asked) * pull.chunk)
        return commands

    monkeypatch.setattr(PullReceiver, "answered", counting)
    return seen


def test_the_window_of_a_pull_fills_a_long_link(ends: Ends, asked: list[int], tmp_path: Path) -> None:
    content = make_file(tmp_path / "file", SIZE)
    offer = ends.server.offer(tmp_path / "file", chunk_size=CHUNK)
    handle = ends.site.pull(offer.rid, "server")
    assert handle.result(LONG) == content
    assert handle.fetched == SIZE
    assert len(asked) >= SIZE // CHUNK - MOST_WINDOW
    assert min(asked) >= FILLS
