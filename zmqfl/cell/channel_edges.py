"""What the reactor tells of channels, and to whom: readers and writers by their places, answers by their tickets.

All of it is called on the reactor's thread, but what says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

from zmqfl.cell.handles import Handle, failure
from zmqfl.cell.pushing import Submit
from zmqfl.cell.workers import Workers
from zmqfl.errors import (
    ArgumentError,
    CellReturnCode,
    ChannelDeniedError,
    ChannelError,
    ChannelExistsError,
    ChannelUnknownError,
    ClosedError,
)
from zmqfl.protocol.channels.client import Client
from zmqfl.protocol.commands import ChannelAnswered, ChannelEvent, Command, ItemsCame, Outcome, WriterChanged
from zmqfl.protocol.node import Node

KINDS: dict[str, type[ChannelError]] = {
    "exists": ChannelExistsError,
    "unknown": ChannelUnknownError,
    "denied": ChannelDeniedError,
}
"""What the `why` of an answer is here."""


class Face(Protocol):
    """A reader or writer of the application's."""

    def hear(self, event: Any) -> None:
        """What has changed for it."""

    def close_with(self, error: BaseException) -> None:
        """The cell is closed."""


class Question:
    """What was asked of a broker: its handle, and what makes a value of the answer."""

    def __init__(self, handle: Handle[Any], channel: str, broker: str, value: Callable[[Outcome], Any]) -> None:
        self.handle = handle
        self.channel = channel
        self.broker = broker
        self._value = value

    def answer(self, outcome: Outcome) -> None:
        """End the handle."""
        if outcome.code is CellReturnCode.OK:
            self.handle._finish(self._value(outcome))
        else:
            self.handle._fail(self._error(outcome))

    def _error(self, outcome: Outcome) -> Exception:
        why = outcome.headers.get("why")
        if why == "argument":
            return ArgumentError(outcome.error)
        if why is None:
            return failure(self.broker, outcome.code, outcome.error)
        return KINDS.get(str(why), ChannelError)(outcome.error, channel=self.channel, broker=self.broker)


class ChannelEdges:
    """See the module."""

    def __init__(self, node: Node, workers: Workers, submit: Submit, on_reactor: Callable[[], bool]) -> None:
        self.fqcn = node.fqcn
        self.workers = workers
        self.on_reactor = on_reactor
        self._node = node
        self._submit = submit
        self._faces: dict[int, Face] = {}
        self._open: dict[Question, None] = {}
        self._places = count(1)

    # -- any thread ----------------------------------------------------------------------------------------------------

    def next_place(self) -> int:
        """The place of a new reader or writer."""
        return next(self._places)

    def submit(self, act: Callable[[Client, float], list[Command] | None]) -> None:
        """Have the machine told something. Raises `ClosedError`."""

        def run(now: float) -> list[Command]:
            return self._node.channel(lambda client: act(client, now) or [], now)

        self._submit(run)

    def ask(
        self,
        question: Question,
        act: Callable[[Client, Question, float], list[Command]],
        face: tuple[int, Face] | None = None,
    ) -> None:
        """Ask a broker; `face`: the place of a reader or writer that begins with this. Raises `ClosedError`."""

        def run(client: Client, now: float) -> list[Command]:
            if question.handle.done():  # cancelled
                return []
            self._open[question] = None
            if face is not None:
                self._faces[face[0]] = face[1]
            return act(client, question, now)

        self.submit(run)

    # -- the reactor's thread --------------------------------------------------------------------------------------

    def hear(self, event: ChannelEvent) -> None:
        """An event for a reader, a writer, or who has asked something."""
        match event:
            case ItemsCame(place=place, end=end):
                if (face := self._faces.get(place)) is not None:
                    face.hear(event)
                    if end is not None:
                        del self._faces[place]
            case WriterChanged(place, state):
                if (face := self._faces.get(place)) is not None:
                    face.hear(event)
                    if state.end is not None:
                        del self._faces[place]
            case ChannelAnswered(ticket, outcome):
                if isinstance(ticket, Question):
                    self._open.pop(ticket, None)
                    ticket.answer(outcome)

    def forget(self, place: int) -> None:
        """A reader or writer is over."""
        self._faces.pop(place, None)

    def close(self) -> None:
        """The reactor has ended: whoever waits fails."""
        error = ClosedError(f"cell {self.fqcn} was closed")
        for question in self._open:
            question.handle._fail(error)
        for face in list(self._faces.values()):
            face.close_with(error)
        self._open.clear()
        self._faces.clear()
