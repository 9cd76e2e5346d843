"""Notifications, between our own ends and as systemd defines them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from zmqfl.launch.notify import VARIABLE, notify, open_receiver, receive


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("n") / "n.sock"


def test_what_is_sent_is_received(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(path))
    with open_receiver(path) as receiver:
        assert receive(receiver) is None
        notify(READY=1, X_ZMQFL_CELL="site-1")
        notify(STOPPING=1)
        assert receive(receiver) == {"READY": "1", "X_ZMQFL_CELL": "site-1"}
        assert receive(receiver) == {"STOPPING": "1"}
        assert receive(receiver) is None


def test_an_abstract_socket_as_systemd_may_give(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{path}")
        monkeypatch.setenv(VARIABLE, f"@{path}")
        notify(READY=1)
        assert receiver.recv(100) == b"READY=1"


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    notify(READY=1)
    monkeypatch.setenv(VARIABLE, str(path))
    notify(READY=1)


def test_a_stale_socket_is_taken_over(path: Path) -> None:
    open_receiver(path).close()
    open_receiver(path).close()


def test_garbage_is_no_notification(path: Path) -> None:
    with open_receiver(path) as receiver, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"\xff\xfe nonsense\nA=b=c", str(path))
        assert receive(receiver) == {"A": "b=c"}
