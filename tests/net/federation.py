"""Cells in the hosts of a lab, driven from the test.

    federation = LabFederation(lab(2))
    server = federation.start(1, "server")
    site = federation.start(2, "site-1", server, listen=False)
    assert site.request("server", 1)["code"] == "ok"

`HostCell` is one of them: a process of `tests.net.site`, which says what commands there are.
"""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from tests.net.lab import Lab
from tests.net.site import Outcome
from tests.system.federation import LONG, QUICK, ROOT, until
from zmqfl import CellConfig


class CommandError(Exception):
    """A command failed in its process. `kind`: the name of the class of its error."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


class HostCell:
    """A cell in a host of a lab. `setup`: `module:function` names, see `tests.net.site`."""

    def __init__(self, lab: Lab, host: int, settings: dict[str, Any], setup: Iterable[str] = ()) -> None:
        self.fqcn: str = settings["fqcn"]
        self.host = host
        hooks = [word for name in setup for word in ("--setup", name)]
        self.popen: subprocess.Popen[str] = lab.run(
            host,
            [sys.executable, "-m", "tests.net.site", json.dumps(settings), *hooks],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.events: list[dict[str, Any]] = []
        """What it said unasked, oldest first."""
        self._ids = itertools.count(1)
        self._asked: dict[int, Future[Any]] = {}
        self._ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name=f"reads:{self.fqcn}")
        self._reader.start()

    @property
    def url(self) -> str:
        """Where it listens. Waits until it does."""
        return str(self.event("started")["url"])

    def event(self, name: str) -> dict[str, Any]:
        """The first event of this name. Waits for it."""

        def found() -> dict[str, Any] | bool:
            return next((event for event in self.events if event["event"] == name), self._ended)

        with self._changed:
            event = self._changed.wait_for(found, LONG)
        assert isinstance(event, dict), f"{self.fqcn} has not said {name!r}{' and has ended' if self._ended else ''}"
        return event

    def do(self, command: str, **arguments: Any) -> Future[Any]:
        """Give a command; the future ends with its answer, or raises `CommandError`."""
        assert self.popen.stdin is not None
        future: Future[Any] = Future()
        with self._changed:
            if self._ended:
                raise CommandError(f"{command}: {self.fqcn} has ended", "EOFError")
            id = next(self._ids)
            self._asked[id] = future
            with suppress(BrokenPipeError):  # it has just ended, and the future does with it
                self.popen.stdin.write(json.dumps({"id": id, "do": command, **arguments}) + "\n")
                self.popen.stdin.flush()
        return future

    def ask(self, command: str, **arguments: Any) -> Any:
        """Give a command and wait for its answer."""
        return self.do(command, **arguments).result(LONG)

    def request(self, target: str, number: int, **how: Any) -> Outcome:
        """One request to another cell, and how it ended."""
        outcome: Outcome = self.ask("request", target=target, number=number, **how)
        return outcome

    def requests(self, target: str, numbers: Iterable[int], **how: Any) -> Future[list[Outcome]]:
        """Many requests at once; the future gives how they ended."""
        return self.do("requests", target=target, numbers=list(numbers), **how)

    def wait_connected(self) -> None:
        assert self.ask("connected", timeout=LONG), f"{self.fqcn} does not get through"

    def link(self, peer: str) -> str:
        """How it sees a neighbour now; "gone" when it sees none."""
        return str(self.ask("links").get(peer, "gone"))

    def wait_link(self, peer: str, *states: str) -> None:
        """Wait until it sees a neighbour in one of these states."""
        until(lambda: self.link(peer) in states, f"{self.fqcn} does not see {peer} {' or '.join(states)}")

    def executed(self) -> dict[int, int]:
        """How often its handlers ran, per number."""
        return {int(number): times for number, times in self.ask("executed").items()}

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def close(self) -> None:
        """End it, however it is."""
        self.popen.kill()
        self.popen.wait(LONG)
        self._reader.join(LONG)

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for text in self.popen.stdout:
            self._take(json.loads(text))
        with self._changed:
            self._ended = True
            asked, self._asked = self._asked, {}
            self._changed.notify_all()
        for future in asked.values():
            future.set_exception(CommandError(f"{self.fqcn} has ended", "EOFError"))

    def _take(self, line: dict[str, Any]) -> None:
        with self._changed:
            if "event" in line:
                self.events.append(line)
                self._changed.notify_all()
                return
            future = self._asked.pop(line["id"])
        if "error" in line:
            future.set_exception(CommandError(line["error"], line["kind"]))
        else:
            future.set_result(line["value"])


class LabFederation:
    """The cells of one test in a lab; all are ended by `close`. `setup` holds for each."""

    def __init__(self, lab: Lab, config: CellConfig = QUICK, setup: Iterable[str] = ()) -> None:
        self.lab = lab
        self.config = config
        self.setup = tuple(setup)
        self.cells: list[HostCell] = []

    def start(
        self, host: int, fqcn: str, parent: HostCell | str | None = None, listen: bool = True, **settings: Any
    ) -> HostCell:
        """A cell in a host, connected to its parent. `settings`: of `tests.net.site`; `config` may be a CellConfig."""
        cell = self.begin(host, fqcn, parent, listen, **settings)
        cell.wait_connected()
        return cell

    def begin(
        self, host: int, fqcn: str, parent: HostCell | str | None = None, listen: bool = True, **settings: Any
    ) -> HostCell:
        """A cell in a host, which is starting."""
        config = settings.pop("config", self.config)
        settings = {
            "fqcn": fqcn,
            "parent": parent.url if isinstance(parent, HostCell) else parent,
            "listen": self.lab.url(host) if listen else None,
            "config": asdict(config) if isinstance(config, CellConfig) else config,
            **settings,
        }
        self.cells.append(HostCell(self.lab, host, settings, self.setup))
        return self.cells[-1]

    def close(self) -> None:
        for cell in reversed(self.cells):
            cell.close()


MakeFederation = Callable[..., LabFederation]
"""`(lab, config, setup) -> LabFederation`: the fixture `federate`."""
