"""What is offered, at its owner: a file, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from zmqfl.blobs.source import Source
from zmqfl.cell.callbacks import Callback
from zmqfl.cell.workers import Workers
from zmqfl.wire.chunk_codec import ChunkPacker, Codec


@dataclass(eq=False, slots=True)
class OfferedFile:
    """One file that is offered. `twin`: the same for those who pull it sealed (`zmqfl.cell.sealed_offers`)."""

    rid: str
    source: Source
    on_served: Callback | None
    on_opened: Callable[[str, str], None] | None = None
    codec: Codec = "auto"
    item: int = 1
    packers: dict[str, ChunkPacker] = field(default_factory=dict)
    """Per receiver: each has a link of its own."""
    taker: str = ""
    is_shared: bool = False
    """Whether more than one cell has asked for it: then its chunks are kept for a moment."""
    twin: OfferedFile | None = None

    @property
    def is_twin(self) -> bool:
        """Whether it is only the sealed form of another one."""
        return False

    @property
    def told_as(self) -> str:
        """The reference id by which the application knows it."""
        return self.rid

    def opened(self, receiver: str) -> None:
        """A receiver begins. (A worker.)"""
        if self.on_opened is not None:
            self.on_opened(self.rid, receiver)

    def served(self, calls: Workers, receiver: str, status: str) -> None:
        """A receiver has it, or has failed. (The reactor.)"""
        if self.on_served is not None:
            self.on_served.call(calls, self.rid, receiver, status, self.source.name)


@dataclass(eq=False, slots=True)
class Group:
    """One transaction."""

    on_expired: Callback | None
    files: list[OfferedFile] = field(default_factory=list)
    on_ended: list[Callable[[], None]] = field(default_factory=list)
