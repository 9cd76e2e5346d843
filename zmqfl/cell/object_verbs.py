"""The verbs of a cell that move values from memory to memory: containers, arrays, whatever a payload may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy as shallow_copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from zmqfl.cell.callbacks import Callback, callback
from zmqfl.cell.container_streams import ContainerConsumer, ContainerProducer
from zmqfl.cell.containers import MAXLEN_KEY, NAMES, SIZE_KEY, TYPE_KEY
from zmqfl.cell.offered_objects import ObjectSink, ObjectSource, object_pieces
from zmqfl.cell.packing import packer_for
from zmqfl.cell.pulling import PullHandle, SinkFactory
from zmqfl.cell.registry import check_seconds
from zmqfl.cell.streams import ConsumerFactory, Incoming
from zmqfl.cell.transfer_terms import (
    CHUNK,
    CHUNK_TIMEOUT,
    OFFER_TIMEOUT,
    Offer,
    check_chunk,
    reply_of,
    targets_of,
)
from zmqfl.config import CellConfig
from zmqfl.errors import CellReturnCode, SinkError
from zmqfl.protocol.commands import Outcome
from zmqfl.wire.chunk_codec import Codec, check_codec

if TYPE_CHECKING:
    from zmqfl.cell.offering import Transaction
    from zmqfl.cell.pushing import PushHandle
    from zmqfl.cell.streams import Producer

OBJECTS: Final = "objects"
"""The channel and topic of `push_object` and `consume_objects`, unless others are named."""


@dataclass(frozen=True, slots=True)
class ReceivedObject:
    """A pushed value at its target, whole or not."""

    origin: str
    value: Any
    """Its arrays are writable and nobody else's; None unless `code` is OK."""
    context: Mapping[str, Any]
    code: CellReturnCode
    reason: str = ""
    culprit: str = ""
    """The cell where it failed, as far as the owner knows."""


