"""What a channel carries: values as frames, packed where that makes them smaller, and what a reader gets.

An item that is packed (codec 5) has one frame more, the first: msgpack, for each other frame the bytes that it had, or
0 where it is as it was. A packed frame is one blosc2 chunk.
"""

from __future__ import annotations

from typing import Any, Final

from msgpack import packb, unpackb

from zmqfl.errors import ArgumentError, DecodeError
from zmqfl.protocol.channels.items import Item, cell_of
from zmqfl.wire import payload
from zmqfl.wire.codecs import PACKED, PAYLOAD_CODEC
from zmqfl.wire.compression import CodecName, compress, decompress
from zmqfl.wire.messages import Buffer

SMALLEST: Final = 1024
"""Bytes from which packing is tried."""
_UNREAD: Final = object()


class ChannelItem:
    """One item of a channel, as its reader gets it.

    `writer`: the cell that put it; `place`: which of its writers; `number`: which of that one's items, from 1;
    `channel`: the name; `size`: bytes.
    """

    __slots__ = ("_item", "_value", "channel", "size")

    def __init__(self, channel: str, item: Item) -> None:
        self.channel = channel
        self.size = item.size
        self._item = item
        self._value: Any = _UNREAD

    @property
    def writer(self) -> str:
        """The cell that put it."""
        return cell_of(self._item.writer)

    @property
    def place(self) -> int:
        """Which of the writers of that cell: its `place`."""
        return int(self._item.writer.partition("/")[2] or 0)

    @property
    def number(self) -> int:
        """Which of its writer's items it is, from 1. A number that is left out was dropped on the way."""
        return self._item.number

    @property
    def value(self) -> Any:
        """What was put, decoded when it is looked at first. Raises `DecodeError` for what no writer should send."""
        if self._value is _UNREAD:
            self._value = decode_item(self._item.codec, self._item.frames)
        return self._value

    def __repr__(self) -> str:
        return f"<ChannelItem {self.number} of {self.writer} on {self.channel!r}, {self.size} bytes>"


def encode_item(value: Any, pack: CodecName | None) -> tuple[int, tuple[Buffer, ...]]:
    """(codec, frames) of a value, which is fixed from now on. Raises `EncodeError`."""
    if pack is None:
        return PAYLOAD_CODEC, tuple(payload.encode(value))
    frames, items = payload.encode_pieces(value)
    plain = payload.message_frames(frames)
    sizes = items if len(items) == len(plain) else [1] * len(plain)
    packed = [_packed(frame, item, pack) for frame, item in zip(plain, sizes, strict=True)]
    if all(size == 0 for size, _ in packed):
        return PAYLOAD_CODEC, tuple(plain)
    return PACKED, (packb([size for size, _ in packed]), *(frame for _, frame in packed))


def decode_item(codec: int, frames: tuple[Buffer, ...]) -> Any:
    """The value of an item. Raises `DecodeError`."""
    if codec == PAYLOAD_CODEC:
        return payload.decode(frames)
    if codec != PACKED:
        raise DecodeError(f"an item with codec {codec}, which is not known here")
    try:
        sizes = unpackb(frames[0])
    except Exception as error:
        raise DecodeError(f"the sizes of a packed item cannot be read: {error}") from error
    if not isinstance(sizes, list) or len(sizes) != len(frames) - 1 or not all(type(size) is int for size in sizes):
        raise DecodeError("a packed item has not one size for each frame")
    return payload.decode(
        [decompress(frame, size) if size else frame for size, frame in zip(sizes, frames[1:], strict=True)]
    )


def check_pack(pack: object) -> CodecName | None:
    """How the items of a channel are packed: None or False, "lz4" (True), "zstd". Raises `ArgumentError`."""
    match pack:
        case None | False:
            return None
        case True | "lz4":
            return "lz4"
        case "zstd":
            return "zstd"
    raise ArgumentError(f"pack must be None, 'lz4' or 'zstd', not {pack!r}")


def _packed(frame: Buffer, item: int, codec: CodecName) -> tuple[int, Buffer]:
    """(bytes that it had, the chunk), or (0, the frame) where a chunk would be no smaller."""
    if len(frame) < SMALLEST:
        return 0, frame
    chunk = compress(frame, codec, item)
    return (len(frame), chunk) if len(chunk) < len(frame) else (0, frame)
