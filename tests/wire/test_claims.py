from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.values import bounded, values
from zmqfl.wire.claims import check_claims
from zmqfl.wire.payload import encode
from zmqfl.wire.tags import Refusal


@bounded
@given(values)
def test_what_we_write_passes(value: Any) -> None:
    check_claims(encode(value)[0])


@pytest.mark.parametrize(
    "value",
    [
        *([*range(70_000)], [0] * 16, {i: i for i in range(70_000)}, dict.fromkeys(map(str, range(16)))),
        *(b"x" * 255, b"x" * 256, b"x" * 65_536, "x" * 31, "x" * 32, "x" * 256, "x" * 65_536, 1.5, -1, -(2**40)),
        *(msgpack.ExtType(1, bytes(length)) for length in (0, 1, 2, 4, 8, 16, 3, 255, 256, 65_536)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_form_of_msgpack_passes(value: Any) -> None:
    check_claims(msgpack.packb([value, value]))
    check_claims(memoryview(msgpack.packb({"a": value, "b": [value] * 20}, use_single_float=True)))


@pytest.mark.parametrize(
    "body",
    [
        b"\xdc\x00\x04\xc0",
        b"\xde\x00\x03\xc0\xc0\xc0",
        b"\xdd\xff\xff\xff\xff" + bytes(100),
        b"\xdc\x00\x40" * 3 + bytes(0x60),
        b"\x92\xdc\x00\x08" + bytes(8) + b"\xdf\x00\x00\x00\x08" + bytes(6),
    ],
)
def test_claims_of_more_than_there_is_are_refused(body: bytes) -> None:
    with pytest.raises(Refusal, match="items are claimed in"):
        check_claims(body)


@pytest.mark.parametrize("body", [b"\xc1", b"\x91\xc1", b"\xcd\x01", b"\xa5abc"])
def test_what_is_no_msgpack_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal, match="no msgpack, or cut off, at byte"):
        check_claims(body)


@bounded
@given(st.binary(max_size=50))
def test_noise_passes_or_is_refused(body: bytes) -> None:
    with contextlib.suppress(Refusal):
        check_claims(body)
