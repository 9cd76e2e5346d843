"""All sockets of a cell; how the reactor uses them is tested with the reactor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import zmq

from zmqfl.config import CellConfig
from zmqfl.errors import UserError
from zmqfl.transport.endpoint import Endpoint
from zmqfl.transport.keys import generate, load
from zmqfl.transport.ports import Ports
from zmqfl.transport.wakeup import Wakeup
from zmqfl.wire.messages import Lane

CONFIG = CellConfig(send_budget=10_000)
ANY = Endpoint.parse("tcp://127.0.0.1:*")


def test_it_listens_everywhere_and_dials_both_lanes() -> None:
    wakeup = Wakeup()
    above = Ports(CONFIG, [ANY, ANY], None, None, False, wakeup.fd)
    below = Ports(CONFIG, [], above.listeners[0].endpoint, None, False, wakeup.fd)
    try:
        assert [listener.index for listener in above.listeners] == [0, 1]
        assert list(below.dialers) == [Lane.CONTROL, Lane.BULK]
        wakeup.set()
        assert wakeup.fd in above.poll(1000)
    finally:
        assert below.close(0.0, "below")
        assert above.close(0.0, "above")
        wakeup.close()


def test_what_cannot_be_opened_leaves_nothing_open() -> None:
    wakeup = Wakeup()
    first = Ports(CONFIG, [ANY], None, None, False, wakeup.fd)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UserError, match="the port is taken"):
        Ports(CONFIG, [ANY, first.listeners[0].endpoint], None, None, False, wakeup.fd)
    assert len(os.listdir("/proc/self/fd")) == before
    assert first.close(0.0, "first")
    wakeup.close()


def test_without_a_connection_messages_wait_within_the_budget(tmp_path: Path) -> None:
    generate("server", tmp_path)
    generate("site-1", tmp_path)
    wakeup = Wakeup()
    nobody = Endpoint.parse(f"ipc://{tmp_path}/nobody.sock")
    ports = Ports(CONFIG, [], nobody, load(tmp_path, "site-1", "server"), False, wakeup.fd)
    conn = ports.dialers[Lane.CONTROL].conn
    frame = b"zF\x01\x10" + bytes(28)  # the kind of a REQUEST
    assert ports.send(conn, [frame, b"x"], 9000, 0.0)
    assert not ports.send(conn, [frame, b"x"], 9000, 0.0)
    assert (ports.blocked, ports.is_full) == ({conn}, False)
    assert list(ports.flush(1.0)) == []
    ports.forget(conn)
    assert (ports.blocked, ports.budget.used) == (set(), 0)
    assert ports.close(0.0, "site-1")
    wakeup.close()


def test_a_child_that_is_not_there_is_lost() -> None:
    wakeup = Wakeup()
    ports = Ports(CONFIG, [ANY], None, None, False, wakeup.fd)
    conn = ports.listeners[0].conn(b"nobody")
    with pytest.raises(zmq.ZMQError, match=r"Host unreachable|No route"):
        ports.send(conn, [b"frame"], 5, 0.0)
    assert ports.close(0.0, "server")
    wakeup.close()
