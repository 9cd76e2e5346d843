"""The Noise handshake KK with X25519, AES-256-GCM and SHA-256, and the transport keys that come of it.

Both sides know each other's static key before they begin. Two messages, then two keys, one for each direction:

    initiator   -> e, es, ss     `write`, then `read`
    responder   <- e, ee, se     `read`, then `write`
    both        `split`: (key initiator to responder, key responder to initiator)

What is read is from who has the static key, or `DecodeError` is raised and the handshake is of no use any more. Chance
is an argument: `ephemeral` is 32 random bytes, used for this one handshake. Transport messages have explicit counters:
the sender counts up from 0 and never uses one twice; who receives them keeps `zmqfl.wire.seal.ReplayWindow`.

Source: "The Noise Protocol Framework", revision 34, sections 4, 5, 7 and 12; tested with published vectors.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from zmqfl.errors import DecodeError, LocalProtocolError

PROTOCOL: Final = b"Noise_KK_25519_AESGCM_SHA256"
KEY: Final = 32
"""Bytes of a key, secret or public, and of a hash."""
TAG: Final = 16
"""Bytes that a ciphertext is longer than what it hides."""
MOST_COUNTER: Final = 2**64 - 2
"""2**64 - 1 is reserved by Noise."""


class Cipher:
    """One direction of a transport. The caller sees to it that no counter is used twice with one key."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, counter: int, plain: bytes, bound: bytes) -> bytes:
        """`plain` encrypted, and bound to the associated data `bound`."""
        return self._cipher.encrypt(_nonce(counter), plain, bound)

    def open(self, counter: int, sealed: bytes, bound: bytes) -> bytes:
        """What was sealed with this counter and these associated data. Raises `DecodeError` for anything else."""
        return _decrypt(self._cipher, counter, sealed, bound)


class Handshake:
    """One side of one handshake. `static`: our secret key; `peer`: their public key; `prologue`: known to both.

    Raises `DecodeError` for a `peer` that is no key.
    """

    def __init__(self, *, initiator: bool, static: bytes, peer: bytes, prologue: bytes, ephemeral: bytes) -> None:
        self._static = X25519PrivateKey.from_private_bytes(static)
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        self._peer = _public(peer)
        self._peer_ephemeral: X25519PublicKey | None = None
        self._initiator = initiator
        self._steps = ["write", "read"] if initiator else ["read", "write"]
        self._chain = self._hash = PROTOCOL.ljust(KEY, b"\0")
        self._cipher: AESGCM | None = None
        self._counter = 0
        mine = self._static.public_key().public_bytes_raw()
        for known in (prologue, *((mine, peer) if initiator else (peer, mine))):
            self._mix_hash(known)

    def write(self, payload: bytes = b"") -> bytes:
        """The message of this side, with `payload` in it. The first payload has no forward secrecy."""
        self._step("write")
        public = self._ephemeral.public_key().public_bytes_raw()
        self._mix_hash(public)
        self._mix_keys()
        return public + self._encrypt(payload)

    def read(self, message: bytes) -> bytes:
        """The payload in the message of the other side. Raises `DecodeError` unless it is theirs."""
        self._step("read")
        if len(message) < KEY + TAG:
            raise DecodeError(f"a handshake message of {len(message)} bytes; at least {KEY + TAG}")
        self._peer_ephemeral = _public(message[:KEY])
        self._mix_hash(message[:KEY])
        self._mix_keys()
        return self._decrypt(message[KEY:])

    def split(self) -> tuple[bytes, bytes]:
        """(key from initiator to responder, key from responder to initiator), when both messages are through."""
        if self._steps:
            raise LocalProtocolError(f"the handshake is not over: {self._steps[0]} comes first")
        first, second = _derive(self._chain, b"")
        return first, second

    @property
    def hash(self) -> bytes:
        """Names this handshake: 32 bytes that are the same on both sides, and of no other one."""
        return self._hash

    def _step(self, name: str) -> None:
        if not self._steps or self._steps.pop(0) != name:
            raise LocalProtocolError(f"this handshake has nothing to {name} now")

    def _mix_keys(self) -> None:
        """The Diffie-Hellman results of the message that is written or read: es and ss, then ee and se."""
        if self._cipher is None:
            pairs = [(self._ephemeral, self._peer) if self._initiator else (self._static, self._peer_ephemeral)]
            pairs.append((self._static, self._peer))
        else:
            pairs = [(self._ephemeral, self._peer_ephemeral)]
            pairs.append((self._static, self._peer_ephemeral) if self._initiator else (self._ephemeral, self._peer))
        for secret, public in pairs:
            assert public is not None
            self._mix_key(_exchange(secret, public))

    def _mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def _mix_key(self, shared: bytes) -> None:
        self._chain, key = _derive(self._chain, shared)
        self._cipher, self._counter = AESGCM(key), 0

    def _encrypt(self, plain: bytes) -> bytes:
        assert self._cipher is not None
        sealed = self._cipher.encrypt(_nonce(self._counter), plain, self._hash)
        self._counter += 1
        self._mix_hash(sealed)
        return sealed

    def _decrypt(self, sealed: bytes) -> bytes:
        assert self._cipher is not None
        plain = _decrypt(self._cipher, self._counter, sealed, self._hash)
        self._counter += 1
        self._mix_hash(sealed)
        return plain

    def __repr__(self) -> str:
        return (
            f"<Handshake {'initiator' if self._initiator else 'responder'}, to come: {', '.join(self._steps) or '-'}>"
        )


def public_of(secret: bytes) -> bytes:
    """The public X25519 key of a secret one."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def _derive(chain: bytes, data: bytes) -> tuple[bytes, bytes]:
    """HKDF of section 4.3 with two outputs."""
    secret = hmac.digest(chain, data, "sha256")
    first = hmac.digest(secret, b"\x01", "sha256")
    return first, hmac.digest(secret, first + b"\x02", "sha256")


def _nonce(counter: int) -> bytes:
    if not 0 <= counter <= MOST_COUNTER:
        raise LocalProtocolError(f"{counter} is no counter")
    return bytes(4) + counter.to_bytes(8, "big")


def _decrypt(cipher: AESGCM, counter: int, sealed: bytes, bound: bytes) -> bytes:
    if not 0 <= counter <= MOST_COUNTER:
        raise DecodeError(f"{counter} is no counter")
    try:
        return cipher.decrypt(_nonce(counter), sealed, bound)
    except InvalidTag:
        raise DecodeError("it was not sealed by who is said to have sealed it, or was changed on its way") from None


def _public(key: bytes) -> X25519PublicKey:
    try:
        return X25519PublicKey.from_public_bytes(key)
    except ValueError:
        raise DecodeError(f"{len(key)} bytes are no X25519 key") from None


def _exchange(secret: X25519PrivateKey, public: X25519PublicKey) -> bytes:
    try:
        return secret.exchange(public)
    except ValueError:  # the result is zero: a point that makes it independent of our secret
        raise DecodeError("a key that no honest cell has") from None
