"""Starting and stopping: nothing is left behind, whatever is under way."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
import zmq

from tests.conftest import descriptors, threads
from tests.system.federation import LONG, QUICK, Federation, Gate, until
from zmqfl import Cell, Keys
from zmqfl.errors import UserError


def cycle(folder: Path, number: int, keys: Federation | None) -> None:
    """A server and a site, one request, and the end."""
    tcp = bool(number % 2) or keys is not None
    listen = "tcp://127.0.0.1:*" if tcp else f"ipc://{folder}/run/server"
    own, sites = [keys.keys_of(name) if keys else None for name in ("server", "site-1")]
    with (
        Cell("server", listen=listen, keys=own, config=QUICK) as server,
        Cell("site-1", parent=server.url, keys=sites, config=QUICK) as site,
    ):
        server.register_request_cb("test", "echo", lambda message: message.payload)
        assert site.request("server", "test", "echo", bytes(number * 1000)).result(LONG).ok


@pytest.mark.parametrize("keys", [False, True], ids=["open", "curve"])
def test_a_hundred_starts_and_stops_leave_everything_as_it_was(tmp_path: Path, keys: bool) -> None:
    federation = Federation(keys=True) if keys else None
    cycle(tmp_path, 0, federation)  # what is there once is no leak
    before = {*threads(), *descriptors()}, sorted(tmp_path.rglob("*"))
    for number in range(100):
        cycle(tmp_path, number, federation)
    until(lambda: {*threads(), *descriptors()} <= before[0], "threads or descriptors are left")
    assert sorted(tmp_path.rglob("*")) == before[1]


def test_the_file_of_an_ipc_address_goes_with_its_cell_and_a_stale_one_is_replaced(
    tmp_path: Path, federation: Federation
) -> None:
    path = tmp_path / "run" / "server"
    process = federation.process("server", listen=f"ipc://{path}")
    process.close()  # killed: its file stays
    assert path.exists()
    server = federation.start("server", listen=f"ipc://{path}")
    federation.start("site-1", server, None)
    server.close()
    assert not path.exists()
    path.write_text("a file of somebody's")
    with pytest.raises(UserError, match="there is a file"):
        Cell("server", listen=f"ipc://{path}")
    assert path.read_text() == "a file of somebody's"


def test_what_a_cell_could_not_open_is_closed_again(federation: Federation) -> None:
    server = federation.start("server")
    before = descriptors().keys()
    for _ in range(10):
        with pytest.raises(UserError, match="the port is taken"):
            Cell("server", listen=["tcp://127.0.0.1:*", server.url])
        with pytest.raises(UserError, match="key of the parent is not known"):
            Cell("site-1", parent=server.url, keys=Keys("site-1", *zmq.curve_keypair()))
    until(lambda: descriptors().keys() <= before, "descriptors are left")


def test_a_tree_may_be_closed_in_any_order() -> None:
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        trial = Federation()
        cells = trial.tree()
        handles = [cell.request("site-2", "test", "nobody", timeout=LONG) for cell in cells]
        for index in order:
            cells[index].close()
        for handle in handles:
            handle.exception(LONG)


def test_cells_close_while_everything_is_under_way() -> None:
    for victim in ("server", "relay", "relay.site-1"):
        trial = Federation()
        cells = {cell.fqcn: cell for cell in trial.tree()}
        gate = Gate()
        for cell in cells.values():
            cell.register_request_cb("test", "held", gate)
        handles = [
            cell.request(name, "test", "held", bytes(100_000))
            for cell in cells.values()
            for name in cells
            if cell.fqcn != name
        ]
        gate.wait_entered(len(handles))
        cells[victim].close(drain=0)
        gate.open()
        for handle in handles:
            handle.exception(LONG)
        trial.close()


def test_all_cells_of_a_process_close_at_once(federation: Federation) -> None:
    cells = [*federation.tree()]
    closing = [threading.Thread(target=cell.close) for cell in cells]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join(LONG)
        assert not thread.is_alive()


def test_a_closing_cell_tells_its_neighbours_and_they_do_not_wait(federation: Federation) -> None:
    server = federation.start("server")
    gone = threading.Event()
    server.set_cell_disconnected_cb(lambda agent: gone.set())
    site = federation.start("site-1", server, None)
    site.close()
    assert gone.wait(LONG)
    reply = server.request("site-1", "test", "echo").reply(LONG)
    assert str(reply.return_code) == "target_unreachable"


def test_a_handler_that_never_ends_does_not_keep_a_cell_open(federation: Federation) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server, None)
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    handle = site.request("server", "test", "held")
    gate.wait_entered()
    server.close(drain=0.05)
    assert str(handle.reply(LONG).return_code) == "comm_error"
    gate.open()  # it returns to nobody


def test_a_request_of_a_handler_that_still_runs_when_its_cell_closes_fails(federation: Federation) -> None:
    server = federation.start("server")
    site = federation.start("site-1", server, None)
    gate = Gate()
    site.register_request_cb("test", "held", gate)
    errors: list[BaseException | None] = []
    ended = threading.Event()

    def nested(message: object) -> None:
        errors.append(server.request("site-1", "test", "held").exception(LONG))
        ended.set()

    server.register_request_cb("test", "nested", nested)
    site.request("server", "test", "nested")
    gate.wait_entered()
    server.close(drain=0)
    assert ended.wait(LONG)
    assert "server was closed" in str(errors[0])
    gate.open()


def test_two_loops_one_after_the_other(tmp_path: Path) -> None:
    async def use(number: int) -> int:
        async with Cell("server", listen=f"ipc://{tmp_path}/run/{os.getpid()}", config=QUICK) as server:

            async def double(message: object) -> int:
                return number * 2

            server.register_request_cb("test", "double", double)
            payload: int = (await server.request("server", "test", "double")).payload
            return payload

    assert [asyncio.run(use(number)) for number in range(3)] == [0, 2, 4]
