"""Objects that are downloaded chunk by chunk: what their owner writes, and what their receiver writes.

    owner      Downloadable.set_transaction   it is offered
               Downloadable.produce           the chunk that belongs to a state, and the state after it
               Downloadable.downloaded_to_one a receiver has ended, once each
               Downloadable.downloaded_to_all all receivers have, once
               Downloadable.transaction_done  nothing of the transaction is offered any more, once
               Downloadable.release           nothing is asked of it any more, once, last
    receiver   Consumer.consume               takes a chunk, and says the state to ask for next
               Consumer.download_completed    it has all, or
               Consumer.download_failed       it has not: one of the two, once

A state is a dict that the owner makes and the receiver gives back. The owner keeps no place per receiver: a state that
comes again, because a reply was late, must give the same chunk again. Source: reference "flare" 4.2, 4.3, 4.5.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class ProduceRC(StrEnum):
    """What `Downloadable.produce` says of its chunk."""

    OK = "ok"
    ERROR = "error"
    EOF = "eof"


class DownloadStatus(StrEnum):
    """How a download ended for one receiver. Each member equals its text."""

    SUCCESS = "success"
    FAILED = "failed"


class TransactionDoneStatus(StrEnum):
    """Why a transaction has ended."""

    FINISHED = "finished"
    """All receivers have ended, well or not."""
    TIMEOUT = "timeout"
    """Nothing was asked for too long."""
    DELETED = "deleted"
    """Its owner ended it, or the cell was closed."""


class Downloadable(ABC):
    """Something that receivers download; see the module. `obj`: what it is made of, `base_obj` from then on.

    `produce` is called by several threads at once, one per receiver that asks. All other methods are called by one
    thread at a time, a worker of the cell; what they raise goes to the log.
    """

    num_receivers: int = 0
    """How many will download it, told before `set_transaction`; 0: not known."""

    def __init__(self, obj: Any) -> None:
        self.base_obj = obj

    def set_transaction(self, tx_id: str, ref_id: str) -> None:  # noqa: B027  a hook
        """It is offered as `ref_id` in the transaction `tx_id`."""

    @abstractmethod
    def produce(self, state: dict[str, Any], requester: str) -> tuple[ProduceRC, Any, dict[str, Any]]:
        """The chunk that belongs to `state`, for the cell `requester`: (OK, data, the state after it).

        `state` is {} at the begin; otherwise it comes from the network, so check it. `data` is any value that can
        travel. (EOF, None, any) after the last chunk; (ERROR, None, any) ends this download as failed, and so does
        what is raised, and a state after the chunk that is the state before it.
        """

    def downloaded_to_one(self, to_receiver: str, status: DownloadStatus) -> None:  # noqa: B027
        """A receiver has all of it and has said so, or has failed."""

    def downloaded_to_all(self) -> None:  # noqa: B027
        """All receivers have ended; `downloaded_to_one` told how."""

    def transaction_done(self, tx_id: str, status: TransactionDoneStatus) -> None:  # noqa: B027
        """The transaction has ended; `produce` is not called any more."""

    def release(self) -> None:  # noqa: B027
        """Let go of what it holds; this is its last call."""


class Consumer(ABC):
    """Takes what a receiver downloads; see the module. Its methods are called by the thread that downloads."""

    supports_pipelining: bool = False
    """Set it to True in a class whose `consume` always returns the state that it is given: the next chunk is then asked
    for while this one is consumed."""

    items_done: int | None = None
    """Items so far, for the progress; None: chunks are counted."""

    @abstractmethod
    def consume(self, ref_id: str, state: dict[str, Any], data: Any) -> dict[str, Any]:
        """Take the chunk `data`; returns the state to ask for next, as a rule `state`, which the owner proposes.

        What it raises, or no dict, ends the download as failed.
        """

    @abstractmethod
    def download_completed(self, ref_id: str) -> None:
        """There are no more chunks. What it raises makes the download a failure for the owner, and is raised again."""

    @abstractmethod
    def download_failed(self, ref_id: str, reason: str) -> None:
        """The download has ended before that. What it raises goes to the log."""


def size_of(data: Any) -> int:
    """About how many bytes a chunk has: those of its bytes and arrays, without what is around them."""
    match data:
        case bytes() | bytearray() | str():
            return len(data)
        case Mapping():
            return sum(size_of(value) for value in data.values())
        case list() | tuple():
            return sum(size_of(value) for value in data)
    size = getattr(data, "nbytes", 0)
    return size if isinstance(size, int) else 0
