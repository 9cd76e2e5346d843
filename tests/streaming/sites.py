"""Sites for tests of streams: cells with engines, and what their callbacks hear.

`Sites` starts them. `Ends` is a `stream_done_cb` that remembers. `Numbers` and `Collector` are the smallest producer
and consumer. `Recorder` is a cell's consumer or producer that only writes down.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.system.federation import LONG, Federation
from zmqfl import Cell
from zmqfl.context.fl_context import FLContext
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.shareable import Shareable, make_reply
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.contracts import ConsumerFactory, ObjectConsumer, ObjectProducer, StreamContext
from zmqfl.streaming.file_streamer import FileStreamer

CHUNK = 1000
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 10 * CHUNK)


class Sites:
    """See the module."""

    def __init__(self) -> None:
        self.federation = Federation()
        self.engines: list[CellEngine] = []

    def engine(self, cell: Cell, **options: Any) -> CellEngine:
        self.engines.append(CellEngine(cell, **options))
        return self.engines[-1]

    def star(self, count: int) -> list[CellEngine]:
        """The server, and below it site-1, site-2, ..."""
        server = self.federation.start("server")
        names = [f"site-{number}" for number in range(1, count + 1)]
        return [self.engine(server), *(self.engine(self.federation.start(name, server, None)) for name in names)]

    def tree(self) -> dict[str, CellEngine]:
        """server <- (relay <- relay.site-1), site-2."""
        return {cell.fqcn: self.engine(cell) for cell in self.federation.tree()}

    def close(self) -> None:
        for engine in self.engines:
            engine.shutdown_streamer()
        self.federation.close()


class Ends:
    """How streams ended, in the order of their ends."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.contexts: list[StreamContext] = []
        self.kwargs: list[dict[str, Any]] = []
        self.peers: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, stream_ctx: StreamContext, fl_ctx: FLContext, **kwargs: Any) -> Any:
        peer = fl_ctx.get_peer_context()
        assert peer is not None
        with self._changed:
            self.peers.append(peer.get_identity_name())
            self.contexts.append(dict(stream_ctx))
            self.kwargs.append(kwargs)
            self._changed.notify_all()
        return self.answer

    def wait(self, number: int = 1) -> list[StreamContext]:
        """Wait until so many streams have ended, and for no more."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.contexts) >= number, LONG), f"{len(self.contexts)} ended"
        assert len(self.contexts) == number
        return self.contexts

    @property
    def codes(self) -> list[Any]:
        return [FileStreamer.get_rc(context) for context in self.contexts]


class Numbers(ObjectProducer):
    """Makes {"n": 0}, {"n": 1}, ... up to `count`, the last one marked; then None."""

    def __init__(self, count: int, timeout: float = LONG, before: Callable[[int], object] | None = None) -> None:
        self.count = count
        self.timeout = timeout
        self.before = before
        self.made = 0
        self.replies: list[Mapping[str, Shareable]] = []

    def produce(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> tuple[Shareable | None, float]:
        if self.made == self.count:
            return None, 0.0
        if self.before is not None:
            self.before(self.made)
        self.made += 1
        return Shareable({"n": self.made - 1, "last": self.made == self.count}), self.timeout

    def process_replies(self, replies: Mapping[str, Shareable], stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
        self.replies.append(replies)
        return None


class Judge(Numbers):
    """The result is `result`, given after chunk number `after` (None: the last one)."""

    def __init__(self, count: int, result: Any = True, after: int | None = None) -> None:
        super().__init__(count)
        self.result = result
        self.after = count if after is None else after

    def process_replies(self, replies: Mapping[str, Shareable], stream_ctx: StreamContext, fl_ctx: FLContext) -> Any:
        super().process_replies(replies, stream_ctx, fl_ctx)
        return self.result if len(self.replies) == self.after else None


class Collector(ObjectConsumer):
    """Takes numbers until the last one. `before` is called with each."""

    def __init__(self, log: list[Any], before: Callable[[int], object] | None, endless: bool) -> None:
        self.log = log
        self.before = before
        self.endless = endless

    def consume(
        self, shareable: Shareable, stream_ctx: StreamContext, fl_ctx: FLContext
    ) -> tuple[bool, Shareable | None]:
        if self.before is not None:
            self.before(shareable["n"])
        self.log.append(shareable["n"])
        reply = make_reply(ReturnCode.OK)
        reply["got"] = shareable["n"]
        return self.endless or not shareable["last"], reply

    def finalize(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        self.log.append(f"finalize {FileStreamer.get_rc(stream_ctx)}")


class Collectors(ConsumerFactory):
    """Makes them; `log` is what all of them heard."""

    def __init__(self, before: Callable[[int], object] | None = None, endless: bool = False) -> None:
        self.log: list[Any] = []
        self.before = before
        self.endless = endless

    def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> ObjectConsumer:
        return Collector(self.log, self.before, self.endless)

    def return_consumer(self, consumer: ObjectConsumer, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        self.log.append("returned")


def receive_files(engines: Iterable[CellEngine], folder: Path, **options: Any) -> dict[str, Ends]:
    """Have each engine receive files of ("files", "model") in a folder of its own."""
    ends = {}
    for engine in engines:
        name = engine.get_cell().fqcn
        (folder / name).mkdir()
        ends[name] = Ends()
        with engine.new_context() as fl_ctx:
            FileStreamer.register_stream_processing(
                fl_ctx, "files", "model", str(folder / name), ends[name], **options
            )  # fmt: skip
    return ends


def send_file(engine: CellEngine, path: Path, targets: Any, **options: Any) -> tuple[ReturnCode, bool]:
    """Push a file to ("files", "model")."""
    options.setdefault("chunk_size", CHUNK)
    options.setdefault("chunk_timeout", LONG)
    stream_ctx = options.pop("stream_ctx", {})
    with engine.new_context() as fl_ctx:
        return FileStreamer.stream_file("files", "model", stream_ctx, targets, str(path), fl_ctx, **options)


def write(folder: Path, size: int, name: str = "model.pt") -> Path:
    """A file whose chunks differ from each other."""
    path = folder / name
    path.write_bytes((bytes(range(251)) * (size // 251 + 1))[:size])
    return path
