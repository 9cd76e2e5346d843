"""Requests and answers of peers that lie, on the channels by which files are moved: whatever they say, cells go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, product
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from tests.system.federation import LONG, Federation, counter, until
from tests.system.transfer_ends import CHUNK, Asker, Ends, answering, files_below, make_file, offer
from zmqfl import Cell
from zmqfl.blobs.digest import digest
from zmqfl.errors import BlobError, CellReturnCode, TransferError
from zmqfl.protocol import push_receiver
from zmqfl.protocol.commands import Outcome
from zmqfl.wire import payload
from zmqfl.wire.messages import Buffer

SOAK = pytest.mark.soak
MISSING = object()
VALUES: list[Any] = [
    MISSING, None, True, -1, 1 << 63, nan, "x", "x" * 100_000, b"\xff" * 16, [], [[1], {"a": []}, -1, "x,y", ""], {},
    {"a": {"b": [{}]}}, "ok",
]  # fmt: skip
MORE_VALUES: list[Any] = [
    False, 0, 1, 1 << 31, (1 << 64) - 1, -(1 << 63), 0.5, inf, -inf, "", "\0", "a,b", "..", "é", b"", [[]], [{}],
    ["x" * 5000], [str(number) for number in range(5000)], {"last": 1}, "committed",
]  # fmt: skip
ALL_VALUES = VALUES + MORE_VALUES
PUSH, PULL = "zmqfl.push", "zmqfl.pull"
CONTEXT = tuple(payload.encode({"__file_name__": "x", "__file_size__": 5}))
DATA = (b"12345",)
GOOD = {"d": digest(DATA[0]), "last": 1}
numbers = count(1 << 40)
"""Of streams; far from those that the cell itself uses."""


@pytest.fixture
def server(federation: Federation) -> Cell:
    return federation.start("server")


@contextmanager
def unharmed(federation: Federation, server: Cell, site: Cell, tmp_path: Path) -> Iterator[None]:
    """Afterwards both go on, and move files as ever."""
    yield
    path = tmp_path / "after.bin"
    content = make_file(path)
    for owner, other in ((server, site), (site, server)):
        end = Ends(tmp_path / f"after-{other.fqcn}").consume(other, topic="after")
        assert owner.push_file(path, other.fqcn, "after", chunk_size=CHUNK, timeout=LONG).result(LONG).ok
        end.check_whole(content)
        assert other.pull(offer(owner, path, chunk_size=CHUNK).rid, owner.fqcn).result(LONG) == content
        assert counter(owner, "bugs") == 0
        assert counter(owner, "malformed") == 0
        assert not owner._node.transfers.pushes
        assert not owner._node.transfers.pulls
        assert not owner._node.transfers.streams


# ----------------------------------------------------------------------------------------------------------- requests


def requests(rid: str) -> Iterator[tuple[str, str, dict[str, Any], set[str]]]:
    """(channel, topic, headers that are right, those without which it cannot be right)."""
    yield PUSH, "open", {"t": 1, "c": "files", "o": "files", "idle": 2000, "all": ["site-1"], "w": 1}, {"c", "o"}
    yield PUSH, "round", {"t": 1, "i": 0, "h": GOOD}, {"t", "i", "h"}
    yield PUSH, "last", {"t": 1, "n": 1}, {"t"}
    yield PUSH, "end", {"t": 1, "rc": "abort_run", "why": "", "who": ""}, set()
    yield PUSH, "end", {"t": 1, "rc": "ok", "n": 1}, set()
    yield PUSH, "alive", {"t": 1, "n": 1}, {"t", "n"}
    yield PUSH, "state", {"from": "server", "n": 1, "t": 1}, set()
    yield PUSH, "nothing", {"t": 1}, {"t"}
    yield PULL, "open", {"r": rid}, {"r"}
    yield PULL, "get", {"r": rid, "p": 1, "i": 0, "w": [0]}, {"r", "i"}
    yield PULL, "have", {"r": rid, "p": 1, "w": [0]}, {"r"}
    yield PULL, "done", {"r": rid, "p": 1, "s": "success"}, {"r"}
    yield PULL, "nothing", {"r": rid}, {"r"}


def with_value(headers: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    changed = {**headers, name: value}
    if value is MISSING:
        del changed[name]
    return changed


@pytest.mark.parametrize(
    ("to_root", "values"),
    [(True, VALUES), pytest.param(True, ALL_VALUES, marks=SOAK), pytest.param(False, ALL_VALUES, marks=SOAK)],
    ids=["root", "root-more", "site-more"],
)
def test_each_wrong_header_of_each_request_is_answered(
    federation: Federation, server: Cell, tmp_path: Path, to_root: bool, values: list[Any]
) -> None:
    site = federation.start("site-1", server, None)
    target, origin = (server, site) if to_root else (site, server)
    path = tmp_path / "offered.bin"
    make_file(path, 3 * CHUNK)
    end = Ends(tmp_path / "in")
    target.consume(to=end.folder, done=end.done)
    asker = Asker(origin)
    rid = offer(target, path, chunk_size=CHUNK).rid
    with unharmed(federation, server, site, tmp_path):
        for channel, topic, headers, needed in requests(rid):
            for name, value in product(headers, values):
                is_right = value == headers[name] and type(value) is type(headers[name])
                if is_right or (topic, name, value) == ("round", "i", 1):  # a gap is waited for
                    continue
                said = say(asker, target.fqcn, channel, topic, with_value(headers, name, value))
                where = f"{channel}:{topic} {name}={value!r:.60}: {said}"
                assert isinstance(said.code, CellReturnCode), where
                if name in needed and value not in (0, False) and not (channel == PULL and name == "i" and value == 1):
                    assert said.code is not CellReturnCode.OK, where
    assert {file for file in files_below(end.folder) if not file.startswith("x")} == set()


def say(asker: Asker, target: str, channel: str, topic: str, headers: dict[str, Any]) -> Outcome:
    """One request on its own; where it is of a stream, the stream is opened before and ended after it."""
    if channel == PULL or topic in ("alive", "state", "nothing"):
        return asker.ask(target, channel, topic, headers)
    number = next(numbers)
    if type(headers.get("t")) is int and headers["t"] == 1:
        headers["t"] = number
    if topic == "open":
        said = asker.ask(target, PUSH, "open", headers, 1, CONTEXT)
        number = headers["t"] if type(headers.get("t")) is int else -1
    else:
        assert asker.ask(target, PUSH, "open", opening(number), 1, CONTEXT).code is CellReturnCode.OK
        said = asker.ask(target, PUSH, topic, headers, 2, DATA if topic == "round" else ())
    asker.ask(target, PUSH, "end", {"t": number, "rc": "abort_run", "why": "", "who": ""})
    return said


def opening(number: int) -> dict[str, Any]:
    return {"t": number, "c": "files", "o": "files", "idle": 60_000, "all": [], "w": 8}


CONTEXTS: dict[str, tuple[int, tuple[Buffer, ...]]] = {
    "none": (1, ()),
    "empty": (1, (b"",)),
    "garbage": (1, (b"\xc1\xff" * 100,)),
    "no dict": (1, tuple(payload.encode([1, 2]))),
    "wrong codec": (2, CONTEXT),
    "unknown codec": (1 << 31, CONTEXT),
    "too many": (1, CONTEXT + 61 * (b"",)),
    "most": (1, 64 * (b"x",)),
}
CHUNKS_OF_DATA: dict[str, tuple[int, tuple[Buffer, ...]]] = {
    "none": (2, ()),
    "empty": (2, (b"",)),
    "others": (2, (b"54321",)),
    "more": (2, (b"12345", b"6")),
    "wrong codec": (1, DATA),
    "unknown codec": (1 << 31, DATA),
    "most": (2, 64 * (b"x",)),
}


def test_wrong_codecs_and_bodies_are_answered(federation: Federation, server: Cell, tmp_path: Path) -> None:
    site = federation.start("site-1", server, None)
    end = Ends(tmp_path / "in").consume(site)
    asker = Asker(server)
    with unharmed(federation, server, site, tmp_path):
        for codec, bodies in CONTEXTS.values():
            said = asker.ask("site-1", PUSH, "open", opening(next(numbers)), codec, bodies)
            assert said.code is not CellReturnCode.OK
        assert end.received == []
        for codec, bodies in CHUNKS_OF_DATA.values():
            number = next(numbers)
            assert asker.ask("site-1", PUSH, "open", opening(number), 1, CONTEXT).code is CellReturnCode.OK
            said = asker.ask("site-1", PUSH, "round", {"t": number, "i": 0, "h": GOOD}, codec, bodies)
            assert said.code is CellReturnCode.INVALID_REQUEST
            until(lambda: not site._node.transfers.streams)
        for channel, topic in product((PUSH, PULL), ("end", "alive", "state", "get", "done")):
            asker.ask("site-1", channel, topic, {}, 1 << 31, 64 * (b"x",))
    assert [received.path for received in end.received] == len(CHUNKS_OF_DATA) * [None]
    assert files_below(end.folder) == []


def test_targets_that_a_hostile_owner_names_are_asked_and_not_waited_for(
    federation: Federation, server: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that has all asks those that the owner has named, when the owner goes away."""
    monkeypatch.setattr(push_receiver, "IN_DOUBT", 0.1)
    site = federation.start("site-1", server, None)
    end = Ends(tmp_path / "in").consume(site)
    names = ["", "x" * 60_000, "a,b", "..", "\0", "é", "site-1", "server", "site-9", *map(str, range(1000))]
    owner = federation.start("site-2", server, None)
    asker = Asker(owner)
    headers = {**opening(1), "all": names}
    assert asker.ask("site-1", PUSH, "open", headers, 1, CONTEXT).code is CellReturnCode.OK
    assert asker.ask("site-1", PUSH, "round", {"t": 1, "i": 0, "h": GOOD}, 2, DATA).headers["go"] == 0
    with unharmed(federation, server, site, tmp_path):
        site._submit(lambda now: site._node.transfer(lambda t: t.owner_lost(lambda name: True, "gone", now), now))
        end.check_nothing("site-2")


