"""Downloads that run at a receiver, and word from elsewhere that their source has failed.

A source whose cell is gone needs no word: requests to it fail at once. This is for one that cannot give any more what
it offers though its cell lives, such as a parent that saw the process die which made the objects. Such word is taken
from the source itself, from cells above it and from the root; from nobody else.
Source: reference "flare" 4.5.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from zmqfl.cell.cell import Cell
from zmqfl.cell.message import Message
from zmqfl.context.signal import Signal
from zmqfl.errors import AuthenticationError, InvalidRequest
from zmqfl.streaming.download_messages import CHANNEL, MAX_REASON, SOURCE_FAILURE


class RunningDownloads:
    """The downloads that run at one cell. All threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: dict[Signal, tuple[str, str]] = {}

    def begin(self, source: str, ref_id: str, stop: Signal) -> None:
        """A download begins; `stop` ends it."""
        with self._lock:
            self._stops[stop] = (source, ref_id)

    def end(self, stop: Signal) -> None:
        """It has ended."""
        with self._lock:
            self._stops.pop(stop, None)

    def fail(self, source: str, ref_ids: Iterable[str] | None, reason: str) -> int:
        """End the downloads from `source`, of `ref_ids` (None: all of it); returns how many there were."""
        chosen = None if ref_ids is None else set(ref_ids)
        with self._lock:
            stops = [
                stop
                for stop, (owner, ref_id) in self._stops.items()
                if owner == source and (chosen is None or ref_id in chosen)
            ]
        for stop in stops:
            stop.trigger(reason)
        return len(stops)

    def __len__(self) -> int:
        return len(self._stops)


def notify_source_failure(
    cell: Cell, source_fqcn: str, receivers: Iterable[str], reason: str = "", ref_ids: Iterable[str] | None = None
) -> None:
    """Tell `receivers` that what the cell `source_fqcn` offers will not come: their downloads end at once.

    `cell`: the source, a cell above it, or the root. `ref_ids`: only these references. It does not wait. Raises
    `ClosedError`.
    """
    names = tuple(receivers)
    if names:
        ids = None if ref_ids is None else list(ref_ids)
        told = {"source": source_fqcn, "ref_ids": ids, "reason": reason[:MAX_REASON]}
        cell.broadcast(names, CHANNEL, SOURCE_FAILURE, told)


def take_source_failure(message: Message, running: RunningDownloads, root: str) -> int:
    """Serve such word; returns how many downloads it has ended. `root`: the name of the root cell.

    Raises `InvalidRequest`, and `AuthenticationError` for who has no say in it.
    """
    source, ref_ids, reason = _fields_of(message)
    origin = message.origin
    if origin not in (source, root) and not source.startswith(f"{origin}."):
        raise AuthenticationError(f"{origin} has no say in what {source} offers")
    return running.fail(source, ref_ids, f"{origin} tells that {source} has failed: {reason or 'no reason given'}")


def _fields_of(message: Message) -> tuple[str, list[str] | None, str]:
    fields: Any = message.payload
    if not isinstance(fields, dict):
        raise InvalidRequest(f"{CHANNEL}:{SOURCE_FAILURE} takes a dict")
    source, ref_ids, reason = fields.get("source"), fields.get("ref_ids"), fields.get("reason")
    known = ref_ids is None or (isinstance(ref_ids, list) and all(isinstance(each, str) for each in ref_ids))
    if not isinstance(source, str) or not isinstance(reason, str) or not known:
        raise InvalidRequest("source and reason must be str, ref_ids a list of str or None")
    return source, ref_ids, reason
