"""NVIDIA FLARE, pull: `ObjectDownloader`, `add_file` and `download_file` over two Cells, its documented calls."""

from __future__ import annotations

import os

from nvflare.fuel.f3.streaming.file_downloader import add_file, download_file  # type: ignore[import-not-found]
from nvflare.fuel.f3.streaming.obj_downloader import ObjectDownloader  # type: ignore[import-not-found]

from tests.bench.peers.flare_connected import Address, connected, listening
from tests.bench.peers.transfer_ends import CHUNK, PATIENCE, play, run


def source() -> None:
    cell, address = listening("server")

    def offer(path: str, sinks: list[str]) -> str:
        downloader = ObjectDownloader(cell, timeout=PATIENCE, num_receivers=len(sinks))
        reference: str = add_file(downloader, path, chunk_size=CHUNK)
        return reference

    play(address, {"offer": offer})
    os._exit(0)  # its threads do not end by themselves


def sink(name: str, address: Address, folder: str) -> None:
    cell = connected(name, address)

    def pull(reference: str) -> None:
        error, _ = download_file("server", reference, per_request_timeout=60.0, cell=cell, location=folder)
        if error:
            raise RuntimeError(f"FLARE did not deliver: {error}")

    play("ready", {"pull": pull})
    os._exit(0)


if __name__ == "__main__":
    run(source, sink)
