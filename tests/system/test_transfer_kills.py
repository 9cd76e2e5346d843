"""Processes that are killed while files are pushed and pulled, each at a chunk. All that live end once, and say why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.system.federation import LONG, QUICK, Federation
from tests.system.transfer_ends import (
    CHUNK,
    CHUNKS,
    LOST,
    TIMEOUT,
    Ends,
    TransferProcess,
    check_failed,
    files_below,
    make_file,
    offer,
)
from tests.system.transfer_process import is_end
from zmqfl import Cell
from zmqfl.errors import CellReturnCode
from zmqfl.wire.messages import Conn, Packet

PATIENT = replace(QUICK, dead_after=20.0)
"""A restart fits well within `dead_after`."""
LAST = CHUNKS - 1
Moment = tuple[str, int]


def moments(*quick: Moment, soak: list[Moment]) -> list[Any]:
    """Kill points, of which `make test` takes the first ones only."""
    late = dict.fromkeys(soak, pytest.mark.soak)
    return [
        pytest.param(moment, marks=late.get(moment, ()), id=f"{moment[0]}-{moment[1]}") for moment in [*quick, *soak]
    ]


def at(moment: str, *indices: int) -> list[Moment]:
    return [(moment, index) for index in indices]


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return make_file(tmp_path / "model.bin")


# --------------------------------------------------------------------------------------------------------------- pushes


@pytest.mark.parametrize(
    "moment",
    moments(("produce", 20), ("acknowledged", 0), soak=at("produce", 0, 1, 7, LAST - 1, LAST, CHUNKS)),
)
def test_push_P11_the_owner_is_killed(federation: Federation, tmp_path: Path, content: bytes, moment: Moment) -> None:
    server = federation.start("server")
    site = federation.start("site-2", server, None)
    ends = [Ends(tmp_path / cell.fqcn).consume(cell) for cell in (server, site)]
    push = {"path": str(tmp_path / "model.bin"), "to": ["server", "site-2"], "chunk_size": CHUNK, "timeout": TIMEOUT}
    owner = TransferProcess(federation, "site-1", parent=server.url, push=push, die=moment)
    assert owner.was_killed
    for end in ends:
        end.wait()
    federation.close()
    for end in ends:
        end.check_nothing("site-1")


def lose_ends(cell: Cell) -> None:
    """Have `cell` pass on no END."""
    send = cell._reactor._send

    def sending(conn: Conn, packet: Packet, now: float) -> None:
        if not is_end(packet):
            send(conn, packet, now)

    cell._reactor._send = sending  # type: ignore[method-assign]


def test_the_owner_is_killed_when_one_target_has_committed(
    federation: Federation, tmp_path: Path, content: bytes
) -> None:
    server = federation.start("server")
    sites = [federation.start(f"site-{n}", server, None) for n in (2, 3)]
    ends = [Ends(tmp_path / cell.fqcn).consume(cell) for cell in (server, *sites)]
    names = [cell.fqcn for cell in (server, *sites)]
    push = {"path": str(tmp_path / "model.bin"), "to": names, "chunk_size": CHUNK, "timeout": TIMEOUT}
    lose_ends(server)  # only its own counts
    owner = TransferProcess(federation, "site-1", parent=server.url, push=push, die=("first_end", 0))
    assert owner.was_killed
    for end in ends:
        end.wait()
    federation.close()
    for end in ends:
        end.check_whole(content)


@pytest.mark.parametrize(
    "moment",
    moments(
        soak=[*at("taken", 0, 5, 13, 26, LAST), *at("before_commit", 0), *at("after_commit", 0)],
    ),
)
def test_the_only_target_is_killed(federation: Federation, tmp_path: Path, content: bytes, moment: Moment) -> None:
    server = federation.start("server")
    (tmp_path / "site-1").mkdir()
    site = TransferProcess(federation, "site-1", parent=server.url, consume=str(tmp_path / "site-1"), die=moment)
    push = server.push_file(tmp_path / "model.bin", "site-1", chunk_size=CHUNK, timeout=TIMEOUT)
    assert site.was_killed
    check_failed(push, "site-1")
    there = files_below(tmp_path / "site-1")
    assert there == (["model.bin"] if moment[0] == "after_commit" else ["model.bin.part"])


@pytest.mark.parametrize(
    "moment",
    moments(
        ("taken", LAST), ("before_commit", 0),
        soak=[*at("taken", 0, 9, 22), *at("after_commit", 0)],
    ),
)  # fmt: skip
def test_one_of_three_targets_is_killed(federation: Federation, tmp_path: Path, content: bytes, moment: Moment) -> None:
    server = federation.start("server")
    others = [federation.start(f"site-{n}", server, None) for n in (2, 3)]
    ends = [Ends(tmp_path / cell.fqcn).consume(cell) for cell in others]
    (tmp_path / "site-1").mkdir()
    site = TransferProcess(federation, "site-1", parent=server.url, consume=str(tmp_path / "site-1"), die=moment)
    targets = ["site-1", "site-2", "site-3"]
    push = server.push_file(tmp_path / "model.bin", targets, chunk_size=CHUNK, timeout=TIMEOUT)
    assert site.was_killed
    check_failed(push, "site-1")
    for end in ends:
        end.wait()
    federation.close()
    for end in ends:
        if moment[0] == "taken":
            end.check_nothing("site-1")
        else:
            end.check_whole(content)


def relayed(federation: Federation, moment: Moment) -> tuple[Cell, TransferProcess, Cell, Cell]:
    """server <- (relay <- relay.site-1), site-2; the relay dies at that moment."""
    server = federation.start("server")
    relay = TransferProcess(federation, "relay", parent=server.url, listen="tcp://127.0.0.1:*", die=moment)
    return server, relay, federation.start("relay.site-1", relay.url, None), federation.start("site-2", server, None)


@pytest.mark.parametrize("moment", moments(soak=at("round", 0, 11, LAST)))
def test_a_relay_is_killed_in_a_push(federation: Federation, tmp_path: Path, content: bytes, moment: Moment) -> None:
    server, relay, *sites = relayed(federation, moment)
    ends = [Ends(tmp_path / cell.fqcn).consume(cell) for cell in sites]
    push = server.push_file(tmp_path / "model.bin", ["relay.site-1", "site-2"], chunk_size=CHUNK, timeout=TIMEOUT)
    assert relay.was_killed
    check_failed(push, "relay.site-1")
    for end in ends:
        end.wait()
    federation.close()
    ends[0].check_nothing("server")  # for it, the owner is gone
    ends[1].check_nothing("relay.site-1")


@pytest.mark.parametrize("moment", moments(("round", 19), soak=[*at("round", 0, 6, LAST), *at("end", 0)]))
def test_a_relay_is_killed_and_restarted_in_a_push(
    federation: Federation, tmp_path: Path, content: bytes, moment: Moment
) -> None:
    federation.config = PATIENT
    server, relay, *sites = relayed(federation, moment)
    ends = [Ends(tmp_path / cell.fqcn).consume(cell) for cell in sites]
    push = server.push_file(tmp_path / "model.bin", ["relay.site-1", "site-2"], chunk_size=CHUNK, timeout=LONG)
    assert relay.was_killed
    TransferProcess(federation, "relay", parent=server.url, listen=relay.url)
    assert push.result(LONG).ok
    federation.close()
    for end in ends:
        end.check_whole(content)


# --------------------------------------------------------------------------------------------------------------- pulls


@pytest.mark.parametrize("moment", moments(("read", 10), soak=at("read", 0, 1, 25, LAST)))
def test_the_owner_of_a_pull_is_killed(federation: Federation, tmp_path: Path, content: bytes, moment: Moment) -> None:
    server = federation.start("server")
    site = federation.start("site-2", server, None)
    what = {"what": str(tmp_path / "model.bin"), "chunk_size": CHUNK}
    owner = TransferProcess(federation, "site-1", parent=server.url, offer=what, die=moment)
    rid = owner.rid
    folder = tmp_path / "there"
    folder.mkdir()
    pulls = [site.pull(rid, "site-1", folder, timeout=TIMEOUT), server.pull(rid, "site-1", timeout=TIMEOUT)]
    assert owner.was_killed
    for pull in pulls:
        check_failed(pull, "site-1")
    assert files_below(folder) == []


@pytest.mark.soak
def test_the_owner_of_a_pull_is_killed_when_the_receiver_has_all(
    federation: Federation, tmp_path: Path, content: bytes
) -> None:
    server = federation.start("server")
    what = {"what": str(tmp_path / "model.bin"), "chunk_size": CHUNK}
    owner = TransferProcess(federation, "site-1", parent=server.url, offer=what, die=("served", 0))
    assert server.pull(owner.rid, "site-1", timeout=TIMEOUT).result(LONG) == content
    assert owner.was_killed


@pytest.mark.parametrize(
    "moment",
    moments(
        ("marked", 12),
        soak=[*at("marked", 0, 1, 4, 24, 33, LAST), *at("before_rename", 0), *at("after_rename", 0)],
    ),
)
def test_pull_D07_a_receiver_is_killed_and_restarted(
    federation: Federation, tmp_path: Path, content: bytes, moment: Moment
) -> None:
    federation.config = PATIENT
    server = federation.start("server")
    folder = tmp_path / "there"
    folder.mkdir()
    rid = offer(server, tmp_path / "model.bin", chunk_size=CHUNK).rid
    pull = {"rid": rid, "owner": "server", "to": str(folder), "timeout": LONG}
    site = TransferProcess(federation, "site-1", parent=server.url, pull=pull, die=moment)
    assert site.was_killed
    was_renamed = moment[0] == "after_rename"
    assert files_below(folder) == (["model.bin"] if was_renamed else ["model.bin.part", "model.bin.part.map"])
    again = federation.start("site-1", server, None).pull(rid, "server", folder, timeout=LONG)
    path = again.result(LONG)
    assert path.read_bytes() == content
    assert files_below(folder) == (["model-1.bin", "model.bin"] if was_renamed else ["model.bin"])
    verified = {"marked": moment[1] + 1, "before_rename": CHUNKS, "after_rename": 0}[moment[0]]
    assert again.fetched <= (CHUNKS - verified) * CHUNK
    assert again.progress.done == len(content)


@pytest.mark.parametrize("moment", moments(soak=at("chunk", 0, 14, LAST)))
def test_a_relay_is_killed_in_a_pull(federation: Federation, tmp_path: Path, content: bytes, moment: Moment) -> None:
    server, relay, site, other = relayed(federation, moment)
    folder = tmp_path / "there"
    folder.mkdir()
    rid = offer(server, tmp_path / "model.bin", chunk_size=CHUNK).rid
    pull = site.pull(rid, "server", folder, timeout=TIMEOUT)
    assert relay.was_killed
    check_failed(pull, "server", {*LOST, CellReturnCode.TIMEOUT})
    assert files_below(folder) == []
    assert other.pull(rid, "server", timeout=TIMEOUT).result(LONG) == content


@pytest.mark.parametrize("moment", moments(("chunk", 8), soak=[*at("chunk", 0, 21, LAST), *at("get", 5, LAST)]))
def test_a_relay_is_killed_and_restarted_in_a_pull(
    federation: Federation, tmp_path: Path, content: bytes, moment: Moment
) -> None:
    federation.config = PATIENT
    server, relay, site, _ = relayed(federation, moment)
    folder = tmp_path / "there"
    folder.mkdir()
    rid = offer(server, tmp_path / "model.bin", chunk_size=CHUNK).rid
    pull = site.pull(rid, "server", folder, timeout=LONG)
    assert relay.was_killed
    TransferProcess(federation, "relay", parent=server.url, listen=relay.url)
    assert pull.result(LONG).read_bytes() == content
    assert files_below(folder) == ["model.bin"]
