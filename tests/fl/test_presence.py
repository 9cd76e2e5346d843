"""Whether clients are there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from tests.system.federation import LONG, Federation
from zmqfl.cell.cell import Cell
from zmqfl.fl.presence import Presence
from zmqfl.fl.run_messages import CHANNEL, PRESENCE


class Lost:
    """Who was lost."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.heard = threading.Semaphore(0)

    def __call__(self, name: str) -> None:
        self.names.append(name)
        self.heard.release()

    def wait(self) -> list[str]:
        assert self.heard.acquire(timeout=LONG)
        return self.names


@pytest.fixture
def federation() -> Iterator[Federation]:
    federation = Federation()
    yield federation
    federation.close()


def start(federation: Federation, name: str, server: Cell) -> tuple[Cell, Future[Any]]:
    cell = federation.start(name, server, None)
    leaving: Future[Any] = Future()
    cell.register_request_cb(CHANNEL, PRESENCE, lambda message: leaving)
    return cell, leaving


def test_a_client_that_vanishes_is_lost(federation: Federation) -> None:
    server = federation.start("server")
    lost = Lost()
    presence = Presence(server, lost)
    cells = {name: start(federation, name, server)[0] for name in ("site-1", "site-2")}
    for name in cells:
        presence.watch(name, name)
    assert presence.present() == {"site-1", "site-2"}
    cells["site-1"].close(drain=0)
    assert lost.wait() == ["site-1"]
    assert presence.present() == {"site-2"}
    presence.close()
    assert (presence.present(), lost.names) == (set(), ["site-1"])


def test_a_client_that_is_watched_again_is_not_lost_by_its_former_start(federation: Federation) -> None:
    server = federation.start("server")
    lost = Lost()
    presence = Presence(server, lost)
    _, leaving = start(federation, "site-1", server)
    presence.watch("site-1", "site-1")
    presence.watch("site-1", "site-1")
    assert presence.present() == {"site-1"}
    presence.forget("site-1")
    presence.forget("site-1")
    assert (presence.present(), lost.names) == (set(), [])
    leaving.set_result(None)


def test_a_client_that_is_nowhere_is_lost_at_once(federation: Federation) -> None:
    server = federation.start("server")
    lost = Lost()
    presence = Presence(server, lost)
    presence.watch("site-1", "site-1")
    assert lost.wait() == ["site-1"]
    server.close()
    presence.watch("site-1", "site-1")
    assert presence.present() == set()
