"""Bare pyzmq, push: rounds, each a chunk to every sink, who check, write and acknowledge it. `source URL [curve]`."""

from __future__ import annotations

import os
import threading

import zmq

from tests.bench.peers.pyzmq_sockets import Address, chunk_of, delivered, dialling, listening, write
from tests.bench.peers.transfer_ends import CHUNK, play, run

HELLO, COMMIT = b"hello", b"commit"


def source(url: str, curve: str | None = None) -> None:
    router, address = listening(url, curve)
    known: set[bytes] = set()

    def push(path: str, names: list[str], window: int) -> None:
        sinks = [name.encode() for name in names]
        acknowledged = dict.fromkeys(sinks, 0)

        def hear() -> None:
            sink, word = router.recv_multipart()
            if word == HELLO:
                known.add(sink)
            else:
                acknowledged[sink] += 1

        while not known.issuperset(sinks):
            hear()
        file = os.open(path, os.O_RDONLY)
        chunks = -(-os.fstat(file).st_size // CHUNK)
        for number in range(chunks):
            while number - min(acknowledged.values()) >= window:
                hear()
            digest, chunk = chunk_of(file, number * CHUNK, CHUNK)
            for sink in sinks:
                router.send_multipart([sink, b"%d" % (number * CHUNK), digest, chunk], copy=False)
        os.close(file)
        while min(acknowledged.values()) < chunks:
            hear()
        for sink in sinks:
            router.send_multipart([sink, COMMIT, b"", b""])
        while min(acknowledged.values()) <= chunks:
            hear()

    play(address, {"push": push})


def sink(name: str, address: Address, folder: str) -> None:
    dealer = dialling(name, address)
    dealer.rcvtimeo = -1  # between the transfers it rests

    def receive() -> None:
        with delivered(folder) as file:
            while (frames := dealer.recv_multipart(copy=False))[0].bytes != COMMIT:
                at, digest, chunk = frames
                write(file, int(at.bytes), digest.bytes, chunk.buffer)
                dealer.send(b"")
        dealer.send(b"")

    def serve() -> None:
        dealer.send(HELLO)
        while True:
            dealer.poll(None, zmq.POLLIN)  # the file is made when its first chunk is there
            receive()

    threading.Thread(target=serve, daemon=True).start()
    play("ready", {})


if __name__ == "__main__":
    run(source, sink)
