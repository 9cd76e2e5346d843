"""The stream client of seed 002: a cell as a thread, for any program; its own `rpc_` methods can be called by others.

    class MyClient(StreamClient_Thread):
        def rpc_my_echo(self, data):
            return "MY ECHO", data

    client = MyClient("rpc_client", "127.0.0.1")
    client.start()
    client.create_new_channel("ABC")
    client.put_data("ABC", "MY data")

Each function waits; its twin `async_...` is for coroutines. What can go wrong with channels is a `ChannelError`, with
RPC see `zmqfl.rpc`.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, TypeVar

from zmqfl.cell.cell import Cell
from zmqfl.cell.channel_reader import ChannelReader
from zmqfl.cell.channel_verbs import Channel
from zmqfl.cell.channel_writer import ChannelWriter
from zmqfl.cell.handles import Handle
from zmqfl.channels.stream_server import PORT
from zmqfl.config import CellConfig
from zmqfl.errors import ArgumentError, UserError
from zmqfl.protocol.channels.buffer import DEFAULT_SIZE, BufferTerms, Policy
from zmqfl.rpc.access import Access
from zmqfl.rpc.names import TIMEOUT, TIMEOUT_PARAMETER
from zmqfl.rpc.proxy import Proxy
from zmqfl.rpc.rpc import Rpc

RING_BUFFER_FULL = Policy.RING
CLEAR_BUFFER_FULL = Policy.CLEAR
SKIP_BUFFER_FULL = Policy.SKIP
WAIT_BUFFER_FULL = Policy.WAIT
RAISE_BUFFER_FULL = Policy.RAISE

BUFFER_SIZE = 100
ALIVE = 30.0
"""Seconds that `start` waits for the server."""
T = TypeVar("T")


class StreamClient_Thread(threading.Thread):  # noqa: N801  the name of seed 002
    """See the module.

    `name`: of the client, a name of a cell below the server. `ip_address`: of the server, or its whole URL; `port`: its
    port. `keys`, `trusted_network`: as of `Cell`. `tto_default`: seconds for an RPC call that names no time;
    `tto_para_name`: the name by which a call does. `rpc_access`: who may call what here, see `zmqfl.rpc.access`.
    """

    def __init__(
        self,
        name: str,
        ip_address: str = "127.0.0.1",
        port: int = PORT,
        *,
        keys: str | Path | None = None,
        trusted_network: bool = False,
        tto_default: float = TIMEOUT,
        tto_para_name: str = TIMEOUT_PARAMETER,
        rpc_access: Access = None,
        config: CellConfig | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        url = ip_address if "://" in ip_address else f"tcp://{ip_address}:{port}"
        self.cell = Cell(name, parent=url, keys=keys, trusted_network=trusted_network, config=config)
        """The cell; whatever it can do is at hand, too."""
        self._rpc = Rpc(self.cell, timeout=tto_default, timeout_parameter=tto_para_name)
        self._rpc.publish(self, access=rpc_access)
        self._ended = threading.Event()
        self._channels: dict[str, Channel] = {}
        self._writers: dict[str, ChannelWriter] = {}
        self._readers: dict[str, ChannelReader] = {}

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, and wait until the server has bound this client. Raises `UserError` where it does not."""
        super().start()
        self.cell.start()
        self.wait_until_alive()

    def wait_until_alive(self, timeout: float = ALIVE) -> None:
        """Wait until the server has bound this client. Raises `UserError` when it has not in time."""
        if not self.cell.wait_connected(timeout):
            why = self.cell.refusal or "it does not answer"
            self.stop_client()
            raise UserError(f"the server does not bind client {self.name}: {why}", remedy="is it started, and where?")

    def run(self) -> None:
        """The thread: it waits for the end."""
        self._ended.wait()

    def stop_client(self) -> None:
        """Leave: the channels of this client end. Again does nothing."""
        self.cell.close()
        self._ended.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join()

    # -- channels ------------------------------------------------------------------------------------------------------

    def create_new_channel(
        self,
        name: str,
        public: bool = True,
        lifetime: float | None = None,
        single_in: bool = True,
        *,
        key: str | bytes | None = None,
        pack: str | bool | None = None,
        last: int = 0,
    ) -> int:
        """Make a channel that this client owns and may write to; returns its number.

        `public`: seen by all; a private one needs a `key`, which its readers and writers must know. `lifetime`: seconds
        after which it ends by itself. `single_in`: only this client writes. `pack`: see `Cell.write_channel`. `last`:
        items that are kept for readers that come later.
        """
        if public != (key is None):
            raise ArgumentError(f"channel {name!r}: a private channel has a key, and a public one has none")
        channel = self.cell.create_channel(name, key=key, lifetime=lifetime, single=single_in, last=last).result()
        self._channels[name] = channel
        self._writers[name] = channel.writer(pack=pack).result()
        return channel.id

    def delete_channel(self, name: str) -> None:
        """End a channel of this client: its readers get what is queued, and then the end."""
        if (writer := self._writers.pop(name, None)) is not None:
            writer.close().result()
        self._channels.pop(name, None)
        self.cell.delete_channel(name).result()

    def subscribe_read_channel(
        self,
        name: str,
        server_buffer_size: int | None = BUFFER_SIZE,
        server_full_behavior: Policy | None = None,
        fill_rate: int = 1,
        local_buffer_size: int | None = None,
        local_wait_if_full: bool = True,
        *,
        fill_frequency: float | None = None,
        size: int = DEFAULT_SIZE,
        key: str | bytes | None = None,
        last: int = 0,
    ) -> ChannelReader:
        """Read a channel from now on, through a buffer that the server keeps for this client.

        `server_buffer_size`: items; None: any number, and its writers wait when `size` bytes are full, so that nothing
        is lost. `server_full_behavior`: RING_BUFFER_FULL (the usual one for a number of items), CLEAR_, SKIP_, WAIT_ or
        RAISE_BUFFER_FULL. `fill_rate`: one item in so many; `fill_frequency`: at most so many in a second.
        `local_buffer_size`: items here; when they are as many, the server keeps the others, or with
        `local_wait_if_full` False the oldest give way.
        """
        if name in self._readers:
            raise ArgumentError(f"client {self.name} reads {name!r} already; unsubscribe it first")
        policy = server_full_behavior or (Policy.WAIT if server_buffer_size is None else Policy.RING)
        local = None
        if local_buffer_size is not None and not local_wait_if_full:
            local = BufferTerms(Policy.RING, local_buffer_size)
        reader = self.cell.subscribe(
            name, policy=policy, items=server_buffer_size, size=size, every=fill_rate, hz=fill_frequency, key=key,
            local=local, last=last,
        ).result()  # fmt: skip
        self._readers[name] = reader
        return reader

    def subscribe_write_channel(
        self, name: str, *, key: str | bytes | None = None, pack: str | bool | None = None
    ) -> ChannelWriter:
        """Write to a channel of another client, which lets others write."""
        writer = self.cell.write_channel(name, key=key, pack=pack).result()
        self._writers[name] = writer
        return writer

    def unsubscribe_read_channel(self, name: str) -> None:
        """Read it no longer."""
        reader = self._reader(name)
        del self._readers[name]
        reader.close().result()

    def unsubscribe_write_channel(self, name: str) -> None:
        """Write to it no longer; what was put goes first."""
        writer = self._writer(name)
        del self._writers[name]
        writer.close().result()

    # -- data ----------------------------------------------------------------------------------------------------------

    def put_data(self, channel: str, item: Any, wait_for_active: bool = False, timeout: float | None = None) -> bool:
        """Put an item into a channel; False when nobody reads it, so that nothing was sent.

        `wait_for_active`: wait for a reader instead. Raises `TimeoutError` after `timeout` seconds, and then the item
        does not go; `BufferFullError`, `ChannelEndedError`.
        """
        return _within(self._writer(channel).put(item, wait_for_active=wait_for_active), timeout)

    async def async_put_data(self, channel: str, item: Any, wait_for_active: bool = False) -> bool:
        """As `put_data`."""
        return await self._writer(channel).put(item, wait_for_active=wait_for_active)

    def get_data(self, channel: str, timeout: float | None = None) -> Any:
        """The next item of a channel that is read. Raises `TimeoutError`, `ChannelEndedError`."""
        return _within(self._reader(channel).get(), timeout).value

    async def async_get_data(self, channel: str) -> Any:
        """As `get_data`."""
        return (await self._reader(channel).get()).value

    def get_read_channel_buffer(self, channel: str) -> ChannelReader:
        """The buffer of a channel that is read, to be used directly: iterate over it, take, look at it (`buffer`)."""
        return self._reader(channel)

    # -- what there is -------------------------------------------------------------------------------------------------

    def get_channels(self) -> list[tuple[str, int]]:
        """(name, number) of the channels that this client may see."""
        return [(row["name"], row["id"]) for row in self.cell.channels().result()]

    def get_channel_info(self, channel: str | int) -> dict[str, Any]:
        """All about a channel: options, readers, writers, counts."""
        return self.cell.channel_info(channel).result()

    def get_clients(self) -> list[str]:
        """The names of the server's clients."""
        rows = self.cell.channel_clients().result()
        return [row["name"] for row in rows if row["name"] != self.cell.root]

    # -- RPC -----------------------------------------------------------------------------------------------------------

    @property
    def srv_rpc(self) -> Proxy:
        """The functions of the server, see `ServerFunctions`."""
        return self.create_rpc_client_service(self.cell.root)

    def create_rpc_client_service(self, name: str) -> Proxy:
        """Ask another client for its RPC; the proxy has its methods. Raises `AuthenticationError`, `RequestFailed`."""
        return self._rpc.proxy(name).result()

    async def async_create_rpc_client_service(self, name: str) -> Proxy:
        """As `create_rpc_client_service`."""
        return await self._rpc.proxy(name)

    # -- the twins of functions that ask the server, which may ask it twice: in a thread -----------------------------

    async def async_create_new_channel(self, *args: Any, **kwargs: Any) -> int:
        """As `create_new_channel`."""
        return await asyncio.to_thread(self.create_new_channel, *args, **kwargs)

    async def async_delete_channel(self, *args: Any, **kwargs: Any) -> None:
        """As `delete_channel`."""
        await asyncio.to_thread(self.delete_channel, *args, **kwargs)

    async def async_subscribe_read_channel(self, *args: Any, **kwargs: Any) -> ChannelReader:
        """As `subscribe_read_channel`."""
        return await asyncio.to_thread(self.subscribe_read_channel, *args, **kwargs)

    async def async_subscribe_write_channel(self, *args: Any, **kwargs: Any) -> ChannelWriter:
        """As `subscribe_write_channel`."""
        return await asyncio.to_thread(self.subscribe_write_channel, *args, **kwargs)

    async def async_unsubscribe_read_channel(self, *args: Any, **kwargs: Any) -> None:
        """As `unsubscribe_read_channel`."""
        await asyncio.to_thread(self.unsubscribe_read_channel, *args, **kwargs)

    async def async_unsubscribe_write_channel(self, *args: Any, **kwargs: Any) -> None:
        """As `unsubscribe_write_channel`."""
        await asyncio.to_thread(self.unsubscribe_write_channel, *args, **kwargs)

    async def async_get_channels(self, *args: Any, **kwargs: Any) -> list[tuple[str, int]]:
        """As `get_channels`."""
        return await asyncio.to_thread(self.get_channels, *args, **kwargs)

    async def async_get_channel_info(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As `get_channel_info`."""
        return await asyncio.to_thread(self.get_channel_info, *args, **kwargs)

    async def async_get_clients(self, *args: Any, **kwargs: Any) -> list[str]:
        """As `get_clients`."""
        return await asyncio.to_thread(self.get_clients, *args, **kwargs)

    # -- within --------------------------------------------------------------------------------------------------------

    def _writer(self, name: str) -> ChannelWriter:
        if (writer := self._writers.get(name)) is None:
            raise ArgumentError(f"client {self.name} does not write to {name!r}; create or subscribe it first")
        return writer

    def _reader(self, name: str) -> ChannelReader:
        if (reader := self._readers.get(name)) is None:
            raise ArgumentError(f"client {self.name} does not read {name!r}; subscribe it first")
        return reader


def _within(handle: Handle[T], timeout: float | None) -> T:
    """The value; after the time-out the work is given up."""
    try:
        return handle.result(timeout)
    except TimeoutError:
        handle.cancel()
        raise
