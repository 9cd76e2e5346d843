"""What other cells may call of a stream server, as methods of RPC.

What makes, uses or ends a channel is asked by the cell that does so (see `zmqfl.protocol.channels.questions`), as it is
that cell whose name counts; the same functions stand at `StreamClient_Thread`.
"""

from __future__ import annotations

from typing import Any

from zmqfl.cell.cell import Cell
from zmqfl.channels.statistics_channel import INTERVAL, NAME, StatisticsChannel
from zmqfl.errors import ChannelUnknownError
from zmqfl.rpc.rpc import Rpc


class ServerFunctions:
    """See the module."""

    def __init__(self, cell: Cell) -> None:
        self.statistics = StatisticsChannel(cell)
        self._cell = cell

    def rpc_echo(self, data: Any) -> Any:
        """What it was given."""
        return data

    def rpc_get_channels(self) -> list[tuple[str, int]]:
        """(name, number) of each public channel."""
        rows = self._cell.channels(self._cell.fqcn).result()
        return [(row["name"], row["id"]) for row in rows if row["public"]]

    def rpc_get_channel_info(self, channel: str | int) -> dict[str, Any]:
        """All about a public channel: options, readers, writers and their counts."""
        info: dict[str, Any] = self._cell.channel_info(channel, self._cell.fqcn).result()
        if not info["public"]:
            raise ChannelUnknownError("there is no such public channel", channel=str(channel), broker=self._cell.fqcn)
        return info

    def rpc_get_clients(self) -> list[str]:
        """The names of the cells that use this server."""
        rows = self._cell.channel_clients(self._cell.fqcn).result()
        return [row["name"] for row in rows if row["name"] != self._cell.fqcn]

    def rpc_get_client_info(self, name: str) -> dict[str, Any]:
        """How many channels, readers and writers a client has, and what it publishes for RPC: name -> signature."""
        rows = self._cell.channel_clients(self._cell.fqcn).result()
        info = next((row for row in rows if row["name"] == name), {"name": name})
        methods = Rpc.of(self._cell).describe(name).result()
        return {**info, "rpc_methods": {each.path: each.signature for each in methods}}

    def rpc_get_statistics(self) -> list[dict[str, Any]]:
        """The load: of each public channel what `get_channel_info` gives."""
        return [self.rpc_get_channel_info(number) for _, number in self.rpc_get_channels()]

    def rpc_start_statistic_channel(self, interval: float = INTERVAL, name: str = NAME) -> str:
        """Have the load come as a channel, an item every `interval` seconds while somebody reads; its name."""
        return self.statistics.start(interval, name)

    def rpc_stop_statistic_channel(self) -> None:
        """No longer."""
        self.statistics.stop()

    def rpc_get_state_of_statistic_channel(self) -> bool:
        """Whether it is started."""
        return self.statistics.is_running
