"""The two ends of the benchmark of the plane. `hub FOLDER`, `site NAME ADDRESSES`; both hold an end of each peer.

    zmqfl        a root that publishes, a site that listens
    zmqfl links  the same where the links tell all
    bare pyzmq   PUB and SUB, without bound

The hub prints where it listens and sets, for each line `[peer, round, count]`, so many props; it prints when it began.
A site prints, for the same line, when it had all of them. Times are those of the one clock of the machine.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import zmq

from zmqfl import Cell

PLANES: dict[str, int | None] = {"zmqfl": 0, "zmqfl links": None}
BARE = "bare pyzmq"
TOPIC = b"props/server/"
LONG = 60.0


class Seen:
    """What a site has seen, by round."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._keys: dict[int, set[str]] = {}
        self._at = 0.0

    def note(self, turn: int, key: str) -> None:
        with self._changed:
            self._keys.setdefault(turn, set()).add(key)
            self._at = time.perf_counter()
            self._changed.notify_all()

    def wait(self, turn: int, count: int) -> float:
        """When the last of so many had come. Raises `TimeoutError`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._keys.get(turn, ())) >= count, LONG):
                raise TimeoutError(f"{len(self._keys.get(turn, ()))} of {count} came")
            self._keys.clear()
            return self._at


def hub() -> None:
    with ExitStack() as stack:
        cells = {
            name: stack.enter_context(Cell("server", listen="tcp://127.0.0.1:*", plane=plane))
            for name, plane in PLANES.items()
        }
        context = stack.enter_context(zmq.Context())
        pub = stack.enter_context(context.socket(zmq.XPUB))
        pub.sndhwm = 0
        pub.linger = 0
        pub.bind("tcp://127.0.0.1:*")
        addresses = {name: cell.urls[0] for name, cell in cells.items()}
        print(json.dumps({**addresses, BARE: pub.get_string(zmq.LAST_ENDPOINT)}), flush=True)

        def send(key: str, turn: int) -> None:
            pub.send_multipart([TOPIC, json.dumps([key, turn]).encode()])

        setters: dict[str, Callable[[str, int], object]] = {name: cell.props.set for name, cell in cells.items()}
        setters[BARE] = send
        for line in sys.stdin:
            peer, turn, count = json.loads(line)
            began = time.perf_counter()
            for number in range(count):
                setters[peer](f"key-{number}", turn)
            print(json.dumps(began), flush=True)


def site(name: str, addresses: dict[str, str]) -> None:
    seen = {peer: Seen() for peer in addresses}
    with ExitStack() as stack:
        for peer, plane in PLANES.items():
            cell = stack.enter_context(Cell(name, parent=addresses[peer], plane=plane))

            def note(prop: Any, peer: str = peer) -> None:
                seen[peer].note(prop.value, prop.key)

            stack.enter_context(cell.props.watch(note, "server"))
        context = stack.enter_context(zmq.Context())

        def listen() -> None:
            with context.socket(zmq.SUB) as sub:
                sub.rcvhwm = 0
                sub.linger = 0
                sub.subscribe(TOPIC)
                sub.connect(addresses[BARE])
                try:
                    while True:
                        key, turn = json.loads(sub.recv_multipart()[1])
                        seen[BARE].note(turn, key)
                except zmq.ContextTerminated:
                    return

        threading.Thread(target=listen, daemon=True).start()
        print('"ready"', flush=True)
        for line in sys.stdin:
            peer, turn, count = json.loads(line)
            print(json.dumps(seen[peer].wait(turn, count)), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "hub":
        hub()
    else:
        site(sys.argv[2], json.loads(sys.argv[3]))