class ObjectVerbs:
    """Mixed into `Cell`, by way of `TransferVerbs`."""

    if TYPE_CHECKING:
        fqcn: str
        config: CellConfig

        def _check(self) -> None: ...
        def announce(self, offer: Offer, group: str, *, kind: str = "file", to: Iterable[str] | None = None) -> None:
            """See `PlaneVerbs`."""

        def _pull(
            self, rid: str, owner: str, make_sink: SinkFactory, timeout: float, resume: bool, secure: bool
        ) -> PullHandle:
            """See `TransferVerbs`."""

        def consume_streams(self, channel: str, topic: str, factory: ConsumerFactory) -> None:
            """See `TransferVerbs`."""

        def new_transaction(
            self, timeout: float, on_expired: Callable[..., Any] | None = None, **kwargs: Any
        ) -> Transaction:
            """See `TransferVerbs`."""

        def push(
            self,
            channel: str,
            topic: str,
            producer: Producer,
            to: str | Iterable[str],
            context: Mapping[str, Any],
            *,
            window: int = 1,
            timeout: float = CHUNK_TIMEOUT,
            total: int = 0,
            secure: bool = False,
        ) -> PushHandle:
            """See `TransferVerbs`."""

    def push_object(
        self,
        value: Any,
        to: str | Iterable[str],
        topic: str = OBJECTS,
        *,
        channel: str = OBJECTS,
        context: Mapping[str, Any] | None = None,
        chunk_size: int = CHUNK,
        window: int = 1,
        timeout: float = CHUNK_TIMEOUT,
        codec: Codec = "auto",
        copy: bool = False,
        secure: bool = False,
    ) -> PushHandle:
        """Push a value to all of `to` at once: all of them get it, or none. They must `consume_objects` of the topic.

        A dict, list, set, tuple, frozenset, OrderedDict, deque or defaultdict goes entry by entry, any other payload
        value as a whole; neither is copied. What it is when this returns is what arrives: its arrays are read once for
        their digests now, and when one of them has changed until its turn comes, the push fails with a
        `SourceChangedError` as the cause. `copy`: take a snapshot instead.
        `context`: what their callbacks get to know. `window`: rounds under way at once; 1 is strict lockstep.
        `timeout`: seconds without progress. `codec`, `secure`: as of `push_file`. The handle gives a `PushReport`, or
        raises `TransferError`.
        Raises `EncodeError` naming the entry that cannot travel, `ArgumentError`, `ClosedError`.
        """
        check_chunk(chunk_size)
        self._check()
        fixed = shallow_copy(value) if type(value) in NAMES else value
        check_codec(codec)
        producer = ContainerProducer(fixed, chunk_size, timeout)
        total = producer.fix(copy)
        producer.packer = packer_for(codec, window, total)
        facts = {**(context or {}), **producer.facts}
        return self.push(
            channel, topic, producer, to, facts, window=window, timeout=timeout, total=total, secure=secure
        )

    def consume_objects(
        self,
        topic: str = OBJECTS,
        done: Callable[[ReceivedObject], Any] | None = None,
        *,
        channel: str = OBJECTS,
        chunk_taken: Callable[[int, int], Any] | None = None,
    ) -> None:
        """Receive the values that are pushed to a topic, in memory; those above `object_limit` are refused.

        `done(received)`: called once for each push, however it ended; what it returns goes back to the owner.
        `chunk_taken(index, size)`: called after each chunk; what it raises fails the push for all. Both may be
        coroutine functions: they run on the loop that is running now.
        """
        make = partial(_make_consumer, self.config.object_limit, callback(done), callback(chunk_taken))
        self.consume_streams(channel, topic, make)

    def offer_object(
        self,
        value: Any,
        *,
        to: Iterable[str] | None = None,
        timeout: float = OFFER_TIMEOUT,
        name: str = "object",
        chunk_size: int = CHUNK,
        codec: Codec = "auto",
        copy: bool = False,
        announce: str = "",
        on_served: Callable[..., Any] | None = None,
        on_expired: Callable[..., Any] | None = None,
    ) -> Offer:
        """Let others `pull_object` a value, anything that `push_object` takes, by a reference id that nobody can guess.

        It is served from the caller's memory: when it has changed since, those who pull it get a `SourceChangedError`.
        `copy`: take a snapshot instead. All else is as of `offer`. Raises `EncodeError` naming the entry that cannot
        travel, `ArgumentError`, `ClosedError`.
        """
        self._check()
        receivers = None if to is None else targets_of(to)
        seconds = check_seconds(timeout, "timeout") or OFFER_TIMEOUT
        check_codec(codec)
        source = ObjectSource(name, object_pieces(value), check_chunk(chunk_size), copy)
        transaction = self.new_transaction(seconds, on_expired)
        rid = transaction.add(source, chunk_size, receivers, callback(on_served), codec=codec, item=source.item)
        offer = Offer(rid, self.fqcn, source.name, source.size, transaction)
        return self._announced(offer, "object", announce, receivers)

    def _announced(self, offer: Offer, kind: str, group: str, receivers: tuple[str, ...] | None) -> Offer:
        """The offer, told to a group if there is one."""
        if group:
            try:
                self.announce(offer, group, kind=kind, to=receivers)
            except BaseException:
                offer.withdraw()
                raise
        return offer

    def pull_object(self, rid: str, owner: str, *, timeout: float = CHUNK_TIMEOUT, secure: bool = False) -> PullHandle:
        """Fetch the value that `owner` offers as `rid`; the handle gives it.

        Its arrays are writable, and views of one buffer that holds the whole object. Above `object_limit` it is
        refused. `timeout`: seconds without progress. `secure`: as of `pull`. Raises `ArgumentError`, `ClosedError`; the
        handle `TransferError`, `SinkError`, `SourceChangedError`.
        """
        self._check()
        return self._pull(rid, owner, partial(_make_sink, self.config.object_limit), timeout, False, secure)


def _make_sink(limit: int, theirs: str, size: int) -> ObjectSink:
    if size > limit:
        problem = f"{size} bytes are more than the {limit} of `object_limit` here"
        raise SinkError(problem, file=theirs, remedy="raise that setting, or pull it in parts")
    return ObjectSink(size)


def _make_consumer(
    limit: int, done: Callback | None, chunk_taken: Callback | None, incoming: Incoming
) -> ContainerConsumer:
    def ended(value: Any, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        if done is None:
            return Outcome(CellReturnCode.OK)
        own = (TYPE_KEY, SIZE_KEY, MAXLEN_KEY)
        context = {key: value for key, value in incoming.context.items() if key not in own}
        return reply_of(done.run(ReceivedObject(incoming.origin, value, context, code, reason, culprit)))

    taken = None if chunk_taken is None else chunk_taken.run
    return ContainerConsumer(incoming, limit, values=True, chunk_taken=taken, ended=ended)
