"""Twins at their owner: what counts for a file, and for whom. Over real sockets: `test_sealed_pulls`."""

from __future__ import annotations

from typing import Any, cast

import pytest

from zmqfl import Message
from zmqfl.blobs.chunk_seal import proof_of
from zmqfl.blobs.source import BufferSource
from zmqfl.cell.callbacks import callback
from zmqfl.cell.filters import Filters
from zmqfl.cell.message import MessageHeaderKey
from zmqfl.cell.offering import Offering, Transaction
from zmqfl.cell.sealed_offers import SealedOffers, SealedTwin, most_proved
from zmqfl.config import CellConfig
from zmqfl.errors import AuthenticationError, CellReturnCode, InvalidRequest, RequestFailed
from zmqfl.protocol.node import Node

CONTENT = bytes(range(250))
CHUNK = 100
PROOFS = b"".join(proof_of(CONTENT[start : start + CHUNK]) for start in range(0, 250, CHUNK))


class Now:
    """Workers that do it at once."""

    def submit(self, job: Any, size: int, refused: Any) -> bool:
        job()
        return True


class Owner:
    """A cell without a reactor: what is submitted is done at once."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.opened: list[Any] = []
        self.now = 0.0
        self.node = Node(
            "server", 1, has_parent=False, config=CellConfig(), sessions=lambda: 1, wall_ms=0, now=0.0
        )  # fmt: skip
        workers = cast(Any, Now())
        self.offering = Offering(self.node, workers, workers, Filters(), self.submit, lambda: self.now)
        self.offers = SealedOffers(self.node, self.offering, self.submit)

    def submit(self, act: Any) -> None:
        act(self.now)

    def offer(self, receivers: list[str] | None = None, timeout: float = 10.0) -> tuple[Transaction, str]:
        transaction = self.offering.new_transaction(timeout, callback(lambda *each: self.told.append(each)))
        source = BufferSource("model.pt", CONTENT)
        return transaction, transaction.add(
            source, CHUNK, receivers, callback(lambda *each: self.told.append(each)),
            on_opened=lambda *each: self.opened.append(each),
        )  # fmt: skip

    def open(self, rid: str, receiver: str = "site-1") -> dict[str, Any]:
        answer: dict[str, Any] = self.offers.open(asked({"r": rid}, receiver)).result(0).payload
        return answer

    def prove(self, twin: str, first: int = 0, proofs: bytes = PROOFS, receiver: str = "site-1") -> Any:
        return self.offers.prove(asked({"t": twin, "i": first, "d": proofs}, receiver)).result(0).payload

    def twin(self, rid: str) -> SealedTwin:
        return cast(SealedTwin, self.offering._by_rid[rid].twin)


def asked(payload: Any, receiver: str, sealed: bool = True) -> Message:
    return Message({MessageHeaderKey.ORIGIN: receiver, MessageHeaderKey.SECURE: sealed}, payload)


def test_one_twin_for_all() -> None:
    owner = Owner()
    _, rid = owner.offer()
    first, second = owner.open(rid), owner.open(rid, "site-2")
    assert first == second
    twin = owner.twin(rid)
    assert first == {
        "t": twin.rid, "k": twin.key, "n": 250, "c": 100, "f": owner.offering._by_rid[rid].source.fingerprint,
        "name": "model.pt",
    }  # fmt: skip
    assert (twin.is_twin, twin.told_as, twin.codec) == (True, rid, "none")
    assert owner.offering.is_twin(twin.rid)
    assert not owner.offering.is_twin(rid)
    assert not owner.offering.is_twin("R0")
    assert owner.offering.names() == {rid: "model.pt"}


def test_each_file_has_its_own_key() -> None:
    owner = Owner()
    keys = [owner.open(owner.offer()[1])["k"] for _ in range(2)]
    assert keys[0] != keys[1]


def test_only_for_whom_it_is() -> None:
    owner = Owner()
    _, rid = owner.offer(["site-1"])
    twin = owner.open(rid)["t"]
    for wanted, receiver in ((rid, "site-2"), ("R0", "site-1"), (twin, "site-1")):
        with pytest.raises(InvalidRequest, match="no such reference"):
            owner.open(wanted, receiver)
    with pytest.raises(InvalidRequest, match="no such reference"):
        owner.prove(twin, receiver="site-2")
    assert owner.node.transfers.source._references[twin].receivers == frozenset({"site-1"})


def test_nothing_in_clear() -> None:
    owner = Owner()
    for handler in (owner.offers.open, owner.offers.prove):
        with pytest.raises(AuthenticationError, match="came in clear"):
            handler(asked({}, "site-1", sealed=False))


def test_what_is_not_right_is_named() -> None:
    owner = Owner()
    twin = owner.open(owner.offer()[1])["t"]
    wrong = bytearray(PROOFS)
    wrong[40] ^= 1
    assert owner.prove(twin, proofs=bytes(wrong)) == {"bad": [1]}
    assert owner.prove(twin) == {"bad": []}
    assert owner.prove(twin, 2, PROOFS[64:]) == {"bad": []}
    assert most_proved(1 << 40) == 1


def test_success_must_be_proved() -> None:
    owner = Owner()
    _, rid = owner.offer()
    twin = owner.open(rid)["t"]
    file = owner.twin(rid)
    file.served(cast(Any, Now()), "site-2", "success")  # nobody who has asked
    file.opened("site-2")
    assert owner.told == owner.opened == []
    file.opened("site-1")
    assert owner.opened == [(rid, "site-1")]
    file.served(cast(Any, Now()), "site-1", "success")
    owner.prove(twin, 0, PROOFS[:64])  # not all of it
    file.served(cast(Any, Now()), "site-1", "success")
    owner.prove(twin)
    file.served(cast(Any, Now()), "site-1", "success")
    file.served(cast(Any, Now()), "site-1", "success")
    owner.prove(twin)
    file.served(cast(Any, Now()), "site-1", "failed")
    assert [status for _, _, status, _ in owner.told] == ["failed", "failed", "success", "failed", "failed"]
    assert {told[0] for told in owner.told} == {rid}


def test_it_is_activity_of_the_file() -> None:
    owner = Owner()
    transaction, rid = owner.offer(timeout=10.0)
    source, heard = owner.node.transfers.source, list[Any]()
    owner.now = 8.0
    twin = owner.open(rid)["t"]
    assert source.deadline == 18.0
    owner.now = 15.0
    owner.prove(twin)
    assert source.deadline == 25.0
    transaction.ask_activity(lambda active, receivers: heard.append((active, dict(receivers))))
    assert heard == [(15.0, {})]
    commands = source.handle_timeout(25.0)
    owner.offering.expired(cast(Any, commands[0]))
    assert owner.told == [(transaction.id, ["model.pt"])]
    assert owner.offering._by_rid == {}
    with pytest.raises(InvalidRequest):
        owner.open(rid)
    with pytest.raises(InvalidRequest):
        owner.prove(twin)


def test_it_ends_with_its_transaction() -> None:
    owner = Owner()
    transaction, rid = owner.offer()
    file = owner.offering._by_rid[rid]
    twin = owner.open(rid)["t"]
    transaction.end()
    assert not owner.offering._by_rid
    assert not owner.node.transfers.source._references
    with pytest.raises(RequestFailed):
        owner.offers.prove(asked({"t": twin, "i": 0, "d": PROOFS}, "site-1"))
    _, rid = owner.offer()
    owner.open(rid)
    owner.offering.close()
    assert owner.offering._by_rid == {}
    assert file.twin is not None


def test_a_source_that_has_changed() -> None:
    owner = Owner()
    _, rid = owner.offer()
    owner.node.transfers.source._references[rid].changed = True
    reply = owner.offers.open(asked({"r": rid}, "site-1")).result(0)
    assert (reply.return_code, reply.get_header("why")) == (CellReturnCode.PROCESS_EXCEPTION, "source_changed")


def test_a_source_that_cannot_be_read() -> None:
    owner = Owner()
    _, rid = owner.offer()
    twin = owner.open(rid)["t"]
    owner.offering._by_rid[rid].source.close()
    with pytest.raises(RequestFailed, match=r"model\.pt cannot be read: is closed"):
        owner.prove(twin)
