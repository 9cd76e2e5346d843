"""Sockets and files of the bare pyzmq transfers: what zmqfl guarantees of a chunk, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq
from xxhash import xxh3_128_digest

from tests.bench.peers.transfer_ends import PATIENCE

Address = tuple[str, str | None]
"""URL and, with CURVE, the public key of the source."""


def listening(url: str, curve: str | None) -> tuple[zmq.Socket[bytes], Address]:
    """A ROUTER of a source. `curve`: whether it encrypts."""
    router = zmq.Context().socket(zmq.ROUTER)
    router.router_mandatory = True  # a sink that is gone is an error, not silence
    public = None
    if curve:
        public, secret = (key.decode() for key in zmq.curve_keypair())
        router.curve_server, router.curve_secretkey = True, secret.encode()
    _bound(router)
    router.bind(url)
    return router, (str(router.get_string(zmq.LAST_ENDPOINT)), public)


def dialling(name: str, address: Address) -> zmq.Socket[bytes]:
    """A DEALER of a sink, known by its name."""
    url, public = address
    dealer = zmq.Context().socket(zmq.DEALER)
    dealer.routing_id = name.encode()
    if public is not None:
        dealer.curve_publickey, dealer.curve_secretkey = zmq.curve_keypair()
        dealer.curve_serverkey = public.encode()
    _bound(dealer)
    dealer.connect(url)
    return dealer


def chunk_of(file: int, offset: int, length: int) -> tuple[bytes, bytes]:
    """The digest and the bytes."""
    chunk = os.pread(file, length, offset)
    return xxh3_128_digest(chunk), chunk


def write(file: int, offset: int, digest: bytes, chunk: memoryview) -> None:
    """Check, then write."""
    if xxh3_128_digest(chunk) != digest:
        raise ValueError(f"the chunk at {offset} differs from its digest")
    if os.pwrite(file, chunk, offset) != len(chunk):
        raise OSError(f"the chunk at {offset} was not written whole")


@contextmanager
def delivered(folder: str) -> Iterator[int]:
    """A file to write to, which gets its name when all went well."""
    part = Path(folder) / "file.part"
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield file
    finally:
        os.close(file)
    part.rename(part.with_suffix(""))


def _bound(socket: zmq.Socket[bytes]) -> None:
    """Nothing waits for ever."""
    socket.rcvtimeo = socket.sndtimeo = int(PATIENCE * 1000)
    socket.linger = 0