# ------------------------------------------------------------------------------------------------------------ answers


def restore(cell: Cell) -> None:
    del cell._node.transfers.receive


GRID: dict[str, Any] = {"n": 3 * CHUNK, "k": CHUNK, "f": "f", "name": "x"}
SOME = [value for value in ALL_VALUES if value is not MISSING]


@pytest.mark.parametrize("name", GRID)
def test_an_owner_that_lies_about_its_file(federation: Federation, server: Cell, tmp_path: Path, name: str) -> None:
    site = federation.start("site-1", server, None)
    folder = tmp_path / "in"
    folder.mkdir()
    garbage = Outcome(CellReturnCode.OK, headers={"d": b"\0" * 16}, bodies=(bytes(CHUNK),))
    with unharmed(federation, server, site, tmp_path):
        for value in [*ALL_VALUES, *([{**GRID, "n": 1 << 32, "k": 1}] if name == "n" else [])]:
            headers = value if isinstance(value, dict) and "n" in value else with_value(GRID, name, value)
            grid = Outcome(CellReturnCode.OK, headers=headers)
            answering(server, lambda call, grid=grid: grid if call.topic == "open" else garbage)  # type: ignore[misc]
            for to in (folder, None):
                if to is None and value == 1 << 31:
                    continue  # it is asked for, and would be allocated
                pull = site.pull("R", "server", to, timeout=LONG)
                error = pull.exception(LONG)
                assert isinstance(error, TransferError | BlobError) or (name, value) == ("n", 0), (value, error)
            assert {file for file in files_below(folder) if file not in ("x", "x-1")} == set()
            restore(server)


