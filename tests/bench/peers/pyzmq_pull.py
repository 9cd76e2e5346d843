"""Bare pyzmq, pull: requests by offset with a credit of 8, digests checked, written in place. `source URL [curve]`."""

from __future__ import annotations

import os
import threading

import zmq

from tests.bench.peers.pyzmq_sockets import Address, chunk_of, delivered, dialling, listening, write
from tests.bench.peers.transfer_ends import CHUNK, PATIENCE, play, run

CREDIT = 8


def source(url: str, curve: str | None = None) -> None:
    router, address = listening(url, curve)
    router.rcvtimeo = -1  # between the transfers it rests
    files: list[int] = []

    def serve() -> None:
        while True:
            sink, number, offset = router.recv_multipart()
            file = files[int(number)]
            digest, chunk = chunk_of(file, int(offset), CHUNK)
            router.send_multipart([sink, offset, digest, chunk], copy=False)

    def offer(path: str, sinks: list[str]) -> tuple[int, int]:
        del sinks  # whoever asks gets it
        files.append(os.open(path, os.O_RDONLY))
        return len(files) - 1, os.stat(path).st_size

    threading.Thread(target=serve, daemon=True).start()
    play(address, {"offer": offer})


def sink(name: str, address: Address, folder: str) -> None:
    dealer = dialling(name, address)
    if not dealer.poll(int(PATIENCE * 1000), zmq.POLLOUT):
        raise TimeoutError("there is no source")

    def pull(offer: tuple[int, int]) -> None:
        number, size = offer
        offsets = iter(range(0, size, CHUNK))

        def ask() -> int:
            """How many requests went out."""
            offset = next(offsets, None)
            if offset is None:
                return 0
            dealer.send_multipart([b"%d" % number, b"%d" % offset])
            return 1

        with delivered(folder) as file:
            waiting = sum(ask() for _ in range(CREDIT))
            while waiting:
                at, digest, chunk = dealer.recv_multipart(copy=False)
                write(file, int(at.bytes), digest.bytes, chunk.buffer)
                waiting += ask() - 1

    play("ready", {"pull": pull})


if __name__ == "__main__":
    run(source, sink)
