"""How many sites of a simulation execute at once.

Whoever starts them grants slots at a Unix socket: a connection asks for one, a byte grants it, the end of the
connection gives it back. So a site that is killed gives its slot back, too.

    event of the site           what happens
    BEFORE_TASK_EXECUTION       wait for a slot, at most until the run is aborted
    AFTER_TASK_EXECUTION, BEFORE_SEND_TASK_RESULT, BEFORE_PULL_TASK, END_RUN      give it back, if it is held
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from zmqfl.context.event_type import EventType
from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import ReservedKey
from zmqfl.context.signal import Signal

GRANTED: Final = b"\1"
_ENDS: Final = (
    EventType.AFTER_TASK_EXECUTION,
    EventType.BEFORE_SEND_TASK_RESULT,
    EventType.BEFORE_PULL_TASK,
    EventType.END_RUN,
)


@asynccontextmanager
async def granting(socket_file: Path, slots: int) -> AsyncIterator[None]:
    """Grant that many slots at once, within the block, in the order of asking."""
    free = asyncio.Semaphore(slots)
    asking: set[asyncio.Task[None]] = set()

    async def grant(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # a callback of a server is one
        asking.add(task)
        try:
            async with free:
                with suppress(ConnectionError):
                    writer.write(GRANTED)
                    await writer.drain()
                    await reader.read()  # until it is given back
        finally:
            writer.close()
            asking.discard(task)

    server = await asyncio.start_unix_server(grant, socket_file)
    try:
        yield
    finally:
        server.close()
        for task in list(asking):
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


class SlotTaker(FLComponent):
    """See the module; at a client."""

    def __init__(self, socket_file: str) -> None:
        self._file = socket_file
        self._held: socket.socket | None = None
        self.register_event_handler(EventType.BEFORE_TASK_EXECUTION, self._take)
        self.register_event_handler(_ENDS, self._give_back)

    def _take(self, event_type: str, fl_ctx: FLContext) -> None:
        self._give_back(event_type, fl_ctx)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

        def wake(signal: Signal) -> None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

        abort: Signal | None = fl_ctx.get_prop(ReservedKey.RUN_ABORT_SIGNAL)
        try:
            connection.connect(self._file)
            if abort is not None:
                abort.add_callback(wake)
            connection.recv(1)
        except OSError as error:
            self.log_warning(fl_ctx, f"executes without a slot: {error}", fire_event=False)
            connection.close()
            return
        finally:
            if abort is not None:
                abort.remove_callback(wake)
        self._held = connection

    def _give_back(self, event_type: str, fl_ctx: FLContext) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None
