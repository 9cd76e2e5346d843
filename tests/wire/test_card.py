"""A card is believed for what the federation has signed, and for nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from zmqfl.errors import DecodeError
from zmqfl.fqcn import MAX_LENGTH
from zmqfl.wire.card import (
    LAST_SECOND,
    MAX_CARD,
    Card,
    Revocations,
    read_card,
    read_revocations,
    sign_card,
    sign_revocations,
)

AUTHORITY = bytes([1]) * 32
FEDERATION = Ed25519PrivateKey.from_private_bytes(AUTHORITY).public_key().public_bytes_raw()
CARD = Card("site-1", bytes([2]) * 32, bytes([3]) * 32, 7, 1_800_000_000)
NONE = Revocations()


def test_a_card_comes_out_as_it_went_in() -> None:
    for card in (CARD, replace(CARD, fqcn="x" * MAX_LENGTH, serial=2**63 - 1, not_after=LAST_SECOND)):
        signed = sign_card(card, AUTHORITY)
        assert len(signed) <= MAX_CARD
        assert read_card(signed, FEDERATION) == card
        assert sign_card(card, AUTHORITY) == signed


def test_a_list_comes_out_as_it_went_in() -> None:
    revocations = Revocations(3, frozenset({9, 1, 5}))
    assert read_revocations(sign_revocations(revocations, AUTHORITY), FEDERATION) == revocations


def test_when_a_card_is_valid() -> None:
    assert CARD.problem("site-1", CARD.not_after, NONE) == ""
    assert CARD.problem("site-2", 0, NONE) == "the card is that of site-1, not of site-2"
    expired = "card 7 of site-1 has expired: it was valid until 2027-01-15 08:00 UTC; renew it"
    assert CARD.problem("site-1", CARD.not_after + 1, NONE) == expired
    revoked = Revocations(2, frozenset({6, 7}))
    assert CARD.problem("site-1", 0, revoked) == "card 7 of site-1 is revoked (list 2)"
    assert replace(CARD, serial=8).problem("site-1", 0, revoked) == ""


@pytest.mark.parametrize("sign", [lambda: sign_card(CARD, AUTHORITY), lambda: sign_revocations(NONE, AUTHORITY)])
def test_one_kind_is_not_taken_for_the_other(sign: Any) -> None:
    signed = sign()
    read = read_revocations if signed == sign_card(CARD, AUTHORITY) else read_card
    with pytest.raises(DecodeError, match="not signed by the key of this federation"):
        read(signed, FEDERATION)


def test_another_key_signs_nothing() -> None:
    with pytest.raises(DecodeError, match="not signed"):
        read_card(sign_card(CARD, bytes([9]) * 32), FEDERATION)
    with pytest.raises(DecodeError, match="federation key of 3 bytes"):
        read_card(sign_card(CARD, AUTHORITY), b"abc")


def test_a_changed_bit_anywhere_is_refused() -> None:
    signed = sign_card(CARD, AUTHORITY)
    for place in range(len(signed)):
        changed = bytearray(signed)
        changed[place] ^= 1 << place % 8
        with pytest.raises(DecodeError):
            read_card(bytes(changed), FEDERATION)


def test_whatever_the_bytes_the_error_is_typed(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(50):
        data = chance.randbytes(chance.randrange(200))
        for read in (read_card, read_revocations):
            with pytest.raises(DecodeError):
                read(data, FEDERATION)


def signed(kind: bytes, values: Any) -> bytes:
    """What an authority with a bug would sign."""
    body = msgpack.packb(values)
    return bytes(msgpack.packb([body, Ed25519PrivateKey.from_private_bytes(AUTHORITY).sign(kind + body)]))


K = bytes(32)


@pytest.mark.parametrize(
    "values",
    [
        [], {}, 1, [1], [2, "a", K, K, 1, 1], [1, b"a", K, K, 1, 1], [1, "a..b", K, K, 1, 1], [1, "a", K[1:], K, 1, 1],
        [1, "a", K, K + K, 1, 1], [1, "a", K, K, 0, 1], [1, "a", K, K, True, 1], [1, "a", K, K, 2**63, 1],
        [1, "a", K, K, 1, -1], [1, "a", K, K, 1, LAST_SECOND + 1], [1, "a", K, K, 1, 1.0], [1, "a", K, K, 1, 1, 1],
    ],
    ids=repr,
)  # fmt: skip
def test_a_signed_card_that_is_none(values: Any) -> None:
    with pytest.raises(DecodeError):
        read_card(signed(b"zmqfl card\0", values), FEDERATION)


@pytest.mark.parametrize("values", [[], [1, 0, []], [2, 1, []], [1, 1, [2, 1]], [1, 1, [1, 1]], [1, 1, [0]], [1, 1, 1]])
def test_a_signed_list_that_is_none(values: Any) -> None:
    with pytest.raises(DecodeError):
        read_revocations(signed(b"zmqfl revocations\0", values), FEDERATION)


def test_another_spelling_and_a_long_one_are_refused() -> None:
    body, signature = msgpack.unpackb(sign_card(CARD, AUTHORITY))
    with pytest.raises(DecodeError, match="spelled in another way"):
        read_card(b"\xdc\x00\x02" + msgpack.packb(body) + msgpack.packb(signature), FEDERATION)
    with pytest.raises(DecodeError, match=f"at most {MAX_CARD}"):
        read_card(bytes(MAX_CARD + 1), FEDERATION)
