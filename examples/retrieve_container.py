"""Retrieve: a site asks the server for its model, and the server asks the site for a file, each when it wants it."""

import tempfile
from pathlib import Path

import numpy as np

from zmqfl import Cell
from zmqfl.context.event_type import EventType
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.container_retriever import ContainerRetriever
from zmqfl.streaming.file_retriever import FileRetriever


def main(folder: Path) -> None:
    (folder / "log.txt").write_text("epoch 1: loss 0.25\n")
    with Cell("server", listen="tcp://127.0.0.1:0") as server, Cell("site-1", parent=server.url) as site:
        engines = CellEngine(server), CellEngine(site)
        for engine in engines:  # the same components at both ends
            engine.add_component("models", ContainerRetriever())
            engine.add_component("logs", FileRetriever(folder, dest_dir=str(folder)))
            engine.fire_event(EventType.START_RUN, engine.new_context())
        at_server, at_site = engines

        ContainerRetriever.add_container("model", {"weights": np.arange(1_000_000.0), "bias": 0.5})
        with at_site.new_context() as fl_ctx:
            models = at_site.get_component("models")
            rc, model = models.retrieve_container("server", fl_ctx, 10.0, "model")
            print(f"site-1: {rc}, {list(model)}, {model['weights'].sum():.0f}")
            rc, model = models.retrieve_container("server", fl_ctx, 10.0, "modle")
            print(f"site-1: {rc}, {model}")

        with at_server.new_context() as fl_ctx:
            logs = at_server.get_component("logs")
            rc, path = logs.retrieve_file("site-1", fl_ctx, 10.0, "log.txt")
            print(f"server: {rc}, {Path(path).read_text().strip()!r}")
            rc, path = logs.retrieve_file("site-1", fl_ctx, 10.0, "../secret.txt")
            print(f"server: {rc}, {path}")


with tempfile.TemporaryDirectory() as name:
    main(Path(name))
