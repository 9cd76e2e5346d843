"""The stream server as a process: it starts, ends, and ends with whoever has started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from multiprocessing import resource_tracker

import pytest

from tests.system.federation import LONG, QUICK, ROOT, until
from zmqfl import Cell, ChannelUnknownError, RequestFailed, StreamClient_Thread, StreamServer
from zmqfl.channels.server_functions import ServerFunctions
from zmqfl.channels.statistics_channel import StatisticsChannel
from zmqfl.errors import ArgumentError, ChannelEndedError

STARTS = """
import sys
from zmqfl import StreamServer
if __name__ == "__main__":
    server = StreamServer(port=0)
    server.start()
    print(server.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session", autouse=True)
def _resource_tracker() -> None:
    resource_tracker.ensure_running()  # the standard library's, one per process: no test leaks it


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_start_and_stop_and_stop_again() -> None:
    with StreamServer(port=0, config=QUICK) as server:
        assert server.url.startswith("tcp://127.0.0.1:")
        pid = server.pid
        assert pid is not None
        assert is_running(pid)
    assert not is_running(pid)
    server.stop()


def test_it_ends_with_its_clients_when_it_is_told_to() -> None:
    server = StreamServer(port=0, config=QUICK)
    server.start()
    client = StreamClient_Thread("client1", server.url, config=QUICK)
    client.start()
    client.create_new_channel("c")
    client.subscribe_read_channel("c")
    server.terminate()
    with pytest.raises((ChannelEndedError, RequestFailed)):
        client.get_data("c", LONG)
    client.stop_client()
    server.stop()


def test_it_ends_with_the_process_that_has_started_it() -> None:
    script = subprocess.Popen(
        [sys.executable, "-c", STARTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert script.stdout is not None
    pid = int(script.stdout.readline())
    assert is_running(pid)
    script.send_signal(signal.SIGKILL)
    script.communicate()
    until(lambda: not is_running(pid), "the server has outlived who started it")


@pytest.fixture
def server() -> Cell:
    return Cell("server", listen="tcp://127.0.0.1:0", config=QUICK)


def test_chan_R13_the_functions_of_a_server_show_no_private_channel(server: Cell) -> None:
    with server, Cell("site-1", parent=server.url, config=QUICK) as site:
        site.create_channel("open").result(LONG)
        site.create_channel("hidden", key="k").result(LONG)
        functions = ServerFunctions(server)
        assert [name for name, _ in functions.rpc_get_channels()] == ["open"]
        assert [row["name"] for row in functions.rpc_get_statistics()] == ["open"]
        with pytest.raises(ChannelUnknownError):
            functions.rpc_get_channel_info("hidden")
        assert functions.rpc_get_channel_info("open")["owner"] == "site-1"
        assert functions.rpc_get_clients() == ["site-1"]


def test_chan_R34_the_statistics_channel_costs_nothing_while_nobody_reads(server: Cell) -> None:
    with server:
        statistics = StatisticsChannel(server)
        with pytest.raises(ArgumentError, match="interval"):
            statistics.start(0)
        for _ in range(3):
            name = statistics.start(0.01)
            statistics.start(0.01)
            was_running = statistics.is_running
            assert server.channels().result(LONG)[0]["offered"] == 0
            reader = server.subscribe(name).result(LONG)
            rows = reader.get().result(LONG).value
            assert [row["name"] for row in rows] == [name]
            statistics.stop()
            statistics.stop()
            assert (was_running, statistics.is_running) == (True, False)
            for item in reader:
                assert item.writer == "server"
            assert str(reader.end) == "stopped"


def test_a_statistics_channel_ends_with_its_cell(server: Cell) -> None:
    with server:
        statistics = StatisticsChannel(server)
        statistics.start(0.01)
    statistics.stop()
