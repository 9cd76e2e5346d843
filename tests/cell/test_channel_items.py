"""Items as values: packed where that makes them smaller, and a checked way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgpack import packb

from zmqfl.cell.channel_items import SMALLEST, ChannelItem, check_pack, decode_item, encode_item
from zmqfl.errors import ArgumentError, DecodeError, EncodeError
from zmqfl.protocol.channels.items import item_of
from zmqfl.wire.codecs import PACKED, PAYLOAD_CODEC


def test_what_gets_smaller_is_packed() -> None:
    value = {"zeros": np.zeros(100_000), "noise": np.random.default_rng(1).bytes(50_000), "n": 1}
    codec, frames = encode_item(value, "lz4")
    assert codec == PACKED
    assert sum(map(len, frames)) < 60_000
    np.testing.assert_equal(decode_item(codec, frames), value)


@pytest.mark.parametrize("value", [1, "short", b"x" * (SMALLEST - 20), np.random.default_rng(1).bytes(50_000)])
def test_what_does_not_is_not(value: Any) -> None:
    codec, frames = encode_item(value, "zstd")
    assert codec == PAYLOAD_CODEC
    assert decode_item(codec, frames) == value


def test_without_packing_nothing_is_packed() -> None:
    codec, frames = encode_item(np.zeros(100_000), None)
    assert (codec, sum(map(len, frames)) > 800_000) == (PAYLOAD_CODEC, True)


@pytest.mark.parametrize(("codec", "frames"), [
    (2, (b"x",)), (PACKED, (b"\xc1",)), (PACKED, (packb(3), b"x")), (PACKED, (packb([0]),)),
    (PACKED, (packb(["0"]), b"x")), (PACKED, (packb([100]), b"no chunk of blosc2")), (PAYLOAD_CODEC, (b"\xc1",)),
    (PACKED, (packb([1 << 40]), bytes(100))),
])  # fmt: skip
def test_chan_R33_what_no_writer_sends_is_refused_before_anything_is_allocated(
    codec: int, frames: tuple[bytes, ...]
) -> None:
    with pytest.raises(DecodeError):
        decode_item(codec, frames)


def test_chan_R31_objects_do_not_travel() -> None:
    with pytest.raises(EncodeError):
        encode_item(np.array([object()]), None)
    with pytest.raises(EncodeError):
        encode_item(np.array([object()]), "lz4")


def test_how_to_pack() -> None:
    assert [check_pack(pack) for pack in (None, False, True, "lz4", "zstd")] == [None, None, "lz4", "lz4", "zstd"]
    with pytest.raises(ArgumentError, match="'lz4' or 'zstd'"):
        check_pack("gzip")


def test_an_item_is_decoded_once_when_it_is_looked_at() -> None:
    codec, frames = encode_item([1], None)
    item = ChannelItem("c", item_of("relay.site-1/7", 3, codec, frames))
    assert (item.writer, item.place, item.number, item.channel) == ("relay.site-1", 7, 3, "c")
    assert item.value is item.value
    assert repr(item) == "<ChannelItem 3 of relay.site-1 on 'c', 130 bytes>"
    with pytest.raises(DecodeError):
        _ = ChannelItem("c", item_of("a/1", 1, 99, frames)).value
