"""The verbs that move files: their arguments, and what their callbacks may be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.federation import LONG, Federation
from zmqfl import Cell
from zmqfl.cell.transfer_verbs import Received
from zmqfl.errors import ArgumentError, CellReturnCode, ClosedError, FqcnError, SourceError, TransferError


class Pair:
    """A server and a site, a file, and a folder."""

    def __init__(self, federation: Federation, base: Path) -> None:
        self.server = federation.start("server")
        self.site = federation.start("site-1", self.server)
        self.got = base / "got"
        self.got.mkdir()
        self.path = base / "model.pt"
        self.path.write_bytes(bytes(range(256)) * 10)


@pytest.fixture
def pair(federation: Federation, tmp_path: Path) -> Pair:
    return Pair(federation, tmp_path)


def check_same(got: Path | None, source: Path) -> None:
    assert got is not None
    assert got.read_bytes() == source.read_bytes()


# ----------------------------------------------------------------------------------------------------------- coroutines


def test_the_callbacks_of_consume_may_be_coroutines(pair: Pair) -> None:
    async def main() -> None:
        chunks: list[tuple[int, int]] = []
        received: asyncio.Queue[Received] = asyncio.Queue()

        async def chunk_taken(index: int, size: int) -> None:
            await asyncio.sleep(0)
            chunks.append((index, size))

        async def done(file: Received) -> str:
            await received.put(file)
            return "seen"

        pair.site.consume("models", pair.got, done=done, chunk_taken=chunk_taken)
        report = await pair.server.push_file(pair.path, "site-1", "models", chunk_size=1024)
        file = await asyncio.wait_for(received.get(), LONG)
        check_same(file.path, pair.path)
        assert chunks == [(0, 1024), (1, 1024), (2, 512)]
        assert report.targets["site-1"].reply == "seen"

    asyncio.run(main())


def test_what_a_coroutine_of_consume_raises_fails_the_push(pair: Pair) -> None:
    async def main() -> None:
        async def chunk_taken(index: int, size: int) -> None:
            raise OSError("no room in the freezer")

        pair.site.consume("models", pair.got, chunk_taken=chunk_taken)
        with pytest.raises(TransferError, match="no room in the freezer"):
            await pair.server.push_file(pair.path, "site-1", "models")
        assert list(pair.got.iterdir()) == []

    asyncio.run(main())


def test_the_callbacks_of_offer_may_be_coroutines(pair: Pair) -> None:
    async def main() -> None:
        served: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

        async def on_served(*args: Any) -> None:
            await served.put(args)

        with pair.server.offer(pair.path, on_served=on_served) as offer:
            check_same(await pair.site.pull(offer.rid, "server", pair.got), pair.path)
            assert await asyncio.wait_for(served.get(), LONG) == (offer.rid, "site-1", "success", "model.pt")

    asyncio.run(main())


def test_an_offer_that_expires_tells_a_coroutine(pair: Pair) -> None:
    async def main() -> None:
        expired: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

        async def on_expired(*args: Any) -> None:
            await expired.put(args)

        offer = pair.server.offer(pair.path, timeout=0.2, on_expired=on_expired)
        assert await asyncio.wait_for(expired.get(), LONG) == (offer.transaction.id, ["model.pt"])

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------------------ arguments

Verb = Callable[[Cell, Path], Any]
REFUSED: list[tuple[str, Verb, type[Exception], str]] = [
    ("no targets", lambda c, p: c.push_file(p, []), ArgumentError, "no targets"),
    ("a bad name", lambda c, p: c.push_file(p, "site 1"), FqcnError, "to"),
    ("no file", lambda c, p: c.push_file(p.parent / "none", "site-1"), SourceError, "none"),
    ("a folder", lambda c, p: c.push_file(p.parent, "site-1"), SourceError, "is a folder"),
    ("chunks of nothing", lambda c, p: c.push_file(p, "site-1", chunk_size=0), ArgumentError, "chunk_size"),
    ("a negative time-out", lambda c, p: c.push_file(p, "site-1", timeout=-1), ArgumentError, "timeout"),
    ("consume into no folder", lambda c, p: c.consume("t", p), ArgumentError, "not a folder"),
    ("pull into no folder", lambda c, p: c.pull("R", "server", p), ArgumentError, "not a folder"),
    ("pull from a bad name", lambda c, p: c.pull("R", "a b"), FqcnError, "owner"),
    ("offer no file", lambda c, p: c.offer(p.parent / "none"), SourceError, "none"),
]


@pytest.mark.parametrize(("verb", "error", "text"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_wrong_argument_is_refused_by_the_verb(pair: Pair, verb: Verb, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        verb(pair.server, pair.path)
    assert not pair.server.transfers()


def test_a_closed_cell_refuses_each_verb(pair: Pair) -> None:
    pair.site.close()
    for verb in (
        lambda: pair.site.push_file(pair.path, "server"),
        lambda: pair.site.offer(pair.path),
        lambda: pair.site.pull("R", "server"),
        lambda: pair.site.new_transaction(1.0),
    ):
        with pytest.raises(ClosedError):
            verb()


# --------------------------------------------------------------------------------------------------------- pull and end


def test_a_pull_without_a_folder_gives_the_bytes(pair: Pair) -> None:
    with pair.server.offer(b"small and quick", name="note") as offer:
        assert pair.site.pull(offer.rid, "server").result(LONG) == b"small and quick"


def test_a_withdrawn_offer_is_not_known(pair: Pair) -> None:
    offer = pair.server.offer(pair.path)
    offer.withdraw()
    offer.withdraw()
    with pytest.raises(TransferError, match="no such reference") as caught:
        pair.site.pull(offer.rid, "server", pair.got).result(LONG)
    assert caught.value.code is CellReturnCode.INVALID_REQUEST


def test_a_second_registration_replaces_the_first(pair: Pair, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    done = threading.Event()
    pair.site.consume("models", pair.got)
    pair.site.consume("models", other, done=lambda _: done.set())
    pair.server.push_file(pair.path, "site-1", "models").result(LONG)
    assert done.wait(LONG)
    assert [file.name for file in other.iterdir()] == ["model.pt"]
    assert list(pair.got.iterdir()) == []
