"""Cells in processes of their own that set props and offer files, for tests that kill, stop and restart many of them.

One process loads everything and forks each cell, so sixteen of them start in a moment:

    python -m tests.system.plane_sites /tmp/socket        a line of JSON on its standard input for each, its settings

A cell connects to the socket, writes {"fqcn", "pid", "urls"}, obeys lines of JSON one after the other (see `Work`),
and ends when the connection does; so it never outlives its test. `Sites` is the side of the test.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.system.federation import LONG, QUICK, ROOT
from zmqfl import Cell, CellConfig, Offer

Announced = dict[str, str]
"""RID -> owner."""


class Work:
    """What a cell is told to do, and answers."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell = cell
        self.file = folder / "model"
        self.offers: dict[str, Offer] = {}

    def connected(self) -> bool:
        """Whether the parent has bound the cell."""
        return self.cell.wait_connected(LONG)

    def set(self, key: str, value: Any) -> None:
        """Set a prop; None removes it."""
        if value is None:
            self.cell.props.remove(key)
        else:
            self.cell.props.set(key, value)

    def set_many(self, keys: int, times: int, size: int) -> None:
        """Set `keys` props, each `times` times, each time waiting until the root has them: nothing is conflated."""
        for time in range(times):
            for key in range(keys):
                self.cell.props.set(f"many-{key}", f"{time}:{key}:".ljust(size, "x"))
                self._wait_told()

    def _wait_told(self) -> None:
        pause = threading.Event()
        publisher = self.cell._node.plane.publisher
        while publisher._untold or publisher._under_way or self.cell._reactor._inbox:
            pause.wait(0.0005)

    def offer(self, group: str) -> str:
        """Offer a file, and announce it; its id."""
        self.file.write_bytes(b"model")
        offer = self.cell.offer(self.file, announce=group)
        self.offers[offer.rid] = offer
        return offer.rid

    def withdraw(self, rid: str) -> None:
        """Offer it no longer."""
        self.offers.pop(rid).withdraw()

    def known(self) -> dict[str, Any]:
        """All props, but their values by their ends only, and all that is announced."""
        props = {
            cell: {key: value[:20] if isinstance(value, str) else value for key, value in each.items()}
            for cell, each in self.cell.props.all().items()
        }
        return {"props": props, "announced": {each.rid: each.owner for each in self.cell.announcements()}}

    def plane(self) -> dict[str, Any]:
        """How its plane is."""
        plane = self.cell._node.plane
        return {
            "listeners": sorted(plane.hub.listeners),
            "gaps": plane.subscriber.gaps if plane.subscriber is not None else 0,
            "current": plane.is_current,
            "epoch": plane._position[0],
            "outlets": {i: dict(o.counters) for i, o in self.cell._reactor.ports.plane.outlets.items()},
        }


def serve(settings: dict[str, Any], address: str) -> None:
    """Be one cell until the connection ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        folder = Path(settings.pop("folder"))
        cell = Cell(**{**settings, "config": CellConfig(**settings["config"])})
        cell.start()
        work = Work(cell, folder)
        with connection.makefile("rw") as lines:

            def say(**line: Any) -> None:
                lines.write(json.dumps(line) + "\n")
                lines.flush()

            say(fqcn=cell.fqcn, pid=os.getpid(), urls=list(cell.urls))
            for line in lines:
                arguments = json.loads(line)
                say(value=getattr(work, arguments.pop("do"))(**arguments))
        cell.close(drain=0)


def main(address: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has ended is no zombie
    for line in sys.stdin:
        if os.fork() == 0:
            os.close(0)
            status = 1
            try:
                serve(json.loads(line), address)
                status = 0
            except BaseException:  # noqa: BLE001  nothing of this fork may go on in `main`
                traceback.print_exc()
            finally:
                os._exit(status)


class Site:
    """One cell, as the test sees it: `do` has it do something, and gives its answer."""

    def __init__(self, connection: socket.socket, hello: dict[str, Any], lines: Any) -> None:
        self.fqcn: str = hello["fqcn"]
        self.pid: int = hello["pid"]
        self.urls: list[str] = hello["urls"]
        self._connection = connection
        self._lines = lines
        self._process = os.pidfd_open(self.pid)

    def do(self, name: str, **arguments: Any) -> Any:
        self.begin(name, **arguments)
        return self.end()

    def begin(self, name: str, **arguments: Any) -> None:
        self._lines.write(json.dumps({"do": name, **arguments}) + "\n")
        self._lines.flush()

    def end(self) -> Any:
        line = self._lines.readline()
        assert line, f"{self.fqcn} has ended"
        return json.loads(line)["value"]

    def signal(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self._process, number)

    def close(self) -> None:
        """kill -9."""
        with suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        os.close(self._process)
        self._lines.close()
        self._connection.close()


class Sites:
    """See the module. `more`: arguments of each cell."""

    def __init__(self, folder: Path, config: CellConfig = QUICK, **more: Any) -> None:
        self.sites: dict[str, Site] = {}
        self._folder = folder
        self._settings = {"config": asdict(config), **more}
        self._door = socket.socket(socket.AF_UNIX)
        self._door.settimeout(LONG)
        self._door.bind(str(folder / "door"))
        self._door.listen(64)
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "tests.system.plane_sites", str(folder / "door")],
            stdin=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def start(self, *cells: dict[str, Any]) -> list[Site]:
        """Start cells, all at once, and wait until they have."""
        assert self._popen.stdin is not None
        for cell in cells:
            folder = self._folder / cell["fqcn"]
            folder.mkdir(exist_ok=True)
            self._popen.stdin.write(json.dumps({**self._settings, **cell, "folder": str(folder)}) + "\n")
        self._popen.stdin.flush()
        for _ in cells:
            connection, _ = self._door.accept()
            connection.settimeout(2 * LONG)
            lines = connection.makefile("rw")
            site = Site(connection, json.loads(lines.readline()), lines)
            self.sites[site.fqcn] = site
        return [self.sites[cell["fqcn"]] for cell in cells]

    def kill(self, name: str) -> None:
        """kill -9."""
        self.sites.pop(name).close()

    def known(self) -> dict[str, dict[str, Any]]:
        """What each knows."""
        for site in self.sites.values():
            site.begin("known")
        return {name: site.end() for name, site in self.sites.items()}

    def close(self) -> None:
        for site in self.sites.values():
            site.close()
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._popen.wait(LONG)
        self._door.close()


if __name__ == "__main__":
    main(sys.argv[1])
