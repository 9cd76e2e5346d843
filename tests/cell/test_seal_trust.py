"""Which cards are believed. How sessions follow from it is in `test_sealing`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.cell.sealed import LATER, Clock, sealing_keys
from zmqfl.cell.seal_trust import Trust
from zmqfl.errors import AuthenticationError, DecodeError, KeyFileError, RequestFailed
from zmqfl.transport.keys import spelled
from zmqfl.wire.card import Revocations

CURVE = bytes(range(32))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trust(clock: Clock) -> Trust:
    known = {"server": spelled(CURVE)}
    return Trust("site-1", sealing_keys("site-1", CURVE, serial=1), known.get, lambda: clock.wall)


def test_a_card_is_believed_for_what_it_says(trust: Trust) -> None:
    keys = sealing_keys("server", CURVE, serial=2)
    assert trust.believed(keys.signed, "server") == keys.card
    stranger = sealing_keys("site-2", bytes(32), serial=3)
    assert trust.believed(stranger.signed, "site-2") == stranger.card  # its CURVE key is not known here
    with pytest.raises(AuthenticationError, match=r"site-1 does not believe site-2: the card is that of server"):
        trust.believed(keys.signed, "site-2")
    with pytest.raises(AuthenticationError, match="another CURVE key"):
        trust.believed(sealing_keys("server", bytes(32), serial=2).signed, "server")
    with pytest.raises(DecodeError):
        trust.believed(keys.signed[:-1], "server")


def test_a_card_is_believed_while_it_is_valid(trust: Trust, clock: Clock) -> None:
    card = sealing_keys("server", CURVE, serial=2).card
    assert trust.is_valid(card)
    clock.wall = LATER + 1.0
    assert not trust.is_valid(card)
    with pytest.raises(AuthenticationError, match="has expired"):
        trust.check(card, "server")
    with pytest.raises(RequestFailed, match=r"secure=True needs a valid card: .* has expired.*; run `zmqfl provision`"):
        trust.check_own()


def test_what_was_revoked(trust: Trust) -> None:
    card = sealing_keys("server", CURVE, serial=2).card
    keys = trust.keys
    assert trust.problem(card, "server") == ""
    assert not trust.reload(replace(keys, revocations=Revocations(2, frozenset({2}))))
    assert trust.problem(card, "server") == "card 2 of server is revoked (list 2)"
    with pytest.raises(KeyFileError, match="revocations: is list 1, and list 2 is in use already; copy the newest one"):
        trust.reload(keys)
    trust.reload(replace(keys, revocations=Revocations(3), refused=frozenset({"server"})))
    assert trust.problem(card, "server") == "its keys are revoked here"
    trust.reload(replace(keys, revocations=Revocations(3)))
    assert trust.problem(card, "server") == ""
    trust.refuse("server")
    assert trust.problem(card, "server") == "its keys are revoked here"


def test_other_keys_make_us_another_one(trust: Trust) -> None:
    assert trust.reload(replace(trust.keys, secret=b"x" * 32))
    assert trust.reload(replace(trust.keys, federation=b"x" * 32))
    assert not trust.reload(trust.keys)
