"""Values by channel and topic, with wildcards: handlers (`set`, `find`) and filters (`append`, `matching`).

    registered for     applies to
    *:*                everything
    channel:*          each topic of the channel
    channel:topic      just that

`find` gives the most specific value. `matching` gives all, the general ones first, so that a filter on one topic
adds to the filters on everything and never replaces them: an authentication filter on `*:*` sees each message.
Source: reference "flare" 5.7, with its bug (only the most specific filters ran) not copied.
"""

from __future__ import annotations

import threading
from numbers import Real
from typing import Generic, TypeVar

from zmqfl.errors import ArgumentError

T = TypeVar("T")

WILDCARD = "*"
MAX_NAME = 1024
"""Characters of a channel or topic: it is in the header of each message."""


class Registry(Generic[T]):
    """See the module. Readers take no lock: a change replaces the dict that they read.

    What was found is not cached: peers choose the names that are looked up, so a cache would grow at their will.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], tuple[T, ...]] = {}
        self._lock = threading.Lock()

    def set(self, channel: str, topic: str, value: T) -> None:
        """Make `value` the only one registered for exactly this channel and topic."""
        key = _key(channel, topic)
        with self._lock:
            self._entries = {**self._entries, key: (value,)}

    def append(self, channel: str, topic: str, value: T) -> None:
        """Add `value` after those registered for exactly this channel and topic."""
        key = _key(channel, topic)
        with self._lock:
            self._entries = {**self._entries, key: (*self._entries.get(key, ()), value)}

    def find(self, channel: str, topic: str) -> T | None:
        """The value of `channel:topic`, else of `channel:*`, else of `*:*`, else None."""
        entries = self._entries
        for key in (channel, topic), (channel, WILDCARD), (WILDCARD, WILDCARD):
            if values := entries.get(key):
                return values[-1]
        return None

    def matching(self, channel: str, topic: str) -> list[T]:
        """All values of `*:*`, then of `channel:*`, then of `channel:topic`, each in the order of their coming."""
        entries = self._entries
        if not entries:
            return []
        # A dict, because a message may itself be called `*`.
        keys = dict.fromkeys([(WILDCARD, WILDCARD), (channel, WILDCARD), (channel, topic)])
        return [value for key in keys for value in entries.get(key, ())]

    def __repr__(self) -> str:
        return f"<Registry {', '.join(':'.join(key) for key in self._entries) or 'empty'}>"


def check_name(value: object, argument: str) -> str:
    """`value`, when it can be a channel or a topic. Raises `ArgumentError` naming `argument` when it cannot."""
    if not isinstance(value, str):
        raise ArgumentError(f"{argument} must be a str, not {type(value).__name__}")
    if not value:
        raise ArgumentError(f"{argument} is empty; give a name, or {WILDCARD!r} to register for all")
    if len(value) > MAX_NAME:
        raise ArgumentError(f"{argument} has {len(value)} characters; give a name of at most {MAX_NAME}")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise ArgumentError(f"{argument} {value!r} has lone surrogates, which cannot travel; give a name without them")
    return value


def check_seconds(value: object, argument: str) -> float | None:
    """`value`, when it can be a time to wait, or None. Raises `ArgumentError` naming `argument` when it cannot."""
    if value is None:
        return None
    if isinstance(value, Real) and (seconds := float(value)) >= 0:
        return seconds
    raise ArgumentError(f"{argument} must be a number of seconds, 0 or more, not {value!r}")


def _key(channel: object, topic: object) -> tuple[str, str]:
    channel, topic = check_name(channel, "channel"), check_name(topic, "topic")
    if channel == WILDCARD != topic:
        raise ArgumentError(f"channel '*' goes with topic '*' only, not with {topic!r}; name the channel")
    return channel, topic
