"""Tickets and publications, and what is neither."""

from __future__ import annotations

import pytest

from zmqfl.errors import DecodeError
from zmqfl.fqcn import MAX_LENGTH
from zmqfl.protocol.plane.facts import Fact, props_topic
from zmqfl.protocol.plane.publication import (
    MAX_TICKET,
    Ticket,
    decode_publication,
    decode_ticket,
    encode_publication,
    encode_ticket,
)
from zmqfl.protocol.plane.updates import Update, decode_update, encode_update
from zmqfl.wire import payload

TOPIC = props_topic("site-1")


@pytest.mark.parametrize("session", [0, 1, (1 << 64) - 1])
@pytest.mark.parametrize("is_given_back", [False, True])
def test_a_ticket_comes_out_as_it_went_in(session: int, is_given_back: bool) -> None:
    ticket = Ticket("relay-1.site_2", session, is_given_back)
    frame = encode_ticket(ticket)
    assert frame[0] == (0 if is_given_back else 1)
    assert decode_ticket(frame) == ticket


def test_the_longest_ticket_fits() -> None:
    assert len(encode_ticket(Ticket("n" * MAX_LENGTH, 1))) <= MAX_TICKET


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x01",
        b"\x01props/site-1/",
        b"\x02zmqfl/0000000000000001/site-1",
        b"zmqfl/0000000000000001/site-1",
        b"\x01zmqfl/1/site-1",
        b"\x01zmqfl/000000000000000G/site-1",
        b"\x01zmqfl/0000000000000001/",
        b"\x01zmqfl/0000000000000001/a..b",
        b"\x01zmqfl/0000000000000001/a.a",
        b"\x01zmqfl/0000000000000001/site 1",
        b"\x01zmqfl/0000000000000001/site-1\n",
        b"\x01zmqfl/0000000000000001/" + b"n" * (MAX_LENGTH + 1),
        "\x01zmqfl/0000000000000001/sité".encode(),
    ],
)
def test_what_is_no_ticket(frame: bytes) -> None:
    assert decode_ticket(frame) is None


@pytest.mark.parametrize("size", [0, 10, 20_000])
def test_a_publication_comes_out_as_it_went_in(size: int) -> None:
    update = Update(7, TOPIC, 3, 1, (Fact("site-1", 1, 5, 0, TOPIC, "round", bytes(size)),))
    frames = encode_publication(update.topic, *encode_update(update))
    assert frames[0] == TOPIC.encode()
    assert decode_update(*decode_publication(frames)) == update


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ([], "a publication of 0 frames"),
        ([b"props/a/"], "of 1 frames"),
        ([b"props/a/", b"\x80"], "of 2 frames"),
        ([b"\xff", b"\x80", b"\x90"], "not UTF-8"),
        ([b"props/a/", b"\x90", b"\x90"], "no numbers"),
        ([b"props/a/", b"\xc1", b"\x90"], "payload"),
        ([b"props/a/", b"", b"\x90"], "payload"),
    ],
)
def test_what_is_no_publication(frames: list[bytes], problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        decode_publication(frames)


def test_the_topic_is_that_of_the_first_frame_whatever_the_numbers_say() -> None:
    numbers = payload.encode({"e": 1, "t": "props/other/", "s": 1, "a": 0})
    headers, _ = decode_publication([TOPIC.encode(), *numbers, *payload.encode([])])
    assert headers["t"] == TOPIC
