"""Sealed pulls through relays that nobody trusts: they read nothing; what they change, repeat or forge is refused."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import zmq
from zmq.utils import z85

from tests.cell.sealed import CardedFederation, sealing_keys
from tests.streaming.downloads import Numbers, Taker
from tests.system.federation import LONG, QUICK, until
from tests.system.spy import Spy, changed
from zmqfl import Cell, CellReturnCode, Message
from zmqfl.blobs.digest import digest
from zmqfl.blobs.source import FileSource
from zmqfl.cell import sealed_offers
from zmqfl.cell.callbacks import callback
from zmqfl.cell.sealed_offers import CHANNEL, SealedTwin
from zmqfl.cell.transfer_verbs import Offer
from zmqfl.errors import ArgumentError, AuthenticationError, ClosedError, SinkError, SourceChangedError, TransferError
from zmqfl.protocol.pull_source import CHANNEL as PULL
from zmqfl.streaming.array_downloader import add_arrays, download_arrays
from zmqfl.streaming.downloading import download_object
from zmqfl.streaming.file_downloader import FileDownloader
from zmqfl.streaming.object_downloader import ObjectDownloader
from zmqfl.wire.messages import Packet, Reply, Request

SECRET = b"only for the eyes of site-1.... "
CHUNK = 4096
NAMES = ("relay.site-1", "relay.site-2", "relay.site-3")


@dataclass
class Tree:
    """server <- relay <- three sites; and site-2 right below the server."""

    federation: CardedFederation
    folder: Path
    server: Cell
    relay: Cell
    spy: Spy
    passed: list[Packet]
    """Everything that came to the relay, for itself or for others."""
    served: list[tuple[Any, ...]] = field(default_factory=list)

    def site(self, name: str = NAMES[0], **options: Any) -> Cell:
        return self.federation.start(name, self.relay, None, **options)

    def offer(self, content: bytes = SECRET * 1000, **options: Any) -> Offer:
        path = self.folder / "named-4711.bin"
        path.write_bytes(content)
        options = {"chunk_size": CHUNK, "on_served": lambda *told: self.served.append(told), **options}
        return self.server.offer(path, **options)

    def twin(self, offer: Offer) -> SealedTwin:
        return cast(SealedTwin, self.server._transfers.offering._by_rid[offer.rid].twin)

    def inbox(self, name: str = "inbox") -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def pull(self, site: Cell, offer: Offer, **options: Any) -> Any:
        options = {"timeout": LONG, **options}
        return site.pull(offer.rid, "server", self.inbox(), secure=True, **options)

    def holds(self, text: bytes) -> bool:
        """Whether these bytes were in any frame that came to the relay."""
        return any(text in packet.header or any(text in bytes(b) for b in packet.bodies) for packet in self.passed)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """The relay keeps nothing: what the server sends passes by, and may be changed."""
    yield from plant(tmp_path, 0)


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Tree]:
    """The relay keeps chunks."""
    yield from plant(tmp_path, 1 << 20)


def plant(folder: Path, cache: int) -> Iterator[Tree]:
    federation = CardedFederation(config=replace(QUICK, relay_cache=cache))
    for name in NAMES:
        federation.pairs[name] = zmq.curve_keypair()
    server = federation.start("server")
    relay = federation.start("relay", server)
    passed: list[Packet] = []
    receive = relay._node.receive

    def record(conn: Any, packet: Packet, now: float, user: str | None = None) -> Any:
        passed.append(packet)
        return receive(conn, packet, now, user)

    relay._node.receive = record  # type: ignore[method-assign]
    yield Tree(federation, folder, server, relay, Spy(relay), passed)
    federation.close()


def is_chunk(message: Any) -> bool:
    """Whether this is the answer to a GET."""
    return isinstance(message, Reply) and "d" in message.headers and message.code == "ok"


def with_body(packet: Packet, message: Any, body: bytes, checked: bytes | None = None) -> Packet:
    """Another chunk, with a digest that fits."""
    headers = {**message.headers, "d": digest(body) if checked is None else checked}
    return replace(changed(packet, message, headers=headers, lengths=[len(body)]), bodies=(body,))


def flip(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:]


def is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


# ---------------------------------------------------------------------------------------------------- what a relay sees


def test_pull_N09_a_file_goes_sealed(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    plain = tree.server._transfers.offering._by_rid[offer.rid].source
    handle = tree.pull(site, offer)
    path = handle.result(LONG)
    assert (path.name, path.read_bytes()) == ("named-4711.bin", SECRET * 1000)
    assert (handle.name, handle.rid) == ("named-4711.bin", offer.rid)
    assert (handle.progress.done, handle.progress.total) == (32_000, 32_000)
    until(lambda: tree.served)
    assert tree.served == [(offer.rid, NAMES[0], "success", "named-4711.bin")]
    assert [path.name for path in tree.inbox().iterdir()] == ["named-4711.bin"]
    twin = tree.twin(offer)
    assert tree.holds(twin.rid.encode())
    for text in (SECRET, offer.rid.encode(), b"4711", plain.fingerprint.encode(), twin.key):
        assert not tree.holds(text)


def test_pull_N09_in_clear_everything_is_seen(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    site.pull(offer.rid, "server", tree.inbox()).result(LONG)
    assert tree.holds(SECRET)
    assert tree.holds(offer.rid.encode())


def test_pull_N09_three_receivers_behind_a_relay_that_keeps_chunks(keeping: Tree) -> None:
    tree, offer = keeping, keeping.offer()
    sites = [tree.site(name) for name in NAMES]
    handles = [
        site.pull(offer.rid, "server", tree.inbox(site.fqcn), secure=True, timeout=LONG) for site in sites
    ]  # fmt: skip
    assert [handle.result(LONG).read_bytes() for handle in handles] == [SECRET * 1000] * 3
    twin = tree.twin(offer)
    assert twin.sealed.sealed == twin.seal.count == 8
    assert tree.relay.statistics().counters["relay_hits"] > 0
    until(lambda: len(tree.served) == 3)
    assert sorted(tree.served) == [(offer.rid, name, "success", "named-4711.bin") for name in NAMES]
    assert tree.server._transfers.offering.names() == {offer.rid: "named-4711.bin"}
    assert [each.name for each in tree.server.transfers() if each.kind == "offer"] == ["named-4711.bin"]
    for text in (SECRET, offer.rid.encode(), b"4711"):
        assert not tree.holds(text)
    assert {each.name for each in tree.relay.transfers()} <= {"sealed"}
    offer.withdraw()
    until(lambda: not tree.server._transfers.offering._by_rid)


def test_pull_N09_three_receivers_at_their_owner(tree: Tree) -> None:
    offer = tree.offer()
    sites = [tree.site(name) for name in NAMES]
    held = [sealed_open(site, offer) for site in sites]
    assert len({answer["t"] for answer in held}) == 1
    assert tree.twin(offer).is_shared
    for site in sites:
        assert site.pull(offer.rid, "server", secure=True, timeout=LONG).result(LONG) == SECRET * 1000
    assert tree.twin(offer).sealed.sealed == 8  # one after the other, and all found what was kept


def sealed_open(site: Cell, offer: Offer) -> Any:
    return site.request("server", CHANNEL, "open", {"r": offer.rid}, LONG, secure=True).result(LONG).payload


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_pull_N09_sizes(tree: Tree, size: int) -> None:
    content = os.urandom(size)
    site, offer = tree.site(), tree.offer(content)
    handle = tree.pull(site, offer)
    assert handle.result(LONG).read_bytes() == content
    assert (handle.progress.done, handle.progress.total) == (size, size)
    assert site.pull(offer.rid, "server", secure=True).result(LONG) == content
    until(lambda: len(tree.served) == 2)
    assert [told[2] for told in tree.served] == ["success"] * 2


def test_pull_N09_objects(keeping: Tree) -> None:
    tree, site = keeping, keeping.site()
    value: dict[str, Any] = {"weights": np.arange(100_000, dtype="f4"), "text": SECRET, "few": np.ones(3)}
    offer = tree.server.offer_object(value, name="named-4711", chunk_size=65536)
    got = site.pull_object(offer.rid, "server", secure=True, timeout=LONG).result(LONG)
    assert np.array_equal(got["weights"], value["weights"])
    assert got["text"] == SECRET
    got["weights"][0] = 5  # they are the receiver's own
    for text in (SECRET, offer.rid.encode(), b"4711", np.arange(1000, 1010, dtype="f4").tobytes()):
        assert not tree.holds(text)


def test_pull_N09_a_downloaded_file(tree: Tree) -> None:
    site, ended = tree.site(), list[Any]()
    path = tree.folder / "named-4711.bin"
    path.write_bytes(SECRET * 1000)
    transaction = FileDownloader.new_transaction(tree.server, 100, lambda *told: None)
    rid = FileDownloader.add_file(transaction, str(path), lambda *told: ended.append(told))
    error, location = FileDownloader.download_file("server", rid, LONG, site, str(tree.inbox()), secure=True)
    assert (error, location) == (None, str(tree.inbox() / rid))
    assert Path(str(location)).read_bytes() == SECRET * 1000
    until(lambda: ended)
    assert ended == [(rid, NAMES[0], "success", str(path))]
    assert not any(tree.holds(text) for text in (SECRET, rid.encode(), b"4711"))
    FileDownloader.delete_transaction(transaction)
    error, location = FileDownloader.download_file("server", rid, LONG, site, str(tree.inbox()), secure=True)
    assert "no such reference" in str(error)


def test_pull_N09_downloaded_objects_and_arrays(tree: Tree) -> None:
    site, taker = tree.site(), Taker()
    downloader = ObjectDownloader(tree.server, 1000, 1, receiver_ids=[NAMES[0]])
    arrays = {"weights": np.frombuffer(SECRET * 1000, "u1")}
    numbers, rid = downloader.add_object(Numbers(3)), add_arrays(downloader, arrays)
    download_object("server", numbers, LONG, site, taker, secure=True)
    assert taker.ends == ["completed"]
    error, got = download_arrays("server", rid, LONG, site, secure=True)
    assert error is None
    assert np.array_equal(got["weights"], arrays["weights"])
    for text in (SECRET, rid.encode(), numbers.encode(), bytes([2]) * 10):
        assert not tree.holds(text)


def test_pull_N09_a_long_sealed_request(tree: Tree) -> None:
    site = tree.site()
    value: dict[str, Any] = {"weights": np.frombuffer(SECRET * (2 << 20), "u1"), "text": SECRET * 10}
    tree.server.register_request_cb("test", "echo", lambda message: message.payload)
    reply = site.request("server", "test", "echo", value, 2 * LONG, secure=True).result(4 * LONG)
    assert reply.payload["weights"].nbytes == 64 << 20
    assert np.array_equal(reply.payload["weights"], value["weights"])
    assert sum(len(body) for packet in tree.passed for body in packet.bodies) > 128 << 20
    assert not tree.holds(SECRET)


# ------------------------------------------------------------------------------------------------- what a relay changes


@pytest.mark.parametrize("lies", [False, True], ids=["flipped", "flipped with another digest"])
def test_pull_N09_a_flipped_chunk_is_asked_for_again(tree: Tree, lies: bool) -> None:
    seen = set[int]()

    def touch(packet: Packet, message: Any) -> Packet:
        if not is_chunk(message) or len(seen) >= 3:
            return packet
        seen.add(message.id)
        return with_body(packet, message, flip(bytes(packet.bodies[0])), None if lies else message.headers["d"])

    tree.spy.touch = touch
    site, offer = tree.site(), tree.offer()
    assert tree.pull(site, offer).result(LONG).read_bytes() == SECRET * 1000
    assert len(seen) == 3


def test_pull_N09_chunks_that_are_always_flipped(tree: Tree) -> None:
    tree.spy.touch = lambda packet, message: (
        with_body(packet, message, flip(bytes(packet.bodies[0]))) if is_chunk(message) else packet
    )
    site, offer = tree.site(), tree.offer()
    with pytest.raises(TransferError, match="was damaged") as caught:
        tree.pull(site, offer).result(LONG)
    assert caught.value.code is CellReturnCode.COMM_ERROR
    assert is_empty(tree.inbox())
    until(lambda: tree.served)
    assert tree.served == [(offer.rid, NAMES[0], "failed", "named-4711.bin")]


@pytest.mark.parametrize("times", [1, 1000])
def test_pull_N09_swapped_chunks(tree: Tree, times: int) -> None:
    kept: list[bytes] = []
    swapped = 0

    def touch(packet: Packet, message: Any) -> Packet:
        nonlocal swapped
        if not is_chunk(message):
            return packet
        kept.append(bytes(packet.bodies[0]))
        if swapped == times or len(kept) == 1:
            return packet
        swapped += 1
        return with_body(packet, message, kept[0] if len(kept[0]) == len(kept[-1]) else flip(kept[-1]))

    tree.spy.touch = touch
    site, offer = tree.site(), tree.offer(os.urandom(8 * CHUNK))
    handle = tree.pull(site, offer)
    if times == 1:
        assert handle.result(LONG).read_bytes() == (tree.folder / "named-4711.bin").read_bytes()
    else:
        with pytest.raises(TransferError, match="was damaged"):
            handle.result(LONG)
        assert is_empty(tree.inbox())
    assert swapped


@pytest.mark.parametrize("change", [{"n": 100}, {"k": 100}, {"f": "another"}], ids=["size", "chunk", "fingerprint"])
def test_pull_N09_another_grid(tree: Tree, change: dict[str, Any]) -> None:
    tree.spy.touch = lambda packet, message: (
        changed(packet, message, headers={**message.headers, **change})
        if isinstance(message, Reply) and "k" in message.headers
        else packet
    )
    site, offer = tree.site(), tree.offer()
    with pytest.raises(TransferError) as caught:
        tree.pull(site, offer).result(LONG)
    assert caught.value.code is CellReturnCode.AUTHENTICATION_ERROR
    assert is_empty(tree.inbox())


def test_pull_N09_another_name_is_not_believed(tree: Tree) -> None:
    tree.spy.touch = lambda packet, message: (
        changed(packet, message, headers={**message.headers, "name": "evil"})
        if isinstance(message, Reply) and "k" in message.headers
        else packet
    )
    assert tree.pull(tree.site(), tree.offer()).result(LONG).name == "named-4711.bin"


def test_pull_N09_a_proof_that_is_changed_or_made_up(tree: Tree) -> None:
    tree.spy.touch = lambda packet, message: (
        replace(packet, bodies=(flip(bytes(packet.bodies[0])),))
        if isinstance(message, Request) and (message.channel, message.topic) == (CHANNEL, "prove")
        else packet
    )
    site, offer = tree.site(), tree.offer()
    with pytest.raises(TransferError) as caught:
        tree.pull(site, offer).result(LONG)
    assert caught.value.code is CellReturnCode.AUTHENTICATION_ERROR
    assert is_empty(tree.inbox())


def test_pull_N09_chunks_in_the_cache_of_a_relay_are_changed(keeping: Tree) -> None:
    tree, offer = keeping, keeping.offer()
    first, second = tree.site(), tree.site(NAMES[1])
    tree.pull(first, offer).result(LONG)
    store = tree.relay._node.transfers.relay.store
    for key, chunk in store._chunks.items():
        bad = flip(bytes(chunk.bodies[0]))
        store._chunks[key] = replace(chunk, bodies=(bad,), headers={**chunk.headers, "d": digest(bad)})
    path = second.pull(offer.rid, "server", tree.inbox("second"), secure=True, timeout=LONG).result(LONG)
    assert path.read_bytes() == SECRET * 1000


# ----------------------------------------------------------------------------------------- what another receiver forges


def forge(tree: Tree, offer: Offer, index: int = 2) -> Callable[[Packet, Any], Packet]:
    """A relay and a receiver that knows the key put another chunk in."""

    def touch(packet: Packet, message: Any) -> Packet:
        if is_chunk(message) and (seal := tree.twin(offer).seal) is not None:
            evil = seal.seal(index, b"x" * CHUNK)
            try:
                seal.open(index, bytes(packet.bodies[0]))
            except Exception:  # noqa: BLE001  it is another one
                return packet
            return with_body(packet, message, evil)
        return packet

    return touch


@pytest.mark.parametrize("resume", [False, True])
def test_pull_N09_a_chunk_that_another_receiver_forges(tree: Tree, resume: bool) -> None:
    site, offer = tree.site(), tree.offer()
    tree.spy.touch = forge(tree, offer)
    with pytest.raises(TransferError, match=r"chunk 2 of named-4711\.bin is not what the owner has") as caught:
        tree.pull(site, offer, resume=resume).result(LONG)
    assert caught.value.code is CellReturnCode.AUTHENTICATION_ERROR
    assert caught.value.culprit == "server"
    assert is_empty(tree.inbox())
    until(lambda: tree.served)
    assert tree.served == [(offer.rid, NAMES[0], "failed", "named-4711.bin")]
    tree.spy.touch = lambda packet, message: packet
    assert tree.pull(site, offer, resume=resume).result(LONG).read_bytes() == SECRET * 1000
    assert not tree.holds(SECRET)


def test_pull_N09_a_forged_chunk_that_a_resume_finds(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    change = forge(tree, offer)

    def touch(packet: Packet, message: Any) -> Packet | None:
        forged = change(packet, message)
        return None if is_chunk(message) and forged is packet else forged

    tree.spy.touch = touch  # only the forged one comes
    broken_off(tree, site, offer, 1)
    tree.spy.touch = lambda packet, message: packet
    with pytest.raises(TransferError, match=r"chunk 2 of .* is not what the owner has"):
        tree.pull(site, offer, resume=True).result(LONG)
    assert is_empty(tree.inbox())
    assert tree.pull(site, offer).result(LONG).read_bytes() == SECRET * 1000


def test_pull_N09_many_proofs(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_offers, "PROVED_BYTES", 3 * CHUNK)
    site, offer = tree.site(), tree.offer()
    assert tree.pull(site, offer).result(LONG).read_bytes() == SECRET * 1000
    proofs = [message for _, message in tree.spy.of(Request, CHANNEL) if message.topic == "prove"]
    assert len(proofs) == 3
    tree.spy.touch = forge(tree, offer, 4)
    with pytest.raises(TransferError, match=r"chunk 4 of .* is not what the owner has"):
        tree.pull(site, offer, on_exists="replace").result(LONG)


# ------------------------------------------------------------------------------------------------- what a relay repeats


def test_pull_N09_old_replies_after_a_restart(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    tree.pull(site, offer).result(LONG)
    old = [packet for packet, message in tree.spy.of(Reply)]
    site.close(drain=0)
    again, replayed = tree.site(), threading.Event()

    def touch(packet: Packet, message: Any) -> Packet:
        if is_chunk(message) and not replayed.is_set():
            replayed.set()
            for each in old:
                tree.relay._reactor.submit(partial(tree.spy._forward, each, each.targets))
        return packet

    offer = tree.offer(os.urandom(8 * CHUNK))
    tree.spy.touch = touch
    path = tree.pull(again, offer, on_exists="replace").result(LONG)
    assert path.read_bytes() == (tree.folder / "named-4711.bin").read_bytes()
    assert replayed.is_set()


@pytest.mark.parametrize("topic", ["open", "prove"])
def test_pull_N09_an_old_answer_is_no_answer_to_the_same_question(tree: Tree, topic: str) -> None:
    site, offer = tree.site(), tree.offer()
    tree.pull(site, offer).result(LONG)
    (asked,) = [message for _, message in tree.spy.of(Request, CHANNEL) if message.topic == topic]
    ((old, answer),) = [(packet, message) for packet, message in tree.spy.of(Reply) if message.id == asked.id]
    ids = set[int]()

    def touch(packet: Packet, message: Any) -> Packet:
        if isinstance(message, Request) and (message.channel, message.topic) == (CHANNEL, topic):
            ids.add(message.id)
        elif isinstance(message, Reply) and message.id in ids:
            return changed(old, answer, id=message.id)
        return packet

    tree.spy.touch = touch
    with pytest.raises(TransferError, match="the reply of server was refused") as caught:
        tree.pull(site, offer, name="second").result(LONG)
    assert caught.value.code is CellReturnCode.COMM_ERROR
    assert [path.name for path in tree.inbox().iterdir()] == ["named-4711.bin"]  # of the first
    assert ids


# --------------------------------------------------------------------------------------------------------------- resume


def broken_off(tree: Tree, site: Cell, offer: Offer, after: int) -> None:
    """A pull that ends when some chunks have come; the part stays."""
    inner, count = tree.spy.touch, 0

    def touch(packet: Packet, message: Any) -> Packet | None:
        nonlocal count
        passed = inner(packet, message)
        count += is_chunk(message) and passed is not None
        return None if is_chunk(message) and count > after else passed

    tree.spy.touch = touch
    pull = tree.pull(site, offer, resume=True)
    until(lambda: pull.progress.done >= after * CHUNK)
    pull.abort()
    with pytest.raises(TransferError):
        pull.result(LONG)
    assert len(list(tree.inbox().iterdir())) == 2


@pytest.mark.parametrize("restarts", [False, True])
def test_pull_N09_goes_on_where_it_was(tree: Tree, restarts: bool) -> None:
    site, offer = tree.site(), tree.offer(SECRET * 1000)
    broken_off(tree, site, offer, 3)
    tree.spy.touch = lambda packet, message: packet
    if restarts:
        site.close(drain=0)
        site = tree.site()
    handle = tree.pull(site, offer)
    assert handle.result(LONG).read_bytes() == SECRET * 1000
    assert handle.fetched == 5 * 16 + 32_000 - 3 * CHUNK
    assert [path.name for path in tree.inbox().iterdir()] == ["named-4711.bin"]


def test_pull_N09_a_plain_pull_goes_on_with_a_sealed_one_and_the_other_way(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    broken_off(tree, site, offer, 3)
    tree.spy.touch = lambda packet, message: packet
    handle = site.pull(offer.rid, "server", tree.inbox())
    assert handle.result(LONG).read_bytes() == SECRET * 1000
    assert handle.fetched == 32_000 - 3 * CHUNK


# ----------------------------------------------------------------------------------------------------- who is not meant


def test_pull_N09_only_for_those_it_was_offered_to(tree: Tree) -> None:
    site, other, offer = tree.site(), tree.site(NAMES[1]), tree.offer(to=[NAMES[0]])
    for stranger in (other, tree.relay):
        with pytest.raises(TransferError, match="no such reference") as caught:
            stranger.pull(offer.rid, "server", tree.inbox(), secure=True).result(LONG)
        assert caught.value.code is CellReturnCode.INVALID_REQUEST
    assert tree.pull(site, offer).result(LONG).exists()
    twin = tree.twin(offer).rid
    for stranger in (other, tree.relay):  # who has learnt its id from what has passed
        with pytest.raises(TransferError, match="no such reference"):
            stranger.pull(twin, "server").result(LONG)
        with pytest.raises(TransferError, match="no such reference"):
            stranger.pull(twin, "server", secure=True).result(LONG)
    assert [told[1] for told in tree.served] == [NAMES[0]]


def test_pull_N09_who_is_no_receiver_gets_what_it_cannot_read_and_counts_for_nobody(tree: Tree) -> None:
    opened: list[Any] = []
    path = tree.folder / "named-4711.bin"
    path.write_bytes(SECRET * 1000)
    with tree.server.new_transaction(100) as transaction:
        rid = transaction.add(
            FileSource(path), CHUNK, None, callback(lambda *told: tree.served.append(told)),
            on_opened=lambda *told: opened.append(told),
        )  # fmt: skip
        site = tree.site()
        site.pull(rid, "server", tree.inbox(), secure=True).result(LONG)
        twin = tree.server._transfers.offering._by_rid[rid].twin
        assert twin is not None
        found = tree.relay.pull(twin.rid, "server").result(LONG)
        assert SECRET not in found
        assert tree.relay.request("server", "_net_manager", "echo", 1).result(LONG).payload == 1
        until(lambda: tree.served)
        assert [told[:3] for told in tree.served] == [(rid, NAMES[0], "success")]
        assert opened == [(rid, NAMES[0])]


def test_pull_N09_questions_in_clear_are_refused(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    sealed_open(site, offer)
    for topic, payload in (
        ("open", {"r": offer.rid}),
        ("prove", {"t": tree.twin(offer).rid, "i": 0, "d": b""}),
    ):
        reply = site.request("server", CHANNEL, topic, payload).reply(LONG)
        assert reply.return_code is CellReturnCode.AUTHENTICATION_ERROR
        assert "came in clear" in reply.error


@pytest.mark.parametrize(
    "question",
    [
        ("open", 3), ("open", {"r": 3}), ("prove", {}), ("prove", {"t": "R" * 33, "i": 0, "d": b""}),
        ("prove", {"t": 0, "i": -1, "d": b""}), ("prove", {"t": 0, "i": 0, "d": b"x" * 31}),
        ("prove", {"t": 0, "i": 7, "d": b"x" * 64}),
    ],
)  # fmt: skip
def test_pull_N09_questions_that_cannot_be(tree: Tree, question: tuple[str, Any]) -> None:
    site, offer = tree.site(), tree.offer()
    sealed_open(site, offer)
    topic, payload = question
    if isinstance(payload, dict) and payload.get("t") == 0:
        payload = {**payload, "t": tree.twin(offer).rid}
    reply = site.request("server", CHANNEL, topic, payload, secure=True).reply(LONG)
    assert reply.return_code is CellReturnCode.INVALID_REQUEST


def test_pull_N09_filters_see_who_is_proved_and_once(tree: Tree) -> None:
    seen: list[Message] = []
    tree.server.filters.incoming_request.set(PULL, "open", seen.append)
    site, offer = tree.site(), tree.offer()
    assert tree.pull(site, offer).result(LONG).exists()
    (message,) = seen
    assert (message.payload, message.origin, message.sealed) == (offer.rid, NAMES[0], True)


def test_pull_N09_filters_refuse(tree: Tree) -> None:
    def refuse(message: Message) -> None:
        raise AuthenticationError("not you")

    tree.server.filters.incoming_request.set(PULL, "open", refuse)
    with pytest.raises(TransferError, match="server: authentication_error: not you"):
        tree.pull(tree.site(), tree.offer()).result(LONG)


# -------------------------------------------------------------------------------------------- cards, restarts, and ends


def test_pull_N09_without_cards(tree: Tree) -> None:
    plain = tree.site(keys=replace(tree.federation.keys_of(NAMES[0], "relay"), sealing=None))
    offer = tree.offer()
    with pytest.raises(TransferError, match=r"relay\.site-1: comm_error: secure=True needs a card, and relay\.site-1"):
        tree.pull(plain, offer).result(LONG)
    mine = plain.offer(b"x" * 100)
    with pytest.raises(TransferError, match=r"no sealed session with relay\.site-1: secure=True needs a card"):
        tree.server.pull(mine.rid, NAMES[0], secure=True).result(LONG)
    assert tree.passed
    assert not tree.holds(offer.rid.encode())
    assert not tree.holds(mine.rid.encode())


def test_pull_N09_an_expired_card(tree: Tree) -> None:
    keys = tree.federation.keys_of(NAMES[0], "relay")
    site = tree.site(keys=replace(keys, sealing=sealing_keys(NAMES[0], z85.decode(keys.public), not_after=1)))
    with pytest.raises(TransferError, match=r"needs a valid card: .* has expired") as caught:
        tree.pull(site, tree.offer()).result(LONG)
    assert caught.value.code is CellReturnCode.COMM_ERROR


def test_pull_N09_a_revoked_card(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    tree.pull(site, offer).result(LONG)
    tree.server.revoke(NAMES[0])
    with pytest.raises(TransferError, match="its keys are revoked here") as caught:
        tree.pull(site, offer).result(LONG)
    assert caught.value.code is CellReturnCode.AUTHENTICATION_ERROR


def before_the_proof(tree: Tree, act: Callable[[], Any]) -> threading.Event:
    """Have `act` done when the first PROVE passes by."""
    is_done = threading.Event()

    def touch(packet: Packet, message: Any) -> Packet:
        if isinstance(message, Request) and message.topic == "prove" and not is_done.is_set():
            is_done.set()
            act()
        return packet

    tree.spy.touch = touch
    return is_done


def test_pull_N09_a_card_that_is_revoked_before_the_proof(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    is_done = before_the_proof(tree, lambda: tree.server._seals.sealing.refuse(NAMES[0]))  # type: ignore[union-attr]
    with pytest.raises(TransferError) as caught:
        tree.pull(site, offer).result(LONG)
    assert caught.value.code is CellReturnCode.AUTHENTICATION_ERROR
    assert is_done.is_set()
    assert is_empty(tree.inbox())


def test_pull_N09_a_transaction_that_ends_before_the_proof(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    before_the_proof(tree, offer.withdraw)
    with pytest.raises(TransferError, match="no such reference") as caught:
        tree.pull(site, offer).result(LONG)
    assert caught.value.code is CellReturnCode.INVALID_REQUEST
    assert is_empty(tree.inbox())


def test_pull_N09_a_transaction_that_has_ended(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    tree.pull(site, offer).result(LONG)
    offer.withdraw()
    with pytest.raises(TransferError, match="no such reference"):
        tree.pull(site, offer).result(LONG)


def test_pull_N09_a_source_that_changes(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    broken_off(tree, site, offer, 2)
    tree.spy.touch = lambda packet, message: packet
    (tree.folder / "named-4711.bin").write_bytes(SECRET * 500)
    with pytest.raises(SourceChangedError):
        tree.pull(site, offer).result(LONG)
    with pytest.raises(SourceChangedError):  # the owner knows by now
        tree.pull(tree.site(NAMES[1]), offer).result(LONG)


def test_pull_N09_a_source_that_changes_before_the_proof(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    broken_off(tree, site, offer, 2)
    tree.twin(offer).sealed._proofs.set(0, bytes(32))  # as after a restart of the owner: it must read it again
    before_the_proof(tree, lambda: (tree.folder / "named-4711.bin").write_bytes(b"x"))
    with pytest.raises(SourceChangedError, match="has changed since it was offered"):
        tree.pull(site, offer).result(LONG)


def test_pull_N09_an_owner_that_restarts(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer()
    tree.pull(site, offer).result(LONG)
    owner = tree.site(NAMES[1])
    mine = owner.offer(b"x" * 100)
    assert site.pull(mine.rid, NAMES[1], secure=True).result(LONG) == b"x" * 100
    owner.close(drain=0)
    tree.site(NAMES[1])
    with pytest.raises(TransferError, match="no such reference") as caught:
        site.pull(mine.rid, NAMES[1], secure=True).result(LONG)
    assert caught.value.code is CellReturnCode.INVALID_REQUEST


def test_pull_N09_nobody_there(tree: Tree) -> None:
    with pytest.raises(TransferError) as caught:
        tree.site().pull("R" * 33, "nobody", secure=True).result(LONG)
    assert caught.value.code in (CellReturnCode.TARGET_UNREACHABLE, CellReturnCode.COMM_ERROR)


@pytest.mark.parametrize(
    "answer", [None, 3, {}, {"t": "R" * 33, "k": bytes(32), "n": 1 << 60, "c": 1, "f": "f", "name": "x"}]
)
def test_pull_N09_an_owner_that_answers_what_cannot_be(tree: Tree, answer: Any) -> None:
    tree.server.register_request_cb(CHANNEL, "open", lambda message: Message(payload=answer))
    site, offer = tree.site(), tree.offer()
    with pytest.raises(TransferError, match="server: comm_error: its answer cannot be"):
        tree.pull(site, offer).result(LONG)


def test_pull_N09_an_owner_that_confirms_nothing(tree: Tree) -> None:
    tree.server.register_request_cb(CHANNEL, "prove", lambda message: {"bad": "no"})
    site, offer = tree.site(), tree.offer()
    with pytest.raises(TransferError, match="server: comm_error: its answer cannot be"):
        tree.pull(site, offer).result(LONG)
    assert is_empty(tree.inbox())


def test_pull_N09_chunks_that_are_too_long_to_be_sealed(tree: Tree) -> None:
    site, offer = tree.site(), tree.offer(chunk_size=64 << 20)
    with pytest.raises(TransferError, match="too long to be sealed") as caught:
        tree.pull(site, offer).result(LONG)
    assert caught.value.code is CellReturnCode.MSG_TOO_BIG


def test_pull_N09_sinks_that_refuse(tree: Tree) -> None:
    site, offer = tree.site(config=replace(tree.federation.config, payload_limit=1000)), tree.offer()
    with pytest.raises(SinkError, match=r"named-4711\.bin: 32000 bytes are more than the 1000"):
        site.pull(offer.rid, "server", secure=True).result(LONG)
    (tree.inbox() / "named-4711.bin").write_bytes(b"")
    with pytest.raises(SinkError, match="exists already"):
        tree.pull(site, offer, on_exists="fail").result(LONG)
    with pytest.raises(ArgumentError):
        site.pull(offer.rid, "server", tree.folder / "missing", secure=True)


# ------------------------------------------------------------------------------------------------------------ giving up


@pytest.mark.parametrize("topic", ["open", "get", "prove"])
@pytest.mark.parametrize("verb", ["abort", "cancel"])
def test_pull_N09_is_given_up(tree: Tree, topic: str, verb: str) -> None:
    came = threading.Event()

    def touch(packet: Packet, message: Any) -> Packet | None:
        channel = PULL if topic == "get" else CHANNEL
        if isinstance(message, Request) and (message.channel, message.topic) == (channel, topic):
            came.set()
            return None
        return packet

    tree.spy.touch = touch
    site, offer = tree.site(), tree.offer()
    handle = tree.pull(site, offer)
    assert came.wait(LONG)
    getattr(handle, verb)()
    if verb == "abort":
        with pytest.raises(TransferError) as caught:
            handle.result(LONG)
        assert caught.value.code is CellReturnCode.ABORT_RUN
    else:
        assert handle.cancelled()
    until(lambda: is_empty(tree.inbox()))
    until(lambda: not site._transfers.pulling._pulls)
    tree.spy.touch = lambda packet, message: packet
    assert tree.pull(site, offer).result(LONG).exists()


@pytest.mark.parametrize("topic", ["open", "prove"])
def test_pull_N09_a_question_that_nobody_answers(tree: Tree, topic: str) -> None:
    tree.spy.touch = lambda packet, message: (
        None if isinstance(message, Request) and (message.channel, message.topic) == (CHANNEL, topic) else packet
    )
    site, offer = tree.site(), tree.offer()
    with pytest.raises(TransferError) as caught:
        tree.pull(site, offer, timeout=0.3).result(LONG)
    assert caught.value.code is CellReturnCode.TIMEOUT
    until(lambda: is_empty(tree.inbox()))


@pytest.mark.parametrize("topic", ["open", "prove"])
def test_pull_N09_a_cell_that_is_closed_meanwhile(tree: Tree, topic: str) -> None:
    came = threading.Event()

    def touch(packet: Packet, message: Any) -> Packet | None:
        if isinstance(message, Request) and (message.channel, message.topic) == (CHANNEL, topic):
            came.set()
            return None
        return packet

    tree.spy.touch = touch
    site, offer = tree.site(), tree.offer()
    handle = tree.pull(site, offer)
    assert came.wait(LONG)
    site.close(drain=0)
    with pytest.raises((ClosedError, TransferError)):
        handle.result(LONG)
    assert is_empty(tree.inbox())
    with pytest.raises(ClosedError):
        tree.pull(site, offer)
