"""Seed 002, stream service: its code blocks, its eight steps and its promises. A test per line of the check list."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import pytest

from tests.system.federation import LONG, QUICK, until
from zmqfl.channels.stream_client import (
    CLEAR_BUFFER_FULL,
    RAISE_BUFFER_FULL,
    RING_BUFFER_FULL,
    SKIP_BUFFER_FULL,
    WAIT_BUFFER_FULL,
    StreamClient_Thread,
)
from zmqfl.channels.stream_server import PORT, StreamServer
from zmqfl.errors import (
    ArgumentError,
    BufferFullError,
    ChannelDeniedError,
    ChannelEndedError,
    ChannelUnknownError,
    UserError,
)


@pytest.fixture(scope="session", autouse=True)
def _resource_tracker() -> None:
    resource_tracker.ensure_running()  # the standard library's, one per process: no test leaks it


class Service:
    """A server in its own process, and clients of it."""

    def __init__(self) -> None:
        self.server = StreamServer(port=0, config=QUICK)
        self.server.start()
        self.clients: list[StreamClient_Thread] = []

    def client(
        self, name: str, kind: type[StreamClient_Thread] = StreamClient_Thread, **options: Any
    ) -> StreamClient_Thread:
        client = kind(name, self.server.url, config=QUICK, **options)
        self.clients.append(client)
        client.start()
        return client

    def close(self) -> None:
        for client in self.clients:
            client.stop_client()
        self.server.stop()


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


class MyClient(StreamClient_Thread):
    def rpc_my_echo(self, data):  # type: ignore[no-untyped-def]
        return "MY ECHO", data


class Calc:
    def rpc_add(self, a: float, b: float) -> float:
        return a + b

    def rpc_substract(self, a: float, b: float) -> float:
        return a - b


class Calculator(StreamClient_Thread):
    rpc_calc = Calc()


def put_all(client: StreamClient_Thread, channel: str, values: Any) -> None:
    for value in values:
        client.put_data(channel, value, timeout=LONG)


def get_all(client: StreamClient_Thread, channel: str, number: int) -> list[Any]:
    return [client.get_data(channel, LONG) for _ in range(number)]


def test_002_1_the_server_is_an_independent_process(service: Service) -> None:
    assert isinstance(service.server, BaseProcess)
    assert service.server.pid
    client = service.client("client1")
    client.create_new_channel("ABC")
    functions = client.srv_rpc
    assert functions.echo("x") == "x"
    assert [name for name, _ in functions.get_channels()] == ["ABC"]
    assert functions.get_channel_info("ABC")["owner"] == "client1"
    assert functions.get_clients() == ["client1"]
    assert functions.get_statistics()[0]["name"] == "ABC"
    assert functions.get_client_info("client1")["writers"] == 1


def test_002_1_load_statistics_as_a_channel_start_and_stop_repeatedly(service: Service) -> None:
    client, functions = service.client("client1"), None
    functions = client.srv_rpc
    for _ in range(2):
        name = functions.start_statistic_channel(0.01)
        client.subscribe_read_channel(name)
        client.create_new_channel("later")
        until(lambda n=name: "later" in [row["name"] for row in client.get_data(n, LONG)])  # type: ignore[misc]
        assert functions.get_state_of_statistic_channel()
        functions.stop_statistic_channel()
        client.unsubscribe_read_channel(name)
        assert not functions.get_state_of_statistic_channel()
        client.delete_channel("later")


def test_002_1_a_server_that_cannot_listen_says_so() -> None:
    server = StreamServer("192.0.2.1", 0)
    with pytest.raises(UserError, match="does not start"):
        server.start()
    with pytest.raises(ArgumentError, match="port"):
        StreamServer(port=-1)
    server = StreamServer(port=PORT)
    server.stop()


def test_002_2_the_client_is_a_thread(service: Service) -> None:
    client = service.client("client1")
    assert isinstance(client, threading.Thread)
    assert client.is_alive()
    client.stop_client()
    assert not client.is_alive()
    client.stop_client()


def test_002_2_functions_in_coroutines(service: Service) -> None:
    one, two = service.client("client1"), service.client("client2")

    async def play() -> list[Any]:
        await one.async_create_new_channel("ABC")
        await two.async_subscribe_read_channel("ABC", None)
        await one.async_put_data("ABC", 1, wait_for_active=True)
        for value in range(2, 100):
            await one.async_put_data("ABC", value)
        values = [await two.async_get_data("ABC") for _ in range(99)]
        assert await two.async_get_channels() == await one.async_get_channels()
        return values

    assert asyncio.run(play()) == list(range(1, 100))


def test_002_3_owned_public_private_temporary_and_single_or_multi_writer(service: Service) -> None:
    one, two = service.client("client1"), service.client("client2")
    one.create_new_channel("public")
    one.create_new_channel("private", public=False, key="secret")
    one.create_new_channel("temporary", lifetime=1.0)
    one.create_new_channel("many", single_in=False)
    assert [name for name, _ in two.get_channels() if name != "temporary"] == ["public", "many"]
    with pytest.raises(ChannelUnknownError):
        two.subscribe_read_channel("private")
    with pytest.raises(ChannelUnknownError):
        two.subscribe_read_channel("private", key="guess")
    two.subscribe_read_channel("private", key="secret")
    with pytest.raises(ChannelDeniedError):
        two.delete_channel("public")
    with pytest.raises(ChannelDeniedError):
        two.subscribe_write_channel("public")
    two.subscribe_write_channel("many")
    until(lambda: "temporary" not in dict(two.get_channels()))
    with pytest.raises(ArgumentError, match="private channel has a key"):
        one.create_new_channel("odd", public=False)
    two.subscribe_read_channel("public")
    one.stop_client()
    with pytest.raises(ChannelEndedError, match="client1 is gone"):
        two.get_data("public", LONG)


def test_002_4_subscribe_for_writing_and_reading_and_back(service: Service) -> None:
    one, two = service.client("client1"), service.client("client2")
    one.create_new_channel("ABC", single_in=False)
    two.subscribe_write_channel("ABC")
    one.subscribe_read_channel("ABC", None)
    two.put_data("ABC", "of two", wait_for_active=True)
    one.put_data("ABC", "of one", wait_for_active=True)
    assert set(get_all(one, "ABC", 2)) == {"of one", "of two"}
    two.unsubscribe_write_channel("ABC")
    with pytest.raises(ArgumentError, match="does not write"):
        two.put_data("ABC", 1)
    one.unsubscribe_read_channel("ABC")
    with pytest.raises(ArgumentError, match="does not read"):
        one.get_data("ABC")


@pytest.mark.parametrize(("behavior", "come"), [
    (RING_BUFFER_FULL, [7, 8, 9]), (CLEAR_BUFFER_FULL, [9]), (SKIP_BUFFER_FULL, [0, 1, 2]), (None, [7, 8, 9]),
])  # fmt: skip
def test_002_5_the_reader_chooses_the_buffer_of_the_server(service: Service, behavior: Any, come: list[int]) -> None:
    one, two = service.client("client1"), service.client("client2")
    one.create_new_channel("ABC")
    two.subscribe_read_channel("ABC", 3, behavior)
    one.put_data("ABC", 0, wait_for_active=True)
    put_all(one, "ABC", range(1, 10))
    one.unsubscribe_write_channel("ABC")  # all is in the buffer
    assert get_all(two, "ABC", len(come)) == come
    with pytest.raises(TimeoutError):
        two.get_data("ABC", 0.05)


def test_002_5_raise_and_wait_reach_the_writer(service: Service) -> None:
    one, two, three = (service.client(f"client{n}") for n in (1, 2, 3))
    one.create_new_channel("raise")
    two.subscribe_read_channel("raise", 1, RAISE_BUFFER_FULL)
    one.put_data("raise", 0, wait_for_active=True)
    with pytest.raises(BufferFullError, match="client2"):
        put_all(one, "raise", range(2))
    one.create_new_channel("wait")
    three.subscribe_read_channel("wait", 2, WAIT_BUFFER_FULL)
    one.put_data("wait", 0, wait_for_active=True)
    put_all(one, "wait", range(1, 50))
    assert get_all(three, "wait", 50) == list(range(50))


def test_002_5_the_fill_rate(service: Service) -> None:
    one, two = service.client("client1"), service.client("client2")
    one.create_new_channel("ABC")
    two.subscribe_read_channel("ABC", None, fill_rate=4)
    one.put_data("ABC", 1, wait_for_active=True)
    put_all(one, "ABC", range(2, 13))
    assert get_all(two, "ABC", 3) == [4, 8, 12]
    [row] = one.get_channel_info("ABC")["of_readers"]
    assert (row["offered"], row["decimated"]) == (12, 9)


def test_002_6_the_buffer_of_received_data_may_be_used_directly(service: Service) -> None:
    one, two = service.client("client1"), service.client("client2")
    one.create_new_channel("ABC")
    two.subscribe_read_channel("ABC", None, local_buffer_size=2, local_wait_if_full=False)
    one.put_data("ABC", 0, wait_for_active=True)
    put_all(one, "ABC", range(1, 10))
    reader = two.get_read_channel_buffer("ABC")
    until(lambda: reader.buffer.statistics().offered == 10)
    assert [item.value for item in reader.buffer.peek()] == [8, 9]
    assert [item.value for item in reader.take()] == [8, 9]


@pytest.mark.parametrize("pack", [None, True])
def test_002_7_any_object_and_arrays_with_what_they_are(service: Service, pack: bool | None) -> None:
    one, two = service.client("client1"), service.client("client2")
    one.create_new_channel("ABC", pack=pack)
    two.subscribe_read_channel("ABC", None)
    values = [{"a": (1, 2.5, None)}, b"bytes", np.arange(6, dtype=np.int16).reshape(2, 3), np.zeros((1000, 1000))]
    one.put_data("ABC", values[0], wait_for_active=True)
    put_all(one, "ABC", values[1:])
    for value in values:
        got = two.get_data("ABC", LONG)
        np.testing.assert_equal(got, value)
        assert getattr(got, "dtype", None) == getattr(value, "dtype", None)


def test_002_8_writers_are_triggered_only_while_somebody_reads(service: Service) -> None:
    one, two = service.client("client1"), service.client("client2")
    one.create_new_channel("ABC")
    assert one.put_data("ABC", "nobody") is False
    with pytest.raises(TimeoutError):
        one.put_data("ABC", "nobody", wait_for_active=True, timeout=0.05)
    two.subscribe_read_channel("ABC")
    assert one.put_data("ABC", "somebody", wait_for_active=True, timeout=LONG) is True
    assert two.get_data("ABC", LONG) == "somebody"


def test_002_9_the_eight_steps(service: Service) -> None:
    Client1, Client2, Client3 = (service.client(f"Client{n}") for n in (1, 2, 3))  # noqa: N806  as the seed has it
    Client1.create_new_channel("ABC")  # 1
    Client2.subscribe_read_channel("ABC")  # 2
    Client3.subscribe_read_channel("ABC")
    Client1.put_data("ABC", "MY data")  # 3 to 5
    assert Client2.get_data("ABC", LONG) == "MY data"  # 6 to 8
    assert Client3.get_data("ABC", LONG) == "MY data"


def test_002_9_under_load_sending_is_postponed_and_buffers_go_on_filling(service: Service) -> None:
    one, two = service.client("client1"), service.client("client2")
    for name in ("flood", "drip"):
        one.create_new_channel(name)
        two.subscribe_read_channel(name, 50)
    one.put_data("flood", 0, wait_for_active=True)
    put_all(one, "flood", [bytes(1000)] * 2000)
    one.put_data("drip", "drop", wait_for_active=True)
    assert two.get_data("drip", LONG) == "drop"
    one.unsubscribe_write_channel("flood")
    [row] = one.get_channel_info("flood")["of_readers"]
    assert (row["offered"], row["dropped"], row["queued"]) == (2001, 1951, 50)


def test_002_10_the_measurement_story(service: Service) -> None:
    device, store, analysis, display = (service.client(n) for n in ("device", "store", "analysis", "display"))
    device.create_new_channel("AnalogInput1")
    store.subscribe_read_channel("AnalogInput1", None)
    analysis.subscribe_read_channel("AnalogInput1", 200)
    display.subscribe_read_channel("AnalogInput1", 1, fill_frequency=1.0)
    samples = [(number, number * 0.5) for number in range(3000)]
    until(lambda: device.get_channel_info("AnalogInput1")["readers"] == 3)
    device.put_data("AnalogInput1", samples[0], wait_for_active=True)
    put_all(device, "AnalogInput1", samples[1:])
    assert get_all(store, "AnalogInput1", 3000) == samples
    device.unsubscribe_write_channel("AnalogInput1")
    assert get_all(analysis, "AnalogInput1", 200) == samples[-200:]
    assert display.get_data("AnalogInput1", LONG) in samples
    rows = {row["reader"]: row for row in device.get_channel_info("AnalogInput1")["of_readers"]}
    assert (rows["store"]["offered"], rows["store"]["dropped"]) == (3000, 0)
    assert rows["display"]["decimated"] > 2900 - 60


def test_002_11_the_code_of_the_seed(service: Service) -> None:
    myrpc_client = service.client("rpc_client", MyClient)
    myclient = service.client("myclient")
    myrpc = myclient.create_rpc_client_service("rpc_client")
    assert myrpc.my_echo("HALLO") == ("MY ECHO", "HALLO")
    assert myrpc.my_echo("HALLO", tto=10) == ("MY ECHO", "HALLO")
    assert myrpc_client.is_alive()


def test_002_11_sub_classes_and_access(service: Service) -> None:
    service.client("calculator", Calculator, rpc_access={"calc.add": ["friend"]})
    friend = service.client("friend").create_rpc_client_service("calculator")
    assert friend.calc.add(1, 2) == 3
    with pytest.raises(AttributeError):
        friend.calc.substract(1, 2)


def test_002_12_arguments_time_outs_and_their_name(service: Service) -> None:
    service.client("rpc_client", MyClient)
    client = service.client("myclient", tto_default=5.0, tto_para_name="within")
    proxy = client.create_rpc_client_service("rpc_client")
    with pytest.raises(TypeError):
        proxy.my_echo("too", "many")
    assert proxy.my_echo("x", within=10) == ("MY ECHO", "x")

    async def play() -> Any:
        other = await client.async_create_rpc_client_service("rpc_client")
        return await other.my_echo.submit("y")

    assert asyncio.run(play()) == ("MY ECHO", "y")


def test_a_client_without_a_server_says_so() -> None:
    client = StreamClient_Thread("client1", "ipc:///nowhere/x")
    threading.Thread.start(client)
    client.cell.start()
    with pytest.raises(UserError, match="does not bind client client1"):
        client.wait_until_alive(0.05)
    assert not client.is_alive()
