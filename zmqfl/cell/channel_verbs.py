"""The verbs of a cell for live channels: make one at a broker, write to it, read it.

    with cell.create_channel("temperature").result() as channel, channel.writer().result() as writer:
        writer.put(21.5)

    for item in other_cell.subscribe("temperature").result():
        print(item.writer, item.number, item.value)

Any cell may be the broker; the root is, unless another is named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from zmqfl.cell.callbacks import callback
from zmqfl.cell.channel_edges import ChannelEdges, Face, Question
from zmqfl.cell.channel_items import check_pack
from zmqfl.cell.channel_reader import ChannelReader
from zmqfl.cell.channel_writer import ChannelWriter
from zmqfl.cell.handles import Handle
from zmqfl.cell.registry import check_seconds
from zmqfl.errors import ArgumentError, UserError, ZmqflError
from zmqfl.fqcn import parse
from zmqfl.protocol.channels.buffer import DEFAULT_ITEMS, DEFAULT_SIZE, BufferTerms, Policy
from zmqfl.protocol.channels.client import Client
from zmqfl.protocol.channels.inlet import Inlet
from zmqfl.protocol.channels.questions import key_of, options_of
from zmqfl.protocol.commands import Command, Outcome
from zmqfl.wire import payload

if TYPE_CHECKING:
    from zmqfl.config import CellConfig

TIMEOUT = 30.0
"""Seconds that a broker gets to answer."""
AHEAD = 4 * 1024 * 1024
"""Bytes that may come to a reader that wants everything before it asks for them."""


class Channel:
    """A channel of this cell, as its owner has it. In a `with` block it is deleted at the end."""

    def __init__(self, cell: ChannelVerbs, name: str, broker: str, id: int, key: str | bytes | None) -> None:
        self.name = name
        self.broker = broker
        self.id = id
        self._cell = cell
        self._key = key

    def writer(self, **options: Any) -> Handle[ChannelWriter]:
        """Write to it; options are those of `write_channel`."""
        return self._cell.write_channel(self.name, self.broker, **options)

    def subscribe(self, **options: Any) -> Handle[ChannelReader]:
        """Read it; options are those of `subscribe`."""
        return self._cell.subscribe(self.name, self.broker, **options)

    def info(self) -> Handle[dict[str, Any]]:
        """See `channel_info`."""
        return self._cell.channel_info(self.name, self.broker)

    def delete(self, reason: str = "deleted") -> Handle[None]:
        """End it; see `delete_channel`."""
        return self._cell.delete_channel(self.name, self.broker, reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ZmqflError):
            self.delete().result()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(ZmqflError):
            await self.delete()

    def __repr__(self) -> str:
        return f"<Channel {self.name!r} at {self.broker}>"


class ChannelVerbs:
    """Mixed into `Cell`."""

    if TYPE_CHECKING:
        fqcn: str
        config: CellConfig
        _channels: ChannelEdges

        @property
        def root(self) -> str:
            """See `Cell`."""

        def _check(self) -> None: ...
        def _is_on_reactor(self) -> bool: ...

    def create_channel(
        self,
        name: str,
        broker: str | None = None,
        *,
        key: str | bytes | None = None,
        lifetime: float | None = None,
        single: bool = True,
        last: int = 0,
        last_size: int = DEFAULT_SIZE,
        timeout: float = TIMEOUT,
    ) -> Handle[Channel]:
        """Make a channel at a broker; this cell owns it, and it ends with this cell.

        `key`: it is private: not listed, and only who knows name and key reads or writes. `lifetime`: seconds after
        which it ends by itself. `single`: only this cell writes. `last`: items kept for readers that come later, of at
        most `last_size` bytes. `timeout`: seconds that the broker gets.
        The handle raises `ChannelExistsError`, `ChannelError` where the broker has no room, `RequestFailed`.
        Raises `ArgumentError`, `ClosedError`.
        """
        broker, seconds = self._broker(broker), _seconds(timeout)
        headers = {
            "name": name, "public": key is None, "lifetime": lifetime, "single": single, "last": last,
            "last_size": last_size,
        }  # fmt: skip
        options_of(headers)
        secret = None if key is None else key_of(key)

        def act(client: Client, question: Question, now: float) -> list[Command]:
            return client.create(broker, headers, question, seconds, secret)

        def value(outcome: Outcome) -> Channel:
            return Channel(self, name, broker, outcome.headers["id"], key)

        return self._ask_channel(name, broker, value, act)

    def write_channel(
        self,
        name: str | int,
        broker: str | None = None,
        *,
        key: str | bytes | None = None,
        pack: str | bool | None = None,
        on_active: Callable[[bool], Any] | None = None,
        timeout: float = TIMEOUT,
    ) -> Handle[ChannelWriter]:
        """Write to a channel, named by its name or number.

        `key`: of a private one. `pack`: compress items, "lz4" or "zstd", where that makes them smaller.
        `on_active(bool)`: called when somebody begins to read, and when nobody does any more.
        The handle raises `ChannelUnknownError`, `ChannelDeniedError` where only its owner writes, `RequestFailed`.
        """
        broker, seconds = self._broker(broker), _seconds(timeout)
        place = self._channels.next_place()
        most = self.config.payload_limit
        writer = ChannelWriter(
            self._channels, place, str(name), broker, check_pack(pack), most, callback(on_active)
        )  # fmt: skip
        secret = None if key is None else key_of(key)

        def value(outcome: Outcome) -> ChannelWriter:
            writer.channel = str(outcome.headers.get("name", name))
            return writer

        def act(client: Client, question: Question, now: float) -> list[Command]:
            return client.write(broker, place, {"c": name}, question, seconds, secret)

        return self._ask_channel(name, broker, value, act, (place, writer))

    def subscribe(
        self,
        name: str | int,
        broker: str | None = None,
        *,
        policy: Policy | str = Policy.RING,
        items: int | None = DEFAULT_ITEMS,
        size: int = DEFAULT_SIZE,
        every: int = 1,
        first: bool = False,
        hz: float | None = None,
        last: int = 0,
        key: str | bytes | None = None,
        ahead: int | None = None,
        local: BufferTerms | None = None,
        on_drop: Callable[[int, int], Any] | None = None,
        on_gap: Callable[[Any], Any] | None = None,
        timeout: float = TIMEOUT,
    ) -> Handle[ChannelReader]:
        """Read a channel, named by its name or number, from now on.

        Its buffer is at the broker: `policy` ring, clear, skip, wait or raise when it is full, above `items` (None:
        any) or `size` bytes; `every`-th item only, or the `first` of so many; at most `hz` items per second. `last`:
        begin with so many of those that the channel keeps. `key`: of a private channel.
        `ahead`: bytes that may come here before they are asked for; 0: a batch each time that there is nothing here, so
        the buffer at the broker is the only one, and what comes is new. None: 0 where `items` bounds the buffer, else
        4 MiB. `local`: what becomes of items here; None: they wait, and no more come than `ahead`.
        `on_drop(new, total)`: called when items were dropped, there or here. `on_gap(Gap)`: when some did not come.
        The handle raises `ChannelUnknownError`, `ChannelError` where the broker has no room, `RequestFailed`.
        Raises `ArgumentError`, `ClosedError`.
        """
        broker, seconds = self._broker(broker), _seconds(timeout)
        terms = BufferTerms(_policy(policy), items, size, every, first, hz)
        window = _ahead(ahead, terms, local)
        place = self._channels.next_place()
        here = local or BufferTerms(Policy.WAIT, None, 1 << 62)
        reader = ChannelReader(
            self._channels, place, str(name), broker, window, here, callback(on_drop), callback(on_gap)
        )  # fmt: skip
        secret = None if key is None else key_of(key)
        row = [str(terms.policy), terms.items, terms.size, terms.every, terms.first, terms.hz]

        def value(outcome: Outcome) -> ChannelReader:
            reader.channel = str(outcome.headers.get("name", name))
            return reader

        def act(client: Client, question: Question, now: float) -> list[Command]:
            headers = {"c": name, "b": row, "last": last}
            return client.read(broker, Inlet(place, window), headers, question, seconds, secret)

        return self._ask_channel(name, broker, value, act, (place, reader))

    def delete_channel(
        self, name: str | int, broker: str | None = None, reason: str = "deleted", *, timeout: float = TIMEOUT
    ) -> Handle[None]:
        """End a channel of this cell, or of the broker that this cell is: readers get what is queued, then `reason`.

        The handle raises `ChannelUnknownError`, `ChannelDeniedError`, `RequestFailed`.
        """
        headers = {"c": name, "why": reason}
        return self._ask_plain("delete", headers, name, broker, timeout, lambda outcome: None)

    def channels(self, broker: str | None = None, *, timeout: float = TIMEOUT) -> Handle[list[dict[str, Any]]]:
        """The channels of a broker that this cell may see: name, id, owner, options, readers, writers, items."""
        return self._ask_plain("list", {}, "", broker, timeout, _value)

    def channel_info(
        self, name: str | int, broker: str | None = None, *, timeout: float = TIMEOUT
    ) -> Handle[dict[str, Any]]:
        """All about a channel: as of `channels`, and the terms and counts of each reader, the counts of each writer."""
        return self._ask_plain("info", {"c": name}, name, broker, timeout, _value)

    def channel_clients(self, broker: str | None = None, *, timeout: float = TIMEOUT) -> Handle[list[dict[str, Any]]]:
        """The cells that use a broker: name, and how many channels, readers and writers each has."""
        return self._ask_plain("clients", {}, "", broker, timeout, _value)

    # -- within --------------------------------------------------------------------------------------------------------

    def _broker(self, broker: str | None) -> str:
        self._check()
        name = broker or self.root
        if not name:
            remedy = "name the broker, or wait until the cell is connected"
            raise UserError(f"cell {self.fqcn} does not know the root yet", field="broker", remedy=remedy)
        return parse(name, "broker")

    def _ask_plain(
        self,
        topic: str,
        headers: dict[str, Any],
        name: str | int,
        broker: str | None,
        timeout: float,
        value: Callable[[Outcome], Any],
    ) -> Handle[Any]:
        where, seconds = self._broker(broker), _seconds(timeout)

        def act(client: Client, question: Question, now: float) -> list[Command]:
            return client.ask(where, topic, headers, question, seconds)

        return self._ask_channel(name, where, value, act)

    def _ask_channel(
        self,
        name: str | int,
        broker: str,
        value: Callable[[Outcome], Any],
        act: Callable[[Client, Question, float], list[Command]],
        face: tuple[int, Face] | None = None,
    ) -> Handle[Any]:
        handle: Handle[Any] = Handle(on_cancel=_nothing, on_reactor=self._is_on_reactor)
        self._channels.ask(Question(handle, str(name), broker, value), act, face)
        return handle


def _policy(policy: Policy | str) -> Policy:
    try:
        return Policy(policy)
    except ValueError:
        raise ArgumentError(f"policy must be one of {', '.join(Policy)}, not {policy!r}") from None


def _ahead(ahead: int | None, terms: BufferTerms, local: BufferTerms | None) -> int:
    if ahead is None:
        if local is not None:
            return local.size if local.policy is Policy.WAIT else AHEAD
        return AHEAD if terms.items is None else 0
    if type(ahead) is not int or ahead < 0:
        raise ArgumentError(f"ahead must be a whole number of bytes, 0 or more, not {ahead!r}")
    return ahead


def _seconds(timeout: float) -> float:
    return check_seconds(timeout, "timeout") or TIMEOUT


def _nothing() -> None:
    """A question that was asked cannot be taken back."""


def _value(outcome: Outcome) -> Any:
    return payload.decode(outcome.bodies)
