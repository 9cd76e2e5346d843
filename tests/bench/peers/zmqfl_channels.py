"""Fan-out by channels of zmqfl: `broker URL`, `writer URL`, `reader URL NAME`. Readers want everything."""

from __future__ import annotations

import sys

from tests.bench.peers.fan_out_ends import read, say, write
from zmqfl import Cell

PATIENCE = 60.0


def main() -> None:
    match sys.argv[1:]:
        case ["broker", url]:
            with Cell("server", listen=url) as cell:
                say(cell.url)
                sys.stdin.read()
        case ["writer", url]:
            with Cell("writer", parent=url) as cell:
                writer = cell.create_channel("c").result(PATIENCE).writer().result(PATIENCE)

                def put(item: bytes) -> None:
                    handle = writer.put(item, wait_for_active=True)
                    if not handle.done():
                        handle.result(PATIENCE)

                write(put, lambda: None)
        case ["reader", url, name]:
            with Cell(name, parent=url) as cell:
                reader = cell.subscribe("c", policy="wait", items=None).result(PATIENCE)
                read(lambda: next(reader).value)


if __name__ == "__main__":
    main()
