"""Fan-out by zenoh, through a router of its own kind: `broker`, `writer URL`, `reader URL NAME`. Nothing is dropped."""

from __future__ import annotations

import json
import socket
import sys

from tests.bench.peers.fan_out_ends import read, say, write


def config(**settings: object):  # type: ignore[no-untyped-def]
    import zenoh  # type: ignore[import-not-found]

    found = zenoh.Config()
    for name, value in {"scouting/multicast/enabled": False, "scouting/gossip/enabled": False, **settings}.items():
        found.insert_json5(name, json.dumps(value))
    return found


def main() -> None:
    import zenoh

    match sys.argv[1:]:
        case ["broker"]:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                url = f"tcp/127.0.0.1:{probe.getsockname()[1]}"
            with zenoh.open(config(mode="router", **{"listen/endpoints": [url]})):
                say(url)
                sys.stdin.read()
        case ["writer", url]:
            with zenoh.open(config(mode="client", **{"connect/endpoints": [url]})) as session:
                publisher = session.declare_publisher("c", congestion_control=zenoh.CongestionControl.BLOCK)
                write(publisher.put, lambda: None)
        case ["reader", url, _]:
            with zenoh.open(config(mode="client", **{"connect/endpoints": [url]})) as session:
                items = session.declare_subscriber("c", zenoh.handlers.FifoChannel(1 << 16))
                read(lambda: bytes(items.recv().payload))


if __name__ == "__main__":
    main()
