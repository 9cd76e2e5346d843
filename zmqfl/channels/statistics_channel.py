"""The counts of a broker's channels, as a channel: one item every so often, while somebody reads it.

An item is a list of what `Cell.channel_info` gives, of each public channel there is at that moment.
"""

from __future__ import annotations

import threading

from zmqfl.cell.cell import Cell
from zmqfl.cell.channel_verbs import Channel
from zmqfl.cell.channel_writer import ChannelWriter
from zmqfl.cell.registry import check_seconds
from zmqfl.errors import ArgumentError, ZmqflError

NAME = "ServerChannelStatistics"
INTERVAL = 1.0


class StatisticsChannel:
    """See the module. `cell`: the broker. It may be started and stopped again and again; stopped it costs nothing."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is started."""
        return self._thread is not None

    def start(self, interval: float = INTERVAL, name: str = NAME) -> str:
        """Make the channel; returns its name. Again does nothing. Raises `ArgumentError`, `ChannelError`."""
        if not check_seconds(interval, "interval"):
            raise ArgumentError("interval must be a number of seconds above 0")
        with self._lock:
            if self._thread is None:
                channel = self._cell.create_channel(name, self._cell.fqcn).result()
                writer = channel.writer().result()
                self._stopped.clear()
                self._thread = threading.Thread(
                    target=self._run, args=(channel, writer, interval), name=f"zmqfl-statistics:{self._cell.fqcn}"
                )
                self._thread.start()
        return name

    def stop(self) -> None:
        """End the channel. Again does nothing."""
        with self._lock:
            self._stopped.set()
            if self._thread is not None:
                self._thread.join()
                self._thread = None

    def _run(self, channel: Channel, writer: ChannelWriter, interval: float) -> None:
        try:
            while not self._stopped.wait(interval):
                if writer.active:
                    writer.put(self._collect()).result()
            channel.delete("stopped").result()
        except ZmqflError:
            return  # the cell is closed, and the channel has ended with it

    def _collect(self) -> list[dict[str, object]]:
        me, found = self._cell.fqcn, []
        for row in self._cell.channels(me).result():
            if row["public"]:
                found.append(self._cell.channel_info(row["id"], me).result())
        return found
