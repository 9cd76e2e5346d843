"""What the verbs of transfers have in common."""

from __future__ import annotations

import pytest

from zmqfl.cell.transfer_terms import check_chunk, reply_of, targets_of
from zmqfl.errors import ArgumentError, CellReturnCode, EncodeError, FqcnError
from zmqfl.wire.payload import decode


def test_targets_are_names_each_once() -> None:
    assert targets_of("site-1") == ("site-1",)
    assert targets_of(iter(["b", "a", "b"])) == ("b", "a")
    with pytest.raises(ArgumentError, match="no targets"):
        targets_of([])
    with pytest.raises(FqcnError, match="to"):
        targets_of("site 1")


@pytest.mark.parametrize("size", [0, -1])
def test_a_chunk_has_bytes(size: int) -> None:
    assert check_chunk(1) == 1
    with pytest.raises(ArgumentError, match="chunk_size"):
        check_chunk(size)


def test_a_reply_is_a_payload() -> None:
    assert reply_of(None).bodies == ()
    reply = reply_of({"loss": 0.5})
    assert (reply.code, decode(reply.bodies)) == (CellReturnCode.OK, {"loss": 0.5})
    with pytest.raises(EncodeError):
        reply_of(object())
