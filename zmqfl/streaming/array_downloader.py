"""Arrays by name that are downloaded: each is serialised once, whatever the number of receivers.

    owner     rid = add_arrays(downloader, {"w": weights, "b": bias})
    receiver  error, arrays = download_arrays("server", rid, 10.0, cell)

Source: reference "flare" 4.7, 7.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from zmqfl.blobs.digest import check_digest, digest
from zmqfl.cell.callbacks import Callback, callback
from zmqfl.cell.cell import Cell
from zmqfl.context.signal import Signal
from zmqfl.errors import ArgumentError, DecodeError
from zmqfl.streaming.cacheable import CacheableObject, ItemConsumer
from zmqfl.streaming.cell_streams import checked_callback
from zmqfl.streaming.downloadable import DownloadStatus
from zmqfl.streaming.downloading import download_object
from zmqfl.streaming.object_downloader import ObjectDownloader
from zmqfl.wire import payload

Array = npt.NDArray[Any]
_LENGTH: Final = struct.Struct("<I")
"""Bytes of the frame that says what the array is; it stands before it, and the array's own bytes behind."""


def add_arrays(
    downloader: ObjectDownloader,
    arrays: Mapping[str, Array],
    max_chunk_size: int | None = None,
    ref_id: str | None = None,
    arrays_downloaded_cb: Any = None,
    **cb_kwargs: Any,
) -> str:
    """Offer arrays; returns the reference id by which any cell may download them with `download_arrays`.

    They are not copied: one that is changed while it is offered is an error for the receivers that have not got it.
    `max_chunk_size`: bytes of a chunk, somewhat below 1 MiB unless given. `ref_id`: the id to offer them by, if
    receivers know it already. `arrays_downloaded_cb(to_receiver, status, **cb_kwargs)`: called once per receiver, with
    the name of its cell and "success" or "failed", and once more with ("", "") when all have ended. Raises
    `ArgumentError` (a ValueError) for what is no dict of arrays by name and as `ObjectDownloader.add_object` does,
    `EncodeError` for arrays that cannot travel.
    """
    if not isinstance(downloader, ObjectDownloader):
        raise ArgumentError(f"downloader must be an ObjectDownloader, not {type(downloader).__name__}")
    downloaded = callback(checked_callback(arrays_downloaded_cb, "arrays_downloaded_cb"), cb_kwargs)
    return downloader.add_object(OfferedArrays(arrays, max_chunk_size, downloaded), ref_id)


def download_arrays(
    from_fqcn: str,
    ref_id: str,
    per_request_timeout: float,
    cell: Cell,
    secure: bool = False,
    optional: bool = False,
    abort_signal: Signal | None = None,
    max_retries: int = 3,
    progress_cb: Any = None,
    progress_interval: float = 30.0,
    array_received_cb: Any = None,
    **cb_kwargs: Any,
) -> tuple[str | None, dict[str, Any]]:
    """Download arrays, and wait. Returns (None, the arrays by name), or (why not, {}).

    They are writable and own their memory. `array_received_cb(name, array, **cb_kwargs)`: called with each when
    it is whole, in this thread; unless it returns None, what it returns takes the place of the array, which so need not
    stay in memory; what it raises ends the download. All arrays together may have `object_limit` bytes (of the
    cell's config). The other arguments, and what is raised: see `download_object`.
    """
    received = checked_callback(array_received_cb, "array_received_cb")
    if not isinstance(cell, Cell):
        raise ArgumentError(f"cell must be a Cell, not {type(cell).__name__}")
    consumer = ArrayConsumer(cell.config.object_limit, callback(received, cb_kwargs))
    download_object(
        from_fqcn, ref_id, per_request_timeout, cell, consumer, secure, optional, abort_signal, max_retries,
        progress_cb, progress_interval,
    )  # fmt: skip
    if consumer.error is not None:
        return consumer.error, {}
    return None, consumer.result or {}


class OfferedArrays(CacheableObject):
    """Arrays by name, an item each."""

    def __init__(
        self, arrays: Mapping[str, Array], max_chunk_size: int | None = None, downloaded: Callback | None = None
    ) -> None:
        super().__init__(_checked(arrays), max_chunk_size)
        self._named = list(arrays.items())
        self._downloaded = downloaded
        self._digests = [[digest(frame) for frame in payload.encode(list(each), copy=False)] for each in self._named]

    def get_item_count(self) -> int:
        """How many arrays there are."""
        return len(self._named)

    def produce_item(self, index: int) -> bytes:
        """An array with its name. Raises `DigestError` when it is not what it was when it was offered."""
        name, array = self._named[index]
        item = pack([name, array])
        for frame, expected in zip(frames_of(item), self._digests[index], strict=True):
            check_digest(frame, expected, f"array {name!r}")
        return item

    def downloaded_to_one(self, to_receiver: str, status: DownloadStatus) -> None:
        """Tell the application."""
        super().downloaded_to_one(to_receiver, status)
        if self._downloaded is not None:
            self._downloaded.run(to_receiver, status)

    def downloaded_to_all(self) -> None:
        """Tell the application."""
        if self._downloaded is not None:
            self._downloaded.run("", "")

    def release(self) -> None:
        """Let go of the arrays."""
        super().release()
        self._named = []


class ArrayConsumer(ItemConsumer):
    """Takes arrays with their names; `result` is a dict of them."""

    def __init__(self, limit: int | None = None, received: Callback | None = None) -> None:
        super().__init__(limit)
        self._received = received

    def consume_items(self, items: Sequence[bytes | bytearray], result: Any) -> dict[str, Any]:
        """Take some. Raises `DecodeError` for what is no array with its name, or has come before."""
        arrays: dict[str, Any] = {} if result is None else result
        for item in items:
            match payload.decode(frames_of(item)):
                case [str(name), np.ndarray() as array] if name not in arrays:
                    kept = None if self._received is None else self._received.run(name, array)
                    arrays[name] = array if kept is None else kept
                case _:
                    raise DecodeError("this is no array with a name of its own")
        return arrays


def pack(value: Any) -> bytes:
    """A value of at most one big array as bytes. Raises `EncodeError`."""
    head, *rest = payload.encode(value, copy=False)
    return b"".join([_LENGTH.pack(len(head)), head, *rest])


def frames_of(item: bytes | bytearray) -> list[memoryview]:
    """The frames of what `pack` made, not copied. Raises `DecodeError`."""
    view = memoryview(item)
    if len(view) < _LENGTH.size or (end := _LENGTH.size + _LENGTH.unpack_from(view)[0]) > len(view):
        raise DecodeError(f"{len(view)} bytes are no array with its name")
    return [view[_LENGTH.size : end], *([view[end:]] if end < len(view) else [])]


def _checked(arrays: Any) -> Any:
    if not isinstance(arrays, Mapping):
        raise ArgumentError(f"arrays must be a dict of arrays by name, not {type(arrays).__name__}")
    for name, array in arrays.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray):
            raise ArgumentError(f"arrays[{name!r}] is a {type(array).__name__}; give arrays with a str as their name")
    return arrays
