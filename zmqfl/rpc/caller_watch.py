"""Callers that have calls under way here: is each of them alive? A machine without I/O.

    caller      event                                    next      commands
    none        a call begins                            new       Wake, unless a look is due already
    new         its oldest call is a beat old            watched   Watch: ask its cell, which answers when it closes
    new         its last call ends                       none
    watched     its last call ends                       none      Unwatch
    watched     the answer, or none can come any more    none      Cancel each of its calls
    watched     the question has timed out               watched   Watch
    any         close                                    none      Unwatch; Cancel each call

A caller is one start of one cell. Short calls cost an entry in a dict: only one that is older than a beat has its
caller asked, once for all of them. When the caller is gone, wherever it is in the tree, the question fails, since the
network fails whatever waits for a cell that is gone. Source: rule R29; not zerorpc's heartbeats for each call.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TypeAlias

Caller: TypeAlias = tuple[str, int]
"""FQCN and instance."""


@dataclass(frozen=True, slots=True)
class Wake:
    """There is a deadline now."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Ask this caller's cell; later `answered`."""

    caller: Caller


@dataclass(frozen=True, slots=True)
class Unwatch:
    """The question is not waited for any more."""

    caller: Caller


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this call any more."""

    call: Hashable
    reason: str


Command = Wake | Watch | Unwatch | Cancel


@dataclass(slots=True)
class _Calls:
    """Of one caller, oldest first: call -> when it began."""

    began: dict[Hashable, float] = field(default_factory=dict)
    watched: bool = False


class CallerWatch:
    """See the module. `beat`: seconds; how long a call is short."""

    def __init__(self, beat: float) -> None:
        self._beat = beat
        self._callers: dict[Caller, _Calls] = {}
        self._look_at: float | None = None
        self.closed = False

    def begin(self, caller: Caller, call: Hashable, now: float) -> list[Command]:
        """A call has begun."""
        if self.closed:
            return [Cancel(call, "the cell closes")]
        self._callers.setdefault(caller, _Calls()).began[call] = now
        if self._look_at is not None:
            return []
        self._look_at = now + self._beat
        return [Wake()]

    def end(self, caller: Caller, call: Hashable) -> list[Command]:
        """It has ended, in whichever way."""
        calls = self._callers.get(caller)
        if calls is None or calls.began.pop(call, None) is None or calls.began:
            return []
        del self._callers[caller]
        return [Unwatch(caller)] if calls.watched else []

    def answered(self, caller: Caller, timed_out: bool, reason: str) -> list[Command]:
        """The question has ended."""
        calls = self._callers.get(caller)
        if calls is None or not calls.watched:
            return []
        if timed_out:
            return [Watch(caller)]
        del self._callers[caller]
        return [Cancel(call, reason) for call in calls.began]

    def handle_timeout(self, now: float) -> list[Command]:
        """Ask the callers of calls that are not short."""
        commands: list[Command] = []
        for caller, calls in self._callers.items():
            if not calls.watched and next(iter(calls.began.values())) + self._beat <= now:
                calls.watched = True
                commands.append(Watch(caller))
        begun = [next(iter(calls.began.values())) for calls in self._callers.values() if not calls.watched]
        self._look_at = min(begun) + self._beat if begun else None
        return commands

    def watches(self, caller: Caller) -> bool:
        """Whether the answer to a question to this caller is still of use."""
        calls = self._callers.get(caller)
        return calls is not None and calls.watched

    @property
    def deadline(self) -> float | None:
        """When `handle_timeout` has something to do; may be early."""
        return self._look_at

    def close(self) -> list[Command]:
        """The cell closes: nothing begins any more."""
        self.closed = True
        commands: list[Command] = []
        for caller, calls in self._callers.items():
            commands += [Unwatch(caller)] if calls.watched else []
            commands += [Cancel(call, "the cell closes") for call in calls.began]
        self._callers.clear()
        self._look_at = None
        return commands

    def __repr__(self) -> str:
        watched = sum(calls.watched for calls in self._callers.values())
        return f"<CallerWatch {len(self._callers)} callers, {watched} watched>"
