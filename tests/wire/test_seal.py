"""What is sealed opens for its target, as what it is, and once."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from zmqfl.errors import DecodeError, EncodeError
from zmqfl.wire.codec import encode_header
from zmqfl.wire.messages import MAX_HEADER, Request
from zmqfl.wire.noise import KEY, Cipher
from zmqfl.wire.seal import (
    MOST_SEAL,
    WINDOW,
    Belonging,
    Facts,
    Parcel,
    ReplayWindow,
    RootDigest,
    Seals,
    Wrap,
    check_room,
    digest_of,
    make_wrap,
    open_wrap,
    read_header,
    seal_header,
    subkey,
)

K, R = bytes([1]) * KEY, bytes([2]) * KEY
FACTS = Facts("content", "site-1", 11, "train", "model", b"")
BELONGING = Belonging("server", 22, 33, 44, bytes([5]) * KEY)


def seal(index: int = 0, bodies: Any = (b"one", b"two"), **changes: Any) -> Parcel:
    return Seals(K, replace(FACTS, **changes)).seal(index, {"x": 1}, bodies)


# ----------------------------------------------------------------------------------------------------------- parcels


@pytest.mark.parametrize("bodies", [(), (b"",), (b"a", bytearray(b"b"), memoryview(b"c" * 70_000))])
def test_a_parcel_comes_out_as_it_went_in(bodies: Any) -> None:
    seals = Seals(K, FACTS)
    parcel = seals.seal(7, ["head", {"a": b"b"}], bodies)
    assert all(bytes(body) not in sealed for body, sealed in zip(bodies, parcel.bodies, strict=True) if len(body))
    assert seals.open(7, parcel.head, parcel.bodies) == (["head", {"a": b"b"}], tuple(map(bytes, bodies)))


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": "chunk"}, {"origin": "site-2"}, {"instance": 12}, {"channel": "trai"}, {"topic": "nmodel"},
        {"transfer": b"x"},
    ],
    ids=str,
)  # fmt: skip
def test_a_parcel_is_opened_only_as_what_it_is(changes: dict[str, Any]) -> None:
    parcel = seal()
    with pytest.raises(DecodeError, match="not sealed for this"):
        Seals(K, replace(FACTS, **changes)).open(0, parcel.head, parcel.bodies)


def test_names_that_run_together_are_told_apart() -> None:
    assert replace(FACTS, channel="a", topic="bc").pack() != replace(FACTS, channel="ab", topic="c").pack()


def test_parts_cannot_be_moved() -> None:
    seals = Seals(K, FACTS)
    parcel, other = seal(), seal(index=1, bodies=(b"1", b"2"))
    one, two = parcel.bodies
    for index, head, bodies in (
        (1, parcel.head, (one, two)),
        (0, parcel.head, (two, one)),
        (0, parcel.head, (one,)),
        (0, parcel.head, ()),
        (0, parcel.head, (one, two, two)),
        (0, parcel.head, (one, other.bodies[1])),
        (0, other.head, (one, two)),
        (0, None, (one, two)),
        (0, b"", (one, two)),
    ):
        with pytest.raises(DecodeError):
            seals.open(index, head, bodies)


def test_a_changed_bit_anywhere_is_refused(seed: int) -> None:
    chance = random.Random(seed)
    parts = [bytearray(part) for part in (lambda p: (p.head, *p.bodies))(seal())]
    hit = chance.choice(parts)
    hit[chance.randrange(len(hit))] ^= 1 << chance.randrange(8)
    with pytest.raises(DecodeError):
        Seals(K, FACTS).open(0, bytes(parts[0]), parts[1:])


def test_no_two_parts_share_a_nonce_and_no_two_purposes_a_key() -> None:
    zeros = (bytes(64), bytes(64))
    parcels = [Seals(K, FACTS).seal(index, bytes(64), zeros) for index in range(3)]
    assert len({part[-80:-16] for parcel in parcels for part in (parcel.head, *parcel.bodies)}) == 9
    assert len({subkey(key, purpose) for key in (K, R) for purpose in ("content", "reply", "end")}) == 6


def test_a_head_that_is_no_msgpack_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("zmqfl.wire.seal.msgpack.packb", lambda value: b"\xc1")
        facts = Seals(K, FACTS)
        parcel = facts.seal(0, None)
    with pytest.raises(DecodeError, match="not msgpack"):
        facts.open(0, parcel.head, ())


def test_a_body_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqfl.wire.seal.MOST_PART", 8)
    with pytest.raises(EncodeError, match="at most 8"):
        seal(bodies=(b"123456789",))


# ------------------------------------------------------------------------------------------------------------- wraps


def test_a_wrap_gives_its_target_both_keys() -> None:
    wrap = make_wrap(Cipher(bytes(KEY)), 9, BELONGING, K, R)
    assert (wrap.session, wrap.counter) == (33, 9)
    assert open_wrap(Cipher(bytes(KEY)), wrap, BELONGING) == (K, R)


@pytest.mark.parametrize(
    "changes", [{"target": "site-2"}, {"instance": 23}, {"session": 34}, {"id": 45}, {"digest": bytes(KEY)}], ids=str
)
def test_a_wrap_for_anything_else_is_refused(changes: dict[str, Any]) -> None:
    wrap = make_wrap(Cipher(bytes(KEY)), 9, BELONGING, K, R)
    with pytest.raises(DecodeError):
        open_wrap(Cipher(bytes(KEY)), wrap, replace(BELONGING, **changes))


def test_a_wrap_of_another_counter_or_session_is_refused() -> None:
    wrap = make_wrap(Cipher(bytes(KEY)), 9, BELONGING, K, R)
    with pytest.raises(DecodeError):
        open_wrap(Cipher(bytes(KEY)), replace(wrap, counter=8), BELONGING)
    with pytest.raises(DecodeError):
        open_wrap(Cipher(K), wrap, BELONGING)
    short = replace(wrap, sealed=Cipher(bytes(KEY)).seal(9, K, BELONGING.pack()))
    with pytest.raises(DecodeError, match="two keys"):
        open_wrap(Cipher(bytes(KEY)), short, BELONGING)


def test_a_header_holds_a_wrap_for_each_target() -> None:
    wraps = {"server": Wrap(1, 2, b"x"), "relay.site-2": Wrap(3, 4, b"y")}
    header = seal_header(b"head", wraps)
    for name, wrap in wraps.items():
        assert read_header(header, name) == (b"head", wrap)
    with pytest.raises(DecodeError, match="not sealed for site-9"):
        read_header(header, "site-9")


@pytest.mark.parametrize(
    "value",
    [None, {}, {"h": b"", "w": []}, {"h": "", "w": {}}, {"h": b"", "w": {"a": 1}}, {"h": b"", "w": {"a": [1, 2]}},
     {"h": b"", "w": {"a": [-1, 2, b""]}}, {"h": b"", "w": {"a": [1, 2, ""]}}],
    ids=repr,
)  # fmt: skip
def test_a_header_that_is_none(value: Any) -> None:
    with pytest.raises(DecodeError):
        read_header(value, "a")


def test_the_wraps_of_all_targets_fit_the_header_or_are_refused() -> None:
    names = [f"relay-{number}.site-{number:04}" for number in range(4096)]
    with pytest.raises(EncodeError, match="sealed for 4096 targets"):
        check_room(10, names)
    fitting = names
    while True:
        try:
            check_room(1000, fitting)
            break
        except EncodeError:
            fitting = fitting[:-1]
    assert len(fitting) > 1500
    big = Wrap(2**64 - 1, 2**40, bytes(2 * KEY + 16))
    header = seal_header(bytes(1016), dict.fromkeys(fitting, big))
    message = Request(
        "x" * 255, 2**63, 2**63, 2**63, 2**63, 9, 2**63, [2**63] * 512, 2**31, "c" * 1024, "t" * 1024, 16, [2**31] * 64,
        {"cn__seal": header},
    )  # fmt: skip
    assert MOST_SEAL - 1000 < len(encode_header(message)) < MAX_HEADER


# ------------------------------------------------------------------------------------------------- replays and chunks


def test_each_counter_is_taken_once() -> None:
    window = ReplayWindow()
    assert [window.take(counter) for counter in (0, 1, 5, 3, 3, 5, 0, 2, 4)] == [
        True, True, True, True, False, False, False, True, True,
    ]  # fmt: skip
    assert "next 6, 6 of" in repr(window)


def test_what_is_too_old_is_refused() -> None:
    window = ReplayWindow()
    assert window.take(0)
    assert window.take(WINDOW)
    assert window.is_old(0)
    assert not window.is_new(0)
    assert not window.is_old(1)
    assert window.take(1)
    assert not window.take(1)
    assert window.take(10 * WINDOW)
    assert window.is_old(9 * WINDOW)
    assert not window.take(9 * WINDOW)
    assert not window.is_new(10 * WINDOW)
    assert window.take(9 * WINDOW + 1)


def test_a_window_is_as_a_set_with_a_bound(seed: int) -> None:
    chance, window, taken, newest = random.Random(seed), ReplayWindow(), set[int](), -1
    for _ in range(2000):
        counter = max(0, newest + chance.choice((1, 1, 1, 2, -5, -50, 500, -WINDOW + 1, -WINDOW, -WINDOW - 1)))
        is_new = counter not in taken and counter > newest - WINDOW
        assert window.is_new(counter) is is_new
        assert window.take(counter) is is_new
        taken.add(counter)
        newest = max(newest, counter)


def test_a_root_digest_tells_chunks_and_their_order_apart() -> None:
    def root(*chunks: tuple[bytes, tuple[bytes, ...]]) -> tuple[int, bytes]:
        digest = RootDigest()
        for head, bodies in chunks:
            digest.add(head, bodies)
        return digest.count, digest.value()

    one, two = (b"h", (b"ab", b"c")), (b"h", (b"a", b"bc"))
    assert root(one, two) == root(one, two)
    assert len({root(one, two), root(two, one), root(one), root(one, one), root()}) == 5
    assert Parcel(*one).digest() == digest_of(*one)
