"""Bare pyzmq, ROUTER and DEALER, with nothing above: no names, no liveness, no exactly-once, no threads."""

from __future__ import annotations

import json
import sys
import threading

import zmq

from tests.bench.peers.ends import Round, in_turn, in_window, play, serve


def server() -> None:
    router = zmq.Context().socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")

    def echo() -> None:
        while True:
            router.send_multipart(router.recv_multipart())

    threading.Thread(target=echo, daemon=True).start()
    serve(f"tcp://127.0.0.1:{port}")


def client(address: str) -> None:
    dealer = zmq.Context().socket(zmq.DEALER)
    dealer.connect(address)

    def submit(payload: bytes) -> None:
        dealer.send(payload)

    def wait(_: None) -> bytes:
        return dealer.recv()

    def call(payload: bytes) -> bytes:
        dealer.send(payload)
        return dealer.recv()

    def rounds(in_flight: int) -> Round:
        return in_turn(call) if in_flight == 1 else in_window(submit, wait, in_flight)

    play(rounds)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        server()
    else:
        client(json.loads(sys.argv[2]))
