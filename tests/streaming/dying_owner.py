"""A site in a process of its own that begins to push a file, and then does nothing: `dying_owner URL FILE CHUNK_SIZE`.

It writes a line when the second chunk is due.
"""

from __future__ import annotations

import sys
import threading

from zmqfl import Cell
from zmqfl.cell.file_streams import FileProducer
from zmqfl.cell.streams import Chunk
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.file_streamer import FileStreamer

produce = FileProducer.produce
made = 0


def stand(producer: FileProducer) -> Chunk | None:
    global made
    made += 1
    if made == 3:
        sys.stdout.write("here\n")
        sys.stdout.flush()
        threading.Event().wait()
    return produce(producer)


if __name__ == "__main__":
    setattr(FileProducer, "produce", stand)  # noqa: B010  the type checker would not have it
    with Cell("site-9", parent=sys.argv[1]) as cell:
        fl_ctx = CellEngine(cell).new_context()
        FileStreamer.stream_file("files", "model", {}, ["server"], sys.argv[2], fl_ctx, int(sys.argv[3]))
