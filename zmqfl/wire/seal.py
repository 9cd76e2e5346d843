"""What `secure=True` sends: a parcel that only its targets can open, and for each of them a wrap with the keys.

    content key   K, 32 random bytes; one message or transfer; all its targets get it
    reply key     R, 32 random bytes; one message or transfer and one target; nobody else gets it
    wrap          K and R in a transport message of the session with one target (`zmqfl.wire.noise`)
    parcel        a head (msgpack) and bodies, each AES-256-GCM under a key that is derived from K or R

    purpose       key   from -> to           parcels
    content       K     caller -> targets    one: the request or fire
    context       K     owner -> targets     one: the context of a push
    chunk         K     owner -> targets     one for each chunk
    end           R     owner -> a target    one: how many chunks, and their root digest
    reply         R     callee -> caller     one: the reply to the request
    taken         R     target -> owner      one for each chunk: what its consumer says
    closed        R     target -> owner      one: how it ended

A nonce is the number of the part in its parcel and of the parcel under its key. The associated data of each part are
the facts of the message (purpose, origin and its instance, channel, topic, codec, transfer), these two numbers, and
whether it is the last part: so nothing can be taken out, added, reordered, or shown as something else. Those of a
wrap are the receiver's name and instance, the session, the number of the request, and the digest of the parcel: all
targets know K, but only the origin can make a wrap that fits a parcel.

Chance is an argument here, and a key is used for one purpose of one message, so no nonce is used twice.
Source: design, decision 12; Noise, section 11.4 (explicit counters and a window).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from zmqfl.errors import DecodeError, EncodeError
from zmqfl.wire.codecs import SEALED
from zmqfl.wire.messages import MAX_HEADER, Buffer
from zmqfl.wire.noise import KEY, TAG, Cipher
from zmqfl.wire.record import record

WINDOW: Final = 4096
"""Counters that a receiver remembers: a message that is overtaken by more of its session is refused."""
MOST_SEAL: Final = MAX_HEADER - 16 * 1024
"""Bytes of head and wraps in the header of a message; the rest is for what else it says."""
MOST_PART: Final = 2**31 - 1 - TAG
"""Bytes that AES-GCM seals at once here."""
_ENTRY: Final = 2 * KEY + TAG + 24
"""Bytes at most of one wrap in a header, beside its name."""


@record
class Facts:
    """What a parcel belongs to. `purpose`: see the table; `transfer`: 16 random bytes of a push, else b""."""

    purpose: str
    origin: str
    instance: int
    channel: str
    topic: str
    transfer: bytes = b""

    def pack(self) -> bytes:
        """The one spelling of it."""
        packed: bytes = msgpack.packb(
            [self.purpose, self.origin, self.instance, self.channel, self.topic, SEALED, self.transfer]
        )
        return packed


@record
class Parcel:
    """A sealed head and sealed bodies."""

    head: bytes
    bodies: tuple[bytes, ...] = ()

    def digest(self) -> bytes:
        """SHA-256 over all of it."""
        return digest_of(self.head, self.bodies)


class Seals:
    """Seals and opens the parcels of one purpose: `index` is the number of a parcel under this key."""

    __slots__ = ("_cipher", "_facts")

    def __init__(self, key: bytes, facts: Facts) -> None:
        self._cipher = AESGCM(subkey(key, facts.purpose))
        self._facts = facts.pack()

    def seal(self, index: int, head: Any, bodies: Sequence[Buffer] = ()) -> Parcel:
        """Seal a head, which msgpack can spell, and bodies. Raises `EncodeError` for a body that is too long."""
        if any(len(body) > MOST_PART for body in bodies):
            raise EncodeError(f"a body of {max(map(len, bodies))} bytes; sealed are at most {MOST_PART}")
        parts = (msgpack.packb(head), *bodies)
        sealed = [
            self._cipher.encrypt(_nonce(index, part), data, self._bound(index, part, part == len(bodies)))
            for part, data in enumerate(parts)
        ]
        return Parcel(sealed[0], tuple(sealed[1:]))

    def open(self, index: int, head: object, bodies: Sequence[Buffer] = ()) -> tuple[Any, tuple[bytes, ...]]:
        """(head, bodies) of a parcel that was sealed with this key, these facts and this index; else `DecodeError`."""
        if not isinstance(head, bytes):
            raise DecodeError("there is no sealed head")
        try:
            opened = [
                self._cipher.decrypt(_nonce(index, part), data, self._bound(index, part, part == len(bodies)))
                for part, data in enumerate((head, *bodies))
            ]
        except InvalidTag:
            raise DecodeError("it was not sealed for this, or was changed on its way") from None
        return _unpack(opened[0]), tuple(opened[1:])

    def _bound(self, index: int, part: int, last: bool) -> bytes:
        return self._facts + index.to_bytes(8, "big") + part.to_bytes(4, "big") + bytes([last])


@record
class Wrap:
    """The keys of one parcel for one target, as they travel."""

    session: int
    counter: int
    sealed: bytes

    def values(self) -> list[Any]:
        """For a header."""
        return [self.session, self.counter, self.sealed]


@record
class Belonging:
    """What a wrap is bound to: its target, the request's number there (0 for a push), and the parcel's digest."""

    target: str
    instance: int
    session: int
    id: int
    digest: bytes

    def pack(self) -> bytes:
        """The one spelling of it."""
        packed: bytes = msgpack.packb(["wrap", self.target, self.instance, self.session, self.id, self.digest])
        return packed


def make_wrap(cipher: Cipher, counter: int, belonging: Belonging, content_key: bytes, reply_key: bytes) -> Wrap:
    """The wrap with these keys; `counter` is the next one of the session."""
    sealed = cipher.seal(counter, content_key + reply_key, belonging.pack())
    return Wrap(belonging.session, counter, sealed)


def open_wrap(cipher: Cipher, wrap: Wrap, belonging: Belonging) -> tuple[bytes, bytes]:
    """(content key, reply key). Raises `DecodeError` for a wrap that was made for anything else."""
    keys = cipher.open(wrap.counter, wrap.sealed, belonging.pack())
    if len(keys) != 2 * KEY:
        raise DecodeError(f"a wrap holds two keys, not {len(keys)} bytes")
    return keys[:KEY], keys[KEY:]


def seal_header(head: bytes, wraps: dict[str, Wrap]) -> dict[str, Any]:
    """What a message says of its seal in clear: the sealed head, and per target its wrap."""
    return {"h": head, "w": {name: wrap.values() for name, wrap in wraps.items()}}


def read_header(value: object, target: str) -> tuple[bytes, Wrap]:
    """(sealed head, wrap for `target`) in what `seal_header` gave. Raises `DecodeError`."""
    match value:
        case {"h": bytes() as head, "w": dict() as wraps}:
            pass
        case _:
            raise DecodeError("is no header of a sealed message")
    match wraps.get(target):
        case [int() as session, int() as counter, bytes() as sealed] if session >= 0 and counter >= 0:
            return head, Wrap(session, counter, sealed)
    raise DecodeError(f"it was not sealed for {target}")


def check_room(head: int, targets: Iterable[str]) -> None:
    """Raise `EncodeError` when a head of so many bytes and the wraps of all targets are too much for one message."""
    names = list(targets)
    size = head + TAG + sum(len(name) + _ENTRY for name in names)
    if size > MOST_SEAL:
        raise EncodeError(
            f"sealed for {len(names)} targets its header would have {size} bytes, at most {MOST_SEAL}; "
            "send it to fewer at once, or put big headers into the payload"
        )


class ReplayWindow:
    """Which counters of a session were seen: the last `WINDOW` one by one, all before them as a whole."""

    __slots__ = ("_next", "_seen")

    def __init__(self) -> None:
        self._next = 0
        self._seen = 0
        """Bit n: counter `_next` - 1 - n was taken."""

    def is_old(self, counter: int) -> bool:
        """Whether nobody remembers any more if this one was taken."""
        return counter < self._next - WINDOW

    def is_new(self, counter: int) -> bool:
        """Whether it was not taken, for sure."""
        if counter >= self._next:
            return True
        return not self.is_old(counter) and not self._seen >> (self._next - 1 - counter) & 1

    def take(self, counter: int) -> bool:
        """Take it, and say whether it was new. Only after its message has proved to be genuine."""
        if not self.is_new(counter):
            return False
        if counter >= self._next:
            ahead = counter + 1 - self._next
            self._seen = self._seen << ahead & (1 << WINDOW) - 1 if ahead < WINDOW else 0
            self._next = counter + 1
        self._seen |= 1 << self._next - 1 - counter
        return True

    def __repr__(self) -> str:
        return f"<ReplayWindow next {self._next}, {self._seen.bit_count()} of the last {WINDOW} taken>"


class RootDigest:
    """SHA-256 over the SHA-256 of each sealed chunk, in order."""

    __slots__ = ("_root", "count")

    def __init__(self) -> None:
        self.count = 0
        self._root = hashlib.sha256()

    def add(self, head: bytes, bodies: Sequence[Buffer]) -> None:
        """The next chunk."""
        self.count += 1
        self._root.update(digest_of(head, bodies))

    def value(self) -> bytes:
        """Of all so far."""
        return self._root.digest()


def digest_of(head: bytes, bodies: Sequence[Buffer]) -> bytes:
    """SHA-256 over parts, such that other parts have another digest, also where their bytes are the same in a row."""
    state = hashlib.sha256()
    for part in (head, *bodies):
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def subkey(key: bytes, purpose: str) -> bytes:
    """The key for one purpose."""
    return hmac.digest(key, b"zmqfl seal " + purpose.encode(), "sha256")


def _nonce(index: int, part: int) -> bytes:
    return part.to_bytes(4, "big") + index.to_bytes(8, "big")


def _unpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, strict_map_key=True)
    except Exception as error:  # noqa: BLE001  msgpack raises six types
        raise DecodeError(f"the sealed head is not msgpack: {type(error).__name__}") from None
