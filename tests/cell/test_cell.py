"""The life of a cell, and how it may be used."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.system.federation import LONG, QUICK, Federation, Gate, counter, hold, state_of, until
from zmqfl import Cell, Keys, Message, UserError
from zmqfl.cell import cell as module
from zmqfl.errors import ArgumentError, ClosedError, ForkedError, KeyFileError, RequestFailed, WouldDeadlockError
from zmqfl.transport import keys as key_files
from zmqfl.transport.endpoint import Endpoint

ANY = "tcp://127.0.0.1:*"


@pytest.fixture
def server(federation: Federation) -> Cell:
    server = federation.start("server")
    server.register_request_cb("test", "echo", lambda message: message.payload)
    return server


@pytest.fixture
def site(federation: Federation, server: Cell) -> Cell:
    return federation.start("site-1", server, None)


def is_closing(cell: Cell) -> bool:
    return cell._edges._closing


def verbs(cell: Cell) -> list[Callable[[], Any]]:
    """All that needs a cell which runs."""
    return [
        lambda: cell.request("server", "test", "echo", 1),
        lambda: cell.broadcast(["server"], "test", "echo", 1),
        lambda: cell.fire("server", "test", "echo", 1),
        lambda: cell.send_request("test", "echo", "server", 1),
        cell.statistics,
        cell.connected,
        lambda: cell.wait_connected(0),
        lambda: cell.child_exited("site-1"),
    ]


# ------------------------------------------------------------------------------------------------- what it is made of


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"fqcn": "a..b", "listen": ANY}, "empty part"),
        ({"fqcn": "server"}, "neither listens nor dials"),
        ({"fqcn": "server", "listen": "http://x:1"}, "is no address"),
        ({"fqcn": "server", "listen": "tcp://0.0.0.0:*"}, "open to anybody"),
        ({"fqcn": "server", "listen": [ANY, "tcp://*:*"]}, "open to anybody"),
        ({"fqcn": "site-1", "parent": "tcp://10.0.0.1:8102"}, "open to anybody"),
        ({"fqcn": "site-1", "parent": "tcp://127.0.0.1:*"}, "nobody can dial"),
        ({"fqcn": "server", "listen": "ipc://@abstract"}, "abstract"),
    ],
)
def test_a_cell_that_cannot_be_says_why(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        Cell(**arguments)
    assert caught.value.remedy


def test_a_port_that_is_taken(server: Cell) -> None:
    with pytest.raises(UserError, match="the port is taken"):
        Cell("server", listen=server.url)


def test_an_ipc_address_that_is_taken_or_open_to_others(tmp_path: Path, federation: Federation) -> None:
    folder = tmp_path / "run"
    url = f"ipc://{folder}/server"
    federation.start("server", listen=url)
    assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(UserError, match="a cell is listening there"):
        Cell("server", listen=url)
    folder.chmod(0o755)
    with pytest.raises(UserError, match="others may enter"):
        Cell("other", listen=f"ipc://{folder}/other")


def test_a_trusted_network_opens_what_is_closed_else(federation: Federation) -> None:
    server = federation.start("server", listen="tcp://0.0.0.0:*", trusted_network=True)
    site = federation.start("site-1", server.url.replace("0.0.0.0", "127.0.0.1"), None)
    assert site.parent == "server"


def test_a_cell_listens_on_several_addresses(federation: Federation, tmp_path: Path) -> None:
    server = federation.start("server", listen=[ANY, f"ipc://{tmp_path}/run/server"])
    server.register_request_cb("test", "who", lambda message: message.origin)
    assert server.url == server.urls[0]
    assert Endpoint.parse(server.url).port
    for number, url in enumerate(server.urls):
        site = federation.start(f"site-{number}", url, None)
        assert site.request("server", "test", "who").result(LONG).payload == f"site-{number}"
        with pytest.raises(UserError, match="does not listen"):
            _ = site.url
    assert server.request("site-0", "_net_manager", "echo", 1).result(LONG).payload == 1


def test_keys_come_from_a_folder(tmp_path: Path, federation: Federation) -> None:
    for name in ("server", "site-1"):
        key_files.generate(name, tmp_path)
    server = federation.start("server", keys=tmp_path)
    site = federation.start("site-1", server, None, keys=str(tmp_path))
    assert site.request("server", "_net_manager", "echo", 1).result(LONG).payload == 1
    with pytest.raises(KeyFileError, match="no such file"):
        Cell("site-2", parent=server.url, keys=tmp_path)


# ------------------------------------------------------------------------------------------------------ start and end


def test_before_start_and_after_close_all_verbs_say_so(federation: Federation) -> None:
    cell = federation.make("server", listen=ANY)
    for verb in verbs(cell):
        with pytest.raises(ClosedError, match=r"server is not started; use `with`"):
            verb()
    cell.start()
    cell.start()  # again does nothing
    assert cell.request("server", "_net_manager", "echo", 1).result(LONG).payload == 1
    cell.close()
    for verb in verbs(cell):
        with pytest.raises(ClosedError, match="closed"):
            verb()
    with pytest.raises(ClosedError, match="make a new one"):
        cell.start()
    assert repr(cell).startswith("<Cell closed server")


def test_a_cell_that_was_never_started_is_closed_as_well() -> None:
    cell = Cell("server", listen=ANY)
    cell.close()
    with pytest.raises(ClosedError), cell:
        pass
    Cell("server", listen=cell.url).close()


def test_with_and_async_with() -> None:
    async def use() -> Any:
        async with (
            Cell("server", listen=ANY, config=QUICK) as server,
            Cell("site-1", parent=server.url, config=QUICK) as site,
        ):

            async def double(message: Message) -> Any:
                return (await site.request("server", "test", "twice", message.payload)).payload

            server.register_request_cb("test", "twice", lambda message: message.payload * 2)
            site.register_request_cb("test", "double", double)
            assert server.statistics().is_bound
            return (await server.request("site-1", "test", "double", 21)).payload

    assert asyncio.run(use()) == 42
    with (
        Cell("server", listen=ANY, config=QUICK) as server,
        Cell("site-1", parent=server.url, config=QUICK) as site,
    ):
        assert site.is_backbone_ready()
        assert site.is_cell_connected("server")
        assert not site.is_cell_connected("site-2")


def test_an_async_with_that_is_cancelled_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_CONNECTION", LONG)
    cell = Cell("site-1", parent="tcp://127.0.0.1:1", config=QUICK)

    async def enter() -> None:
        async with cell:
            pytest.fail("there is no parent")

    async def cancel() -> None:
        task = asyncio.ensure_future(enter())
        await asyncio.sleep(0)  # it runs until it waits for the parent
        assert cell._reactor.is_started
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    with pytest.raises(ClosedError):
        cell.statistics()


def test_entering_waits_for_the_parent_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_CONNECTION", 0.01)
    with Cell("site-1", parent="tcp://127.0.0.1:1", config=QUICK) as site:
        assert not site.is_backbone_ready()
        assert not site.wait_connected(0.01)
        assert (site.parent, site.root, site.refusal) == ("", "", "")


def test_close_lets_running_handlers_end(server: Cell, site: Cell) -> None:
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    handle = site.request("server", "test", "held")
    gate.wait_entered()
    closing = threading.Thread(target=server.close)
    closing.start()
    until(partial(is_closing, server))
    reply = site.request("server", "test", "echo", 1).reply(LONG)
    assert (str(reply.return_code), reply.error) == ("service_unavailable", "server is stopping")
    assert closing.is_alive()
    gate.open()
    assert handle.result(LONG).payload == "done"
    closing.join(LONG)
    assert not closing.is_alive()


def test_close_lets_running_handlers_end_even_if_all_neighbours_were_gone_once(federation: Federation) -> None:
    server = federation.start("server")
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    first = federation.start("site-1", server, None)
    first.close()
    until(lambda: state_of(server, "site-1") == "gone")
    second = federation.start("site-2", server, None)
    handle = second.request("server", "test", "held")
    gate.wait_entered()
    closing = threading.Thread(target=server.close)
    closing.start()
    until(partial(is_closing, server))
    second.statistics()
    assert not handle.done()
    gate.open()
    assert handle.result(LONG).payload == "done"
    closing.join(LONG)


@pytest.mark.parametrize(
    "size",
    [
        10,
        900_000,
    ],
)
def test_the_reply_of_a_handler_that_ends_while_its_cell_closes_arrives(federation: Federation, size: int) -> None:
    for number in range(20):
        server = federation.start("server")
        gate = Gate(bytes(size))
        server.register_request_cb("test", "held", gate)
        site = federation.start(f"site-{number}", server, None)
        handles = [site.request("server", "test", "held") for _ in range(4)]
        gate.wait_entered(4)
        closing = threading.Thread(target=server.close)
        closing.start()
        until(partial(is_closing, server))
        gate.open()
        assert [len(handle.result(LONG).payload) for handle in handles] == [size] * 4
        closing.join(LONG)


def test_close_fails_open_requests_of_this_cell_and_those_of_others_to_it(server: Cell, site: Cell) -> None:
    gate = Gate()
    server.register_request_cb("test", "held", gate)
    site.register_request_cb("test", "held", gate)
    own, others = server.request("site-1", "test", "held"), site.request("server", "test", "held")
    gate.wait_entered(2)
    server.close(drain=0)
    with pytest.raises(ClosedError, match="server was closed"):
        own.result(LONG)
    with pytest.raises(RequestFailed, match="outcome unknown") as caught:
        others.result(LONG)
    assert str(caught.value.code) == "comm_error"
    gate.open()


def test_close_from_several_threads_and_again(server: Cell, site: Cell) -> None:
    threads = [threading.Thread(target=server.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    server.close()
    server.stop()


def test_a_handler_may_close_its_cell_and_its_reply_still_goes_out(server: Cell, site: Cell) -> None:
    def stop(message: Message) -> str:
        server.close()
        return "closing"

    server.register_request_cb("test", "stop", stop)
    assert site.request("server", "test", "stop").result(LONG).payload == "closing"
    server.close()  # waits for the other one


def test_a_callback_may_close_its_cell(server: Cell, site: Cell) -> None:
    closed = threading.Event()

    def close(_: Any) -> None:
        site.close()
        closed.set()

    go_on = threading.Event()
    hold(site, go_on)
    site.request("server", "test", "echo", 1).add_done_callback(close)
    go_on.set()
    assert closed.wait(LONG)
    site.close()
    until(lambda: state_of(server, "site-1") == "gone")


def test_verbs_that_race_with_a_close_end_all_the_same(federation: Federation) -> None:
    for _ in range(8):
        server = federation.start("server")
        server.register_request_cb("test", "echo", lambda message: message.payload)
        started = threading.Barrier(3)
        handles: list[Any] = []

        def ask(server: Cell = server, started: threading.Barrier = started, handles: list[Any] = handles) -> None:
            started.wait()
            with contextlib.suppress(ClosedError):
                for _ in range(300):
                    handles.append(server.request("server", "test", "echo", 1))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        started.wait()
        until(partial(handles.__getitem__, slice(10, None)))
        server.close(drain=0)
        for thread in threads:
            thread.join(LONG)
        for handle in handles:
            assert isinstance(handle.exception(LONG), ClosedError | RequestFailed | None)


# ---------------------------------------------------------------------------------------------- where one may not wait


def test_waiting_inside_a_loop_is_refused_and_says_what_to_do(site: Cell) -> None:
    async def wait() -> None:
        handle = site.request("site-1", "test", "held", timeout=0.01)
        with pytest.raises(WouldDeadlockError, match="await the handle instead"):
            handle.result()
        with pytest.raises(WouldDeadlockError):
            site.wait_connected(1)
        handle.cancel()
        assert await site.connected()
        assert site.statistics().fqcn == "site-1"

    asyncio.run(wait())


def test_waiting_on_the_reactor_is_refused(server: Cell, site: Cell) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def act(now: float) -> list[Any]:
        try:
            site.request("server", "test", "echo", 1).result()
        except WouldDeadlockError as error:
            errors.append(error)
        assert site.statistics().fqcn == "site-1"
        done.set()
        return []

    site._reactor.submit(act)
    assert done.wait(LONG)
    assert "add_done_callback" in str(errors[0])


def test_a_forked_process_has_no_cell(server: Cell, site: Cell) -> None:
    handle = site.request("server", "test", "nobody", timeout=0.01)

    def check() -> None:
        for verb in verbs(site):
            with pytest.raises(ForkedError, match="make a new one after a fork"):
                verb()
        with pytest.raises(ForkedError):
            site.start()
        site.close()  # does nothing here

    if (pid := os.fork()) == 0:
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    handle.exception(LONG)
    assert site.request("server", "test", "echo", 2).result(LONG).payload == 2


# --------------------------------------------------------------------------------------------------- names and keys


def test_the_process_of_a_child_that_ended_is_gone_at_once(federation: Federation, server: Cell, site: Cell) -> None:
    gate = Gate()
    site.register_request_cb("test", "held", gate)
    handle = server.request("site-1", "test", "held")
    gate.wait_entered()
    server.child_exited("site-1")
    with pytest.raises(RequestFailed, match="its process has ended"):
        handle.result(LONG)
    gate.open()


def test_on_exit_runs_in_a_thread_of_its_own_and_may_do_what_it_likes(federation: Federation) -> None:
    called: list[tuple[int, str]] = []
    done = threading.Event()

    def end(status: int, reason: str) -> None:
        called.append((status, reason))
        assert cell.statistics().fqcn == "server"
        cell.close()
        done.set()

    cell = federation.start("server", on_exit=end)
    assert cell.exit is None
    cell.ask_exit(3, "enough")
    assert done.wait(LONG)
    assert called == [(3, "enough")]
    assert str(cell.exit) == "Exit(status=3, reason='enough')"


def test_keys_are_read_again(tmp_path: Path, federation: Federation) -> None:
    for name in ("server", "site-1", "site-2"):
        key_files.generate(name, tmp_path)
    server = federation.start("server", keys=tmp_path)
    site = federation.start("site-1", server, None, keys=tmp_path)
    (tmp_path / "revoked").write_text("site-1\n")
    server.reload_keys()
    until(lambda: state_of(server, "site-1") == "gone")
    until(lambda: site.refusal)
    server.revoke("site-2")
    (tmp_path / "revoked").write_text("")
    server.reload_keys()
    assert site.wait_connected(LONG)
    federation.start("site-2", server, None, keys=tmp_path)
    server.reload_keys(names=["server", "site-2"])
    until(lambda: state_of(server, "site-1") == "gone")
    server.revoke("site-2")  # of those that are allowed now
    until(lambda: not server.statistics().links)


def test_cells_without_keys_or_without_their_folder(federation: Federation, server: Cell) -> None:
    with pytest.raises(UserError, match="has no keys"):
        server.reload_keys()
    with pytest.raises(UserError, match="has no keys"):
        server.revoke("site-1")
    cell = federation.start("other", keys=Keys("other", *zmq.curve_keypair()))
    with pytest.raises(UserError, match="name a folder"):
        cell.reload_keys()


def test_registering_for_what_cannot_be(server: Cell) -> None:
    with pytest.raises(ArgumentError, match="topic is empty"):
        server.register_request_cb("test", "", print)
    with pytest.raises(ArgumentError, match="name the channel"):
        server.register_request_cb("*", "topic", print)


def test_a_fire_runs_the_handler_and_nobody_waits(server: Cell, site: Cell) -> None:
    seen: list[Any] = []
    come = threading.Event()

    def take(message: Message) -> None:
        seen.append((message.payload, message.origin, message.get_header("cn__reply_expected")))
        come.set()
        raise ValueError("nobody hears this")

    server.register_request_cb("test", "take", take)
    assert site.fire("server", "test", "take", [1]).result(LONG) == {"server": ""}
    assert come.wait(LONG)
    assert seen == [([1], "site-1", False)]
    assert counter(server, "fires") == 1


def test_who_asked_is_told_of_the_close_while_the_cell_can_still_send(
    server: Cell, site: Cell, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError("disk full")

    said: list[Any] = [fail]

    def farewell() -> None:
        said.append(site.request("server", "test", "echo", "bye").result(LONG).payload)

    site.on_close(said[0])  # fails, which is nobody's concern
    site.on_close(farewell)
    site.close()
    site.close()
    assert said[1:] == ["bye"]
    assert "a callback of the close of site-1 failed" in caplog.text


def test_a_job_runs_on_a_worker_and_on_a_thread_where_none_is_free(federation: Federation) -> None:
    ran: list[str] = []
    done = threading.Semaphore(0)

    def job() -> None:
        ran.append(threading.current_thread().name)
        done.release()

    cell = federation.start("server")
    cell.run_on_worker(job)
    assert done.acquire(timeout=LONG)
    cell.close()
    cell.run_on_worker(job)
    assert done.acquire(timeout=LONG)
    assert ran[0].startswith("zmqfl-calls:server")
    assert ran[1] == "zmqfl-job:server"
