"""Files that are offered together with objects, and pulled as fast as any file: receivers use `download_file`.

Source: reference "flare" 4.2.
"""

from __future__ import annotations

from typing import Any

from zmqfl.blobs.source import FileSource
from zmqfl.cell.callbacks import Callback, callback
from zmqfl.cell.transfer_verbs import CHUNK
from zmqfl.errors import ArgumentError
from zmqfl.streaming.cell_streams import checked_callback
from zmqfl.streaming.downloadable import Downloadable, DownloadStatus, ProduceRC
from zmqfl.streaming.file_streamer import checked_file
from zmqfl.streaming.object_downloader import ObjectDownloader


def add_file(
    downloader: ObjectDownloader,
    file_name: str,
    chunk_size: int | None = None,
    ref_id: str | None = None,
    file_downloaded_cb: Any = None,
    **cb_kwargs: Any,
) -> str:
    """Offer a file; returns the reference id by which any cell may fetch it with `download_file`.

    `chunk_size`: bytes, 1 MiB unless given. `ref_id`: the id to offer it by, if receivers know it already.
    `file_downloaded_cb(to_receiver, status, file_name, **cb_kwargs)`: called once per receiver, with the name of its
    cell and "success" or "failed", and once more with ("", "", file_name) when all receivers have ended.
    The file must not change while it is offered: receivers then get an error. Raises `ArgumentError` (a ValueError) for
    what is no file and as `ObjectDownloader.add_object` does, `SourceError`, `ClosedError`.
    """
    if not isinstance(downloader, ObjectDownloader):
        raise ArgumentError(f"downloader must be an ObjectDownloader, not {type(downloader).__name__}")
    if chunk_size is not None and (type(chunk_size) is not int or chunk_size <= 0):
        raise ArgumentError(f"chunk_size must be a whole number of bytes above 0, not {chunk_size!r}")
    path = checked_file(file_name)
    downloaded = callback(checked_callback(file_downloaded_cb, "file_downloaded_cb"), cb_kwargs)
    return downloader.add_source(OfferedFile(str(file_name), downloaded), FileSource(path), chunk_size or CHUNK, ref_id)


class OfferedFile(Downloadable):
    """Tells the application what becomes of a file. Its chunks come from the cell's own pull, never from here."""

    def __init__(self, file_name: str, downloaded: Callback | None) -> None:
        super().__init__(file_name)
        self._downloaded = downloaded

    def produce(self, state: dict[str, Any], requester: str) -> tuple[ProduceRC, Any, dict[str, Any]]:
        """Produce nothing: it is never asked."""
        return ProduceRC.ERROR, None, {}

    def downloaded_to_one(self, to_receiver: str, status: DownloadStatus) -> None:
        """Tell the application."""
        if self._downloaded is not None:
            self._downloaded.run(to_receiver, status, self.base_obj)

    def downloaded_to_all(self) -> None:
        """Tell the application."""
        if self._downloaded is not None:
            self._downloaded.run("", "", self.base_obj)
