"""A slow or broken way to a listener, on any machine and without rights: a TCP proxy on loopback.

    with DelayProxy(server.url) as proxy:
        site = Cell("site-1", parent=proxy.url)
        proxy.up.delay = 0.05

`up` is the direction to the target and `down` the one back; each has, changed at any moment:

    delay        seconds by which each byte comes later
    rate         bits per second of all connections together; 0: as fast as it goes
    blackhole    nothing passes; like a network it keeps what it was given, and passes it on afterwards

While either way is a black hole no connection comes about. `cut` resets those that are there, as a firewall that
starts again does: what was under way is lost, and both ends hear of it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

CHUNK = 65536
"""Bytes passed on at once."""
TICK = 0.02
"""Seconds of a slow way that one chunk takes at most."""
UNDER_WAY = 4 << 20
"""Bytes that one connection may have on a way with a delay; above it nothing more is read."""
KEPT = 65536
"""Bytes that each kernel keeps for a connection: little, or a slow way would seem to have taken all at once."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: a close is a reset."""


class Direction:
    """One way; see the module."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.delay = 0.0
        self.rate = 0
        self.passed = 0
        """Bytes that went this way."""
        self._loop = loop
        self._free = 0.0
        self._is_open = True
        self._gate = asyncio.Event()
        self._gate.set()

    @property
    def blackhole(self) -> bool:
        """Whether nothing passes."""
        return not self._is_open

    @blackhole.setter
    def blackhole(self, value: bool) -> None:
        self._is_open = not value
        self._loop.call_soon_threadsafe(self._gate.clear if value else self._gate.set)

    async def open(self) -> None:
        """Wait until it is no black hole."""
        await self._gate.wait()

    @property
    def chunk(self) -> int:
        """Bytes to pass on at once."""
        return min(CHUNK, max(1, int(self.rate * TICK / 8))) if self.rate else CHUNK

    async def travel(self, size: int, begun: float) -> None:
        """Take as long as so many bytes need that were there at `begun`, in seconds of the loop."""
        await _until(self._loop, begun + self.delay)
        if self.rate:
            self._free = max(self._free, self._loop.time()) + size * 8 / self.rate
            await _until(self._loop, self._free)
        await self.open()
        self.passed += size


class DelayProxy:
    """See the module. `target`: `tcp://host:port`, which need not listen yet. One thread, until `close`."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host.strip("[]"), int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KEPT)  # those that it accepts inherit it
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        """What to dial instead of the target."""
        self._loop = asyncio.new_event_loop()
        self.up = Direction(self._loop)
        self.down = Direction(self._loop)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"delay:{self.url}")
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._accept, sock=self._listener, limit=CHUNK)).result()

    @property
    def connections(self) -> int:
        """Those that reach from end to end."""
        return len(self._writers) // 2

    def cut(self) -> None:
        """Reset all connections, those that are about to come about too; new ones are let through."""
        self._call(self._cut()).result()

    def close(self) -> None:
        """Let no more through, and reset what is there. Again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._call(self._end()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- within, on the loop -----------------------------------------------------------------------------------------

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = [writer]
        try:
            await self.up.open()
            await self.down.open()
            far_reader, far_writer = await asyncio.open_connection(*self._target, limit=CHUNK)
            pair.append(far_writer)
            self._writers.update(pair)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(reader, far_writer, self.up))
                group.create_task(_pass_on(far_reader, writer, self.down))
        except* (OSError, asyncio.CancelledError):  # one end is gone, or nobody listens: so is the other
            for each in pair:
                _reset(each)
        finally:
            self._writers.difference_update(pair)
            for each in pair:
                each.close()

    async def _cut(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close their sockets in the pass that follows

    async def _end(self) -> None:
        self._server.close()
        await self._cut()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction) -> None:
    """Carry bytes one way until their end, which is passed on too."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[bytes, float]] = asyncio.Queue(maxsize=UNDER_WAY // CHUNK)

    async def read() -> None:
        data = b"-"
        while data:
            data = await reader.read(CHUNK)
            await under_way.put((data, loop.time()))

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        while True:
            data, begun = await under_way.get()
            if not data:
                await way.travel(0, begun)
                break
            while data:
                size = way.chunk  # read once: a test may change the rate between
                piece, data = data[:size], data[size:]
                await way.travel(len(piece), begun)
                writer.write(piece)
                await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _until(loop: asyncio.AbstractEventLoop, moment: float) -> None:
    if (seconds := moment - loop.time()) > 0:
        await asyncio.sleep(seconds)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection at once, and so that the other end hears of it as an error."""
    with suppress(OSError):  # it is closed by now
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
