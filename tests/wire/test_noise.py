"""The handshake gives what the published vectors say, and nothing to anybody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zmqfl.errors import DecodeError, LocalProtocolError
from zmqfl.wire.noise import KEY, MOST_COUNTER, PROTOCOL, TAG, Cipher, Handshake, public_of

VECTORS = sorted((Path(__file__).parent / "vectors").glob("noise_*.json"))


def secret(number: int) -> bytes:
    return bytes([number]) * KEY


def pair(**changes: Any) -> tuple[Handshake, Handshake]:
    """Both sides; `changes` are those of the responder."""
    first = Handshake(
        initiator=True, static=secret(1), peer=public_of(secret(2)), prologue=b"a to b", ephemeral=secret(3)
    )
    fields = {"static": secret(2), "peer": public_of(secret(1)), "prologue": b"a to b", "ephemeral": secret(4)}
    return first, Handshake(initiator=False, **{**fields, **changes})


@pytest.mark.parametrize("file", VECTORS, ids=lambda file: file.stem)
def test_published_vectors(file: Path) -> None:
    vector = json.loads(file.read_text())
    assert vector["protocol_name"].encode() == PROTOCOL
    value = {name: bytes.fromhex(text) for name, text in vector.items() if name[:5] in ("init_", "resp_")}
    messages = [(bytes.fromhex(each["payload"]), bytes.fromhex(each["ciphertext"])) for each in vector["messages"]]
    assert public_of(value["init_static"]) == value["resp_remote_static"]
    assert public_of(value["resp_static"]) == value["init_remote_static"]
    first = Handshake(
        initiator=True, static=value["init_static"], peer=value["init_remote_static"],
        prologue=value["init_prologue"], ephemeral=value["init_ephemeral"],
    )  # fmt: skip
    second = Handshake(
        initiator=False, static=value["resp_static"], peer=value["resp_remote_static"],
        prologue=value["resp_prologue"], ephemeral=value["resp_ephemeral"],
    )  # fmt: skip
    (one, sealed_one), (two, sealed_two), *transport = messages
    assert first.write(one) == sealed_one
    assert second.read(sealed_one) == one
    # This revision of the published file has the hash as it is between the two messages.
    assert first.hash == second.hash == bytes.fromhex(vector["handshake_hash"])
    assert second.write(two) == sealed_two
    assert first.read(sealed_two) == two
    assert first.hash == second.hash
    assert first.split() == second.split()
    ciphers = [Cipher(key) for key in first.split()]
    for number, (plain, sealed) in enumerate(transport):  # they speak in turns, the initiator first
        cipher, counter = ciphers[number % 2], number // 2
        assert cipher.seal(counter, plain, b"") == sealed
        assert cipher.open(counter, sealed, b"") == plain


def test_there_are_vectors() -> None:
    assert VECTORS


@pytest.mark.parametrize(
    "changes",
    [{"static": secret(9)}, {"peer": public_of(secret(9))}, {"prologue": b"a to c"}],
    ids=["another responder", "another initiator", "another prologue"],
)
def test_who_is_not_meant_reads_nothing(changes: dict[str, bytes]) -> None:
    first, second = pair(**changes)
    with pytest.raises(DecodeError, match="not sealed by who"):
        second.read(first.write(b"hello"))


def test_a_changed_byte_anywhere_is_refused() -> None:
    message = pair()[0].write(b"hello")
    for place in range(len(message)):
        changed = bytearray(message)
        changed[place] ^= 1
        with pytest.raises(DecodeError):
            pair()[1].read(bytes(changed))


def test_a_changed_answer_is_refused() -> None:
    first, second = pair()
    second.read(first.write())
    answer = bytearray(second.write())
    answer[-1] ^= 1
    with pytest.raises(DecodeError):
        first.read(bytes(answer))


def test_an_answer_to_another_handshake_is_refused() -> None:
    first, second = pair()
    second.read(first.write())
    other = Handshake(
        initiator=True, static=secret(1), peer=public_of(secret(2)), prologue=b"a to b", ephemeral=secret(5)
    )
    other.write()
    with pytest.raises(DecodeError):
        other.read(second.write())


@pytest.mark.parametrize("length", [0, KEY, KEY + TAG - 1])
def test_a_short_message_is_refused(length: int) -> None:
    with pytest.raises(DecodeError, match="handshake message"):
        pair()[1].read(bytes(length))


def test_a_point_of_small_order_is_refused() -> None:
    with pytest.raises(DecodeError, match="no honest cell"):
        pair()[1].read(bytes(KEY + TAG))
    with pytest.raises(DecodeError, match="no X25519 key"):
        pair(peer=b"short")


def test_steps_are_taken_in_order_and_once() -> None:
    first, second = pair()
    with pytest.raises(LocalProtocolError):
        second.write()
    first, second = pair()
    with pytest.raises(LocalProtocolError, match="not over"):
        first.split()
    message = first.write()
    assert "to come: read" in repr(first)
    with pytest.raises(LocalProtocolError):
        first.write()
    second.read(message)
    second.write()
    assert "responder, to come: -" in repr(second)
    with pytest.raises(LocalProtocolError):
        second.read(message)


def test_transport_binds_counter_and_data() -> None:
    cipher = Cipher(secret(7))
    sealed = cipher.seal(5, b"text", b"bound")
    assert len(sealed) == 4 + TAG
    assert cipher.open(5, sealed, b"bound") == b"text"
    for counter, bound in ((4, b"bound"), (5, b"other"), (MOST_COUNTER + 1, b"bound"), (-1, b"bound")):
        with pytest.raises(DecodeError):
            cipher.open(counter, sealed, bound)
    with pytest.raises(LocalProtocolError):
        cipher.seal(MOST_COUNTER + 1, b"", b"")
