"""Does a msgpack body hold the items that its containers claim?

msgpack refuses one container that claims more items than the body has bytes, but makes room for each of a thousand
nested ones that claim all of it: 70 KB of such headers cost 512 MiB. So their sum is checked first. All that is short
is skipped by one regular expression, at about the fifth of the time that msgpack takes itself.

Source: the msgpack specification (github.com/msgpack/msgpack/blob/master/spec.md).
"""

from __future__ import annotations

import re

from zmqfl.wire.tags import Refusal

CHECKED_BYTES = 1024
"""Bytes of body from which the check is made; below, the worst claim is 341 headers of 8 KiB each."""

# Containers of up to 15 items count as nothing: msgpack nests 1024 deep at most.
_SHORT = (
    rb"[\x00-\x9f\xc0\xc2\xc3\xe0-\xff]|[\xcc\xd0].|[\xcd\xd1].{2}|[\xca\xce\xd2].{4}|[\xcb\xcf\xd3].{8}|"
    rb"\xc7\x00.|\xd4.{2}|\xd5.{3}|\xd6.{5}|\xd7.{9}|\xd8.{17}|"
    + b"|".join(b"[%c].{%d}" % (0xA0 + length, length) for length in range(32))
)
_SHORT_ITEMS = re.compile(b"(?:%s)*+" % _SHORT, re.DOTALL)
_DATA = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bin and str: bytes of their length
_EXT = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_CONTAINERS = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}  # array and map
_LENGTH_BYTES = _DATA | _EXT | _CONTAINERS
_ITEMS_PER_CLAIM = {0xDC: 1, 0xDD: 1, 0xDE: 2, 0xDF: 2}


def check_claims(body: bytes | bytearray | memoryview) -> None:
    """Raises `Refusal` when the containers in `body` claim more items than it can hold, or when it is no msgpack."""
    place, claimed = 0, 0
    while short := _SHORT_ITEMS.match(body, place):
        place = short.end()
        if place >= len(body):
            return
        code = body[place]
        if code not in _LENGTH_BYTES:
            raise Refusal(f"no msgpack, or cut off, at byte {place}")
        start = place + 1
        place = start + _LENGTH_BYTES[code]
        length = int.from_bytes(body[start:place], "big")
        if code not in _CONTAINERS:
            place += length + (code in _EXT)
            continue
        claimed += length * _ITEMS_PER_CLAIM[code]
        if claimed >= len(body):
            raise Refusal(f"{claimed} or more items are claimed in {len(body)} bytes")
