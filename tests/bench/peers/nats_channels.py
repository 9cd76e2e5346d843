"""Fan-out by core NATS: `broker`, `writer URL`, `reader URL NAME`. What may be pending is as much as a round holds."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.peers.fan_out_ends import say

PENDING = 1 << 30


def serve() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with TemporaryDirectory() as folder:
        config = Path(folder) / "nats.conf"
        config.write_text(f"listen: 127.0.0.1:{port}\nmax_payload: 8MB\nmax_pending: 1GB\n")
        program = shutil.which("nats-server", path="/usr/sbin:/usr/local/bin:/usr/bin") or shutil.which("nats-server")
        if program is None:
            raise FileNotFoundError("nats-server")
        server = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    probe.settimeout(0.5)
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                server.poll()
            say(f"nats://127.0.0.1:{port}")
            sys.stdin.read()
        finally:
            server.terminate()
            server.wait()


async def lines() -> Any:
    say("ready")
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        yield json.loads(line)


async def write(url: str) -> None:
    import nats  # type: ignore[import-not-found]

    client = await nats.connect(url, pending_size=PENDING)
    async for count, size in lines():
        item = bytes(size)
        for _ in range(count):
            await client.publish("c", item)
        await client.flush(60)
        say("done")
    await client.close()


async def read(url: str) -> None:
    import nats

    client = await nats.connect(url)
    items = await client.subscribe("c", pending_msgs_limit=-1, pending_bytes_limit=-1)
    messages = items.messages  # quicker than `next_msg`
    await client.flush()
    async for count, size in lines():
        say("begun")
        for _ in range(count):
            message = await anext(messages)
            if len(message.data) != size:
                raise ValueError("this is not the item")
        say("done")
    await client.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["broker"]:
            serve()
        case ["writer", url]:
            asyncio.run(write(url))
        case ["reader", url, _]:
            asyncio.run(read(url))
