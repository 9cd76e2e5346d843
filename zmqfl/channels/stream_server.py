"""The stream server of seed 002: a cell that is the root and the broker, in a process of its own.

    server = StreamServer("127.0.0.1")
    server.start()          # returns when it listens
    ...
    server.stop()

It ends with the process that has started it, however that ends. The process is spawned, not forked; so a script that
starts one has its own part below `if __name__ == "__main__":`.
"""

from __future__ import annotations

import signal
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from zmqfl.cell.cell import Cell
from zmqfl.channels.server_functions import ServerFunctions
from zmqfl.config import CellConfig
from zmqfl.errors import ArgumentError, UserError
from zmqfl.rpc.rpc import Rpc

PORT = 50012
START = 30.0
"""Seconds that the process gets to listen."""
STOP = 15.0


class StreamServer(SpawnProcess):
    """See the module.

    `ip_address`, `port`: where it listens (port 0: any that is free, see `url`). `name`: of its cell. `keys`: a folder
    made by `zmqfl keygen`; without, it listens on loopback only, unless `trusted_network` says that nobody else can
    reach it. `config`: settings of the cell. Raises `ArgumentError`.
    """

    def __init__(
        self,
        ip_address: str = "127.0.0.1",
        port: int = PORT,
        *,
        name: str = "server",
        keys: str | Path | None = None,
        trusted_network: bool = False,
        config: CellConfig | None = None,
    ) -> None:
        if type(port) is not int or not 0 <= port < 1 << 16:
            raise ArgumentError(f"port must be a number from 0 to 65535, not {port!r}")
        ours, theirs = get_context("spawn").Pipe()
        listen = f"tcp://{ip_address}:{port or '*'}"
        super().__init__(
            target=_serve, args=(theirs, name, listen, keys, trusted_network, config), name=name, daemon=True
        )  # fmt: skip
        self.url = ""
        """Where it listens; "" until it is started."""
        self._ours, self._theirs = ours, theirs

    def start(self) -> None:
        """Start the process, and wait until it listens. Raises `UserError` where it cannot, with what it said."""
        super().start()
        self._theirs.close()
        try:
            answer = self._ours.recv() if self._ours.poll(START) else ("error", f"no answer within {START:g} s")
        except EOFError:
            answer = ("error", "its process has ended")
        if answer[0] != "url":
            self.stop()
            raise UserError(f"the stream server {self.name} does not start: {answer[1]}")
        self.url = answer[1]

    def stop(self) -> None:
        """End it, and all its channels with it. Again does nothing."""
        if self._ours.closed:
            return
        self._ours.close()
        self._theirs.close()
        if self.url or self.pid is not None:
            self.join(STOP)
            if self.is_alive():
                self.kill()
                self.join()
        self.close()

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "_ours"}  # else its end is not seen there

    def __enter__(self) -> StreamServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _serve(
    parent: Connection,
    name: str,
    listen: str,
    keys: str | Path | None,
    trusted_network: bool,
    config: CellConfig | None,
) -> None:
    """The process: serve until whoever has started it closes the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who has started it, and ends this with it
    signal.signal(signal.SIGTERM, _leave)
    try:
        cell = Cell(name, listen=listen, keys=keys, trusted_network=trusted_network, config=config)
    except UserError as error:
        parent.send(("error", str(error)))
        return
    with cell:
        functions = ServerFunctions(cell)
        Rpc.of(cell).publish(functions)
        parent.send(("url", cell.url))
        try:
            parent.recv()
        except (EOFError, SystemExit):
            functions.statistics.stop()


def _leave(number: int, frame: object) -> None:
    raise SystemExit(0)
