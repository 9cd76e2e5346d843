"""Push: the server sends a file to two sites at once. Both get it, or neither does."""

import sys
import tempfile
from pathlib import Path

from zmqfl import Cell
from zmqfl.context.fl_context import FLContext
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.contracts import StreamContext
from zmqfl.streaming.file_streamer import FileStreamer


def received(stream_ctx: StreamContext, fl_ctx: FLContext, number: int) -> None:
    site, rc = fl_ctx.get_identity_name(), FileStreamer.get_rc(stream_ctx)
    if rc == "OK":
        size, location = FileStreamer.get_file_size(stream_ctx), FileStreamer.get_file_location(stream_ctx)
        whole = Path(location).read_bytes() == bytes(size)
        print(f"{site}: {FileStreamer.get_file_name(stream_ctx)} of round {stream_ctx['round']}, {size} bytes, {whole}")
    else:
        print(f"{site}: {rc}, and nothing was kept")


def refuse(reply: object, stream_ctx: StreamContext, fl_ctx: FLContext, number: int) -> None:
    """Called after each chunk: the second site has had enough of big files."""
    if number == 2 and FileStreamer.get_file_size(stream_ctx) > 5_000_000:
        raise OSError("no room for it")


def main(folder: Path) -> None:
    path = folder / "model.pt"
    with (
        Cell("server", listen="tcp://127.0.0.1:0") as server,
        Cell("site-1", parent=server.url) as one,
        Cell("site-2", parent=server.url) as two,
    ):
        for number, site in (1, one), (2, two):
            fl_ctx = CellEngine(site).new_context()
            FileStreamer.register_stream_processing(
                fl_ctx, "models", "best", str(folder), received, refuse, number=number
            )
        fl_ctx = CellEngine(server).new_context()
        for round_number, size in (1, 3_000_000), (2, 9_000_000):
            path.write_bytes(bytes(size))
            answer = FileStreamer.stream_file(
                "models", "best", {"round": round_number}, ["site-1", "site-2"], str(path), fl_ctx
            )
            print(f"server: {answer[0]}, {answer[1]}")
            sys.stdout.flush()


with tempfile.TemporaryDirectory() as name:
    main(Path(name))
