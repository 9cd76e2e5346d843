"""Retrieve a file: from what another site keeps in one folder, by a `FileStreamer`.

    files = FileRetriever("/data/models", dest_dir="/tmp/in")     # the same component at both sites
    engine.add_component("files", files)
    engine.fire_event(EventType.START_RUN, fl_ctx)
    rc, path = files.retrieve_file("site-1", fl_ctx, 10.0, "best.pt")

Source: seed 001; reference "flare" 3.5.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from zmqfl.blobs.paths import resolve_below
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable
from zmqfl.errors import ArgumentError, SourceError
from zmqfl.streaming.contracts import StreamContext
from zmqfl.streaming.file_streamer import FileStreamer, checked_timeout
from zmqfl.streaming.object_retriever import ObjectRetriever

FILE_NAME: Final = "file_name"


class FileRetriever(ObjectRetriever):
    """See the module.

    `source_dir`: the folder whose files this site gives; it need not be there at a site that only asks. `dest_dir`:
    where retrieved files come, each as `<dest_dir>/<uuid4>`; the system's folder for temporary files unless given.
    `stream_msg_optional`: a failure is no warning in the log. `stream_msg_secure`: seal requests and files.
    `chunk_size`: bytes, 1 MiB unless given. `chunk_timeout`: seconds that a chunk may be without progress, 30 unless
    given. Raises `ArgumentError`.
    """

    def __init__(
        self,
        source_dir: str | os.PathLike[str],
        topic: str | None = None,
        stream_msg_optional: bool = False,
        stream_msg_secure: bool = False,
        dest_dir: str | None = None,
        chunk_size: int | None = None,
        chunk_timeout: float | None = None,
    ) -> None:
        super().__init__(topic)
        given: object = source_dir
        if not isinstance(given, str | os.PathLike) or not str(given):
            raise ArgumentError(f"source_dir must be the path of a folder, not {given!r}")
        if chunk_size is not None and (type(chunk_size) is not int or chunk_size <= 0):
            raise ArgumentError(f"chunk_size must be a whole number of bytes above 0, not {chunk_size!r}")
        self.source_dir = Path(source_dir).absolute()
        self.dest_dir = dest_dir
        self.stream_msg_optional = stream_msg_optional
        self.stream_msg_secure = self.is_secure = stream_msg_secure
        self.chunk_size = chunk_size
        self.chunk_timeout = None if chunk_timeout is None else checked_timeout(chunk_timeout, "chunk_timeout")

    def retrieve_file(
        self, from_site: str, fl_ctx: FLContext, timeout: float, file_name: str
    ) -> tuple[ReturnCode, str | None]:
        """Ask a site for a file, and wait. Returns (code, full path of the file here; None unless OK).

        `file_name`: a path below the `source_dir` of that site. Other arguments, codes and errors: see `retrieve`. What
        becomes of the file is the caller's business.
        """
        return self.retrieve(from_site, fl_ctx, timeout, **{FILE_NAME: file_name})

    def register_stream_processing(
        self, channel: str, topic: str, fl_ctx: FLContext, stream_done_cb: Any, **kwargs: Any
    ) -> None:
        """See `FileStreamer.register_stream_processing`."""
        FileStreamer.register_stream_processing(
            fl_ctx, channel, topic, self.dest_dir, stream_done_cb=stream_done_cb, **kwargs
        )

    def validate_request(self, request: Shareable, fl_ctx: FLContext) -> tuple[str, Any]:
        """(OK, the real path of a file below `source_dir`), or (BAD_REQUEST_DATA, why)."""
        name = request.get(FILE_NAME)
        if not isinstance(name, str) or not name:
            return ReturnCode.BAD_REQUEST_DATA, f"{FILE_NAME} must be the name of a file"
        try:
            return ReturnCode.OK, self._found(name)
        except SourceError:  # whatever is outside: the answer is the same
            what = "it is no file below the source_dir of this site"
            if not self.source_dir.is_dir():
                what = "the source_dir of this site is not there"
            return ReturnCode.BAD_REQUEST_DATA, f"{name!r}: {what}"

    def do_stream(
        self, target: str, request: Shareable, fl_ctx: FLContext, stream_ctx: StreamContext, validated_data: Any
    ) -> Any:
        """See `FileStreamer.stream_file`. Raises `SourceError` for a file that has been replaced by a link outside."""
        path = self._found(validated_data)
        return FileStreamer.stream_file(
            self.channel, self.topic, stream_ctx, [target], path, fl_ctx, self.chunk_size,
            self.chunk_timeout, self.stream_msg_optional, self.stream_msg_secure,
        )  # fmt: skip

    def get_result(self, stream_ctx: StreamContext) -> tuple[str, Any]:
        """(code, path)."""
        return FileStreamer.get_rc(stream_ctx), FileStreamer.get_file_location(stream_ctx)

    def _found(self, name: str) -> str:
        return str(resolve_below([self.source_dir], name))
