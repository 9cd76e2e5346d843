"""The verbs of a cell that move files: push and consume, offer and pull. Each returns a handle at once.

Those for values are in `object_verbs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zmqfl.blobs.buffer_sink import BufferSink
from zmqfl.blobs.paths import safe_name
from zmqfl.blobs.sink import FileSink, OnExists, Sink
from zmqfl.blobs.source import BufferSource, FileSource
from zmqfl.cell.callbacks import Callback, callback
from zmqfl.cell.file_streams import NAME_KEY, SIZE_KEY, FileConsumer, FileProducer
from zmqfl.cell.identity import no_card
from zmqfl.cell.object_verbs import ObjectVerbs
from zmqfl.cell.offering import Transaction
from zmqfl.cell.packing import packer_for
from zmqfl.cell.pulling import PullHandle, SinkFactory
from zmqfl.cell.pushing import PushHandle
from zmqfl.cell.registry import check_name, check_seconds
from zmqfl.cell.streams import ConsumerFactory, Incoming, Producer
from zmqfl.cell.transfer_terms import CHUNK as CHUNK
from zmqfl.cell.transfer_terms import CHUNK_TIMEOUT as CHUNK_TIMEOUT
from zmqfl.cell.transfer_terms import OFFER_TIMEOUT as OFFER_TIMEOUT
from zmqfl.cell.transfer_terms import Offer as Offer
from zmqfl.cell.transfer_terms import check_chunk, targets_of
from zmqfl.cell.transfer_terms import reply_of as reply_of
from zmqfl.config import CellConfig
from zmqfl.errors import ArgumentError, CellReturnCode, SinkError, TransferError
from zmqfl.fqcn import parse
from zmqfl.protocol.commands import Outcome
from zmqfl.wire.chunk_codec import Codec, check_codec

if TYPE_CHECKING:
    from zmqfl.cell.handles import RequestHandle
    from zmqfl.cell.sealed_calls import SealedCalls
    from zmqfl.cell.transfer_edges import TransferEdges

FILES: Final = "files"
"""The channel of `push_file` and `consume`, unless another one is named."""


@dataclass(frozen=True, slots=True)
class Received:
    """A pushed file at its target, whole or not."""

    origin: str
    name: str
    """What the owner calls it; not a path."""
    path: Path | None
    """Where it is; None unless `code` is OK."""
    size: int
    context: Mapping[str, Any]
    code: CellReturnCode
    reason: str = ""
    culprit: str = ""
    """The cell where it failed, as far as the owner knows."""


class TransferVerbs(ObjectVerbs):
    """Mixed into `Cell`."""

    if TYPE_CHECKING:
        fqcn: str
        config: CellConfig
        _transfers: TransferEdges
        _seals: SealedCalls | None

        def _check(self) -> None: ...
        def _is_on_reactor(self) -> bool: ...
        def request(
            self, target: str, channel: str, topic: str, payload: Any = None, timeout: float | None = None,
            *, deadline: float | None = None, secure: bool = False, copy: bool = False,
        ) -> RequestHandle:  # fmt: skip
            """See `Cell`."""

    # -- push ----------------------------------------------------------------------------------------------------------

    def push_file(
        self,
        path: str | Path,
        to: str | Iterable[str],
        topic: str = FILES,
        *,
        channel: str = FILES,
        context: Mapping[str, Any] | None = None,
        chunk_size: int = CHUNK,
        window: int = 1,
        timeout: float = CHUNK_TIMEOUT,
        codec: Codec = "auto",
        secure: bool = False,
    ) -> PushHandle:
        """Push a file to all of `to` at once: all of them get it, or none. They must `consume` the topic.

        `context`: what their callbacks get to know. `window`: rounds under way at once; 1 is strict lockstep.
        `timeout`: seconds without progress. `codec`: "none", "lz4", "zstd", or "auto", which packs chunks where the
        link is slower than that. `secure`: seal it for the targets, end to end. The handle gives a `PushReport`, or
        raises `TransferError`.
        Raises `SourceError` for what is no readable file, `EncodeError`, `ArgumentError`, `ClosedError`.
        """
        check_chunk(chunk_size)
        self._check()
        check_codec(codec)
        source = FileSource(path)
        facts = {**(context or {}), NAME_KEY: source.name, SIZE_KEY: source.size}
        producer = FileProducer(source, chunk_size, timeout, packer_for(codec, window, source.size))
        return self.push(
            channel, topic, producer, to, facts, window=window, timeout=timeout, total=source.size, secure=secure
        )

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
        """Push what `producer` makes, chunk by chunk (see `zmqfl.cell.streams`). It is closed in any case.

        `total`: bytes, if known, for the progress. Raises as `push_file` does.
        """
        try:
            self._check()
            targets = targets_of(to)
            seconds = check_seconds(timeout, "timeout") or CHUNK_TIMEOUT
            handle = PushHandle(
                targets,
                total,
                on_cancel=lambda: self._transfers.pushing.cancel(handle, CellReturnCode.ABORT_RUN, "cancelled"),
                on_reactor=self._is_on_reactor,
            )
            names = check_name(channel, "channel"), check_name(topic, "topic")
            pushing = self._transfers.pushing
            (pushing.push_sealed if secure else pushing.push)(handle, *names, producer, context, window, seconds)
        except BaseException:
            producer.close()
            raise
        return handle

    def consume(
        self,
        topic: str = FILES,
        to: str | Path = ".",
        *,
        channel: str = FILES,
        on_exists: OnExists = "keep",
        done: Callable[[Received], Any] | None = None,
        chunk_taken: Callable[[int, int], Any] | None = None,
    ) -> None:
        """Receive what is pushed to a topic as files in the folder `to`, under the names of their owners, made safe.

        `on_exists`: "keep" a file of that name and add a number to the new one's, "replace" it, or "fail" the push.
        `done(received)`: called once for each push, however it ended; what it returns goes back to the owner.
        `chunk_taken(index, size)`: called after each chunk; what it raises fails the push for all. Both may be
        coroutine functions: they run on the loop that is running now. Raises `ArgumentError` where `to` is no folder.
        """
        folder = Path(to)
        if not folder.is_dir():
            raise ArgumentError(f"{folder} is not a folder; make it first")
        make = partial(_make_consumer, folder.absolute(), on_exists, callback(done), callback(chunk_taken))
        self.consume_streams(channel, topic, make)

    def consume_streams(self, channel: str, topic: str, factory: ConsumerFactory) -> None:
        """Receive what is pushed to (channel, topic) by what `factory` makes (see `zmqfl.cell.streams`); "*" stands for
        all. A second registration replaces the first."""
        self._transfers.consuming.factories.set(channel, topic, factory)

    # -- pull ----------------------------------------------------------------------------------------------------------

    def offer(
        self,
        what: str | Path | bytes | bytearray | memoryview,
        *,
        to: Iterable[str] | None = None,
        timeout: float = OFFER_TIMEOUT,
        name: str = "",
        chunk_size: int = CHUNK,
        codec: Codec = "auto",
        announce: str = "",
        on_served: Callable[..., Any] | None = None,
        on_expired: Callable[..., Any] | None = None,
    ) -> Offer:
        """Let others pull a file, or bytes, by a reference id that nobody can guess.

        `to`: the only cells that may; None: whoever knows the id. `announce`: the group that is told of it as long as
        it is offered (see `announcements`); of its members only those in `to`, where that is given. `timeout`: seconds
        without activity after which it ends. `codec`: as of `push_file`. `on_served(rid, receiver, "success" |
        "failed", name)`; `on_expired(transaction id, names)`, on time-out only.
        Raises `SourceError` for what is no readable file, `ClosedError`, `ArgumentError` for no name of a group.
        """
        self._check()
        receivers = None if to is None else targets_of(to)
        seconds = check_seconds(timeout, "timeout") or OFFER_TIMEOUT
        check_codec(codec)
        source = FileSource(what) if isinstance(what, str | Path) else _buffer_source(name, what, chunk_size)
        transaction = self.new_transaction(seconds, on_expired)
        rid = transaction.add(source, chunk_size, receivers, callback(on_served), codec=codec)
        return self._announced(
            Offer(rid, self.fqcn, source.name, source.size, transaction), "file", announce, receivers
        )

    def new_transaction(
        self, timeout: float, on_expired: Callable[..., Any] | None = None, **kwargs: Any
    ) -> Transaction:
        """Begin a group of files that are offered together. `on_expired(id, names, **kwargs)`, on time-out only."""
        self._check()
        seconds = check_seconds(timeout, "timeout") or OFFER_TIMEOUT
        return self._transfers.offering.new_transaction(seconds, callback(on_expired, kwargs))

    def pull(
        self,
        rid: str,
        owner: str,
        to: str | Path | None = None,
        *,
        name: str | None = None,
        on_exists: OnExists = "keep",
        timeout: float = CHUNK_TIMEOUT,
        resume: bool = False,
        secure: bool = False,
    ) -> PullHandle:
        """Fetch what `owner` offers as `rid` into the folder `to`; the handle gives the path. Without `to` it goes into
        memory, up to `payload_limit`, and the handle gives a bytearray.

        `name`: of the file; None: the owner's, made safe. `timeout`: seconds without progress. `resume`: should it
        fail, leave what is there; a later pull of the same `rid` and name goes on with it in any case. `secure`: sealed
        from its owner to here, which both need cards; it is there only when the owner has confirmed all of it.
        Raises `ArgumentError`, `ClosedError`; the handle `TransferError`, `SinkError`, `SourceChangedError`.
        """
        self._check()
        folder = None if to is None else Path(to).absolute()
        if folder is not None and not folder.is_dir():
            raise ArgumentError(f"{folder} is not a folder; make it first")
        make = partial(_make_sink, folder, name, on_exists, self.config.payload_limit)
        return self._pull(rid, owner, make, timeout, resume, secure)

    def _pull(
        self, rid: str, owner: str, make_sink: SinkFactory, timeout: float, resume: bool, secure: bool
    ) -> PullHandle:
        handle = PullHandle(
            rid,
            parse(owner, "owner"),
            on_cancel=lambda: cancel(CellReturnCode.ABORT_RUN, "cancelled"),
            on_reactor=self._is_on_reactor,
        )
        pulling = self._transfers.pulling
        cancel: Callable[[CellReturnCode, str], None] = partial(pulling.cancel, handle)
        seconds = check_seconds(timeout, "timeout") or CHUNK_TIMEOUT
        if not secure:
            pulling.pull(handle, make_sink, seconds, resume)
        elif self._seals is None:
            handle._fail(TransferError(no_card(self.fqcn), code=CellReturnCode.COMM_ERROR, culprit=self.fqcn))
        else:
            from zmqfl.cell.sealed_offers import CHANNEL
            from zmqfl.cell.sealed_pulls import SealedPull

            def ask(topic: str, payload: Any) -> RequestHandle:
                return self.request(handle.owner, CHANNEL, topic, payload, seconds, secure=True)

            sealed = SealedPull(ask, pulling, handle, make_sink, seconds, resume)
            cancel = sealed.cancel
            sealed.begin()
        return handle


def _buffer_source(name: str, buffer: bytes | bytearray | memoryview, chunk: int) -> BufferSource:
    source = BufferSource(name or "bytes", buffer)
    source.fix(chunk)
    return source


def _make_sink(
    folder: Path | None, name: str | None, on_exists: OnExists, limit: int, theirs: str, size: int
) -> Sink[Any]:
    if folder is None:
        if size > limit:
            remedy = "pull it into a folder, or raise `payload_limit`"
            raise SinkError(f"{size} bytes are more than the {limit} that go into memory", file=theirs, remedy=remedy)
        return BufferSink(size)
    return FileSink(folder, safe_name(theirs) if name is None else name, size, on_exists)


def _make_consumer(
    folder: Path,
    on_exists: OnExists,
    done: Callback | None,
    chunk_taken: Callback | None,
    incoming: Incoming,
) -> FileConsumer:
    name = str(incoming.context.get(NAME_KEY, ""))
    size = incoming.context.get(SIZE_KEY)

    def ended(path: Path | None, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
        if done is None:
            return Outcome(CellReturnCode.OK)
        context = {key: value for key, value in incoming.context.items() if key not in (NAME_KEY, SIZE_KEY)}
        known = size if isinstance(size, int) else 0
        return reply_of(done.run(Received(incoming.origin, name, path, known, context, code, reason, culprit)))

    taken = None if chunk_taken is None else chunk_taken.run
    return FileConsumer(incoming, folder, safe_name(name), on_exists, taken, ended)