@pytest.mark.parametrize(
    "bodies", [(), (b"",), (bytes(CHUNK + 1),), (bytes(CHUNK), b"x"), 64 * (b"x",), (bytes(CHUNK),)]
)
def test_an_owner_that_gives_wrong_chunks(
    federation: Federation, server: Cell, tmp_path: Path, bodies: tuple[bytes, ...]
) -> None:
    site = federation.start("site-1", server, None)
    folder = tmp_path / "in"
    folder.mkdir()
    grid = Outcome(CellReturnCode.OK, headers=GRID)
    with unharmed(federation, server, site, tmp_path):
        for value in (MISSING, None, 1, "x", b"", b"\0" * 16, b"\0" * 17, [[]]):
            chunk = Outcome(CellReturnCode.OK, "", 1 << 31, with_value({"d": b""}, "d", value), bodies)
            answering(server, lambda call, chunk=chunk: grid if call.topic == "open" else chunk)  # type: ignore[misc]
            error = site.pull("R", "server", folder, timeout=LONG).exception(LONG)
            assert isinstance(error, TransferError), error
            assert error.culprit == "server"
            assert files_below(folder) == []
            restore(server)


@pytest.mark.parametrize("topic", ["open", "round", "end"])
def test_a_target_that_lies(federation: Federation, server: Cell, tmp_path: Path, topic: str) -> None:
    site, other = federation.start("site-1", server, None), federation.start("site-2", server, None)
    path = tmp_path / "model.bin"
    make_file(path, 3 * CHUNK)
    end = Ends(tmp_path / "in").consume(other)
    headers: list[dict[str, Any]] = [{}, {"go": [{}]}, {"go": 0}, {"end": "x", "not_ready": False}]
    lies = [
        Outcome(code, "é" * 5000, codec, each, bodies)
        for code in (CellReturnCode.OK, CellReturnCode.MSG_TOO_BIG)
        for codec, bodies in [*CONTEXTS.values(), *CHUNKS_OF_DATA.values()]
        for each in headers
    ]
    honest = {
        "open": Outcome(CellReturnCode.OK),
        "round": Outcome(CellReturnCode.OK, headers={"go": 0}),
        "end": Outcome(CellReturnCode.OK),
    }
    with unharmed(federation, server, site, tmp_path):
        for number, lie in enumerate(lies, start=1):
            answering(site, lambda call, lie=lie: lie if call.topic == topic else honest.get(call.topic))  # type: ignore[misc]
            error = server.push_file(path, ["site-1", "site-2"], chunk_size=CHUNK, timeout=LONG).exception(LONG)
            assert error is None or isinstance(error, TransferError), (lie, error)
            assert error is None or error.culprit == "site-1", (lie, error)
            if topic != "open":
                end.wait(number)
            restore(site)
    assert ".part" not in "".join(files_below(end.folder))


@pytest.mark.parametrize("topic", ["alive", "state"])
def test_one_who_is_asked_for_the_owner_lies(
    federation: Federation, server: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    """The owner itself, or another target, asked for what became of the push."""
    monkeypatch.setattr(push_receiver, "IN_DOUBT", 0.01)
    monkeypatch.setattr(push_receiver, "ASK_AGAIN", 0.01)
    site, owner = federation.start("site-1", server, None), federation.start("site-2", server, None)
    end = Ends(tmp_path / "in").consume(site)
    asker = Asker(owner)
    liar = owner if topic == "alive" else server
    with unharmed(federation, server, site, tmp_path):
        for number, value in enumerate(SOME, start=1):
            headers = with_value({"s": "", "go": value}, "s", value)
            lie = Outcome(
                CellReturnCode.INVALID_SESSION if topic == "alive" else CellReturnCode.OK, "", 9, headers, DATA
            )
            answering(liar, lambda call, lie=lie: lie if call.topic == topic else None)  # type: ignore[misc]
            opened = {**opening(number), "idle": 3000, "all": ["site-1", "server"] if topic == "state" else []}
            assert asker.ask("site-1", PUSH, "open", opened, 1, CONTEXT).code is CellReturnCode.OK
            assert asker.ask("site-1", PUSH, "round", {"t": number, "i": 0, "h": GOOD}, 2, DATA).headers["go"] == 0
            site._submit(lambda now: site._node.transfer(lambda t: t.owner_lost(_is_site_2, "gone", now), now))
            assert (end.wait(number).path is not None) == (topic == "state" and value == "committed")
            restore(liar)


def _is_site_2(name: str) -> bool:
    return name == "site-2"
