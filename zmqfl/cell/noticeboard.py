"""What the plane says, as the application sees it: a copy that any thread may read, and who is told of changes.

What this cell says itself stands here at once, and reaches the others in a moment. Props and announcements are faces
over it. Watchers are called on workers, one call at a time each; one that is slow holds up itself only, and then hears
of each place no more than its latest state: so a watcher costs no more than what is known.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable
from typing import Any, Final, TypeVar

from msgpack import packb, unpackb

from zmqfl.cell.handles import Handle
from zmqfl.cell.pushing import Submit
from zmqfl.cell.serial import SerialQueue
from zmqfl.cell.workers import Workers
from zmqfl.errors import ClosedError, DecodeError, EncodeError
from zmqfl.protocol.commands import Command
from zmqfl.protocol.node import Node
from zmqfl.protocol.plane.facts import MAX_BODY, Fact, Place, Word, place_of
from zmqfl.wire import payload

T = TypeVar("T")
Watcher = Callable[[Fact], object]
_MISSING: Final = object()


class Watch:
    """A watcher that is told. `close`, or the end of a `with` block, ends it; again does nothing."""

    def __init__(self, board: Noticeboard, prefixes: tuple[str, ...], watcher: Watcher) -> None:
        self.prefixes = prefixes
        self._board = board
        self._watcher = watcher
        self._queue = SerialQueue(board.workers)
        self._lock = threading.Lock()
        self._waiting: dict[Place, Fact] = {}
        self._closed = False

    def tell(self, fact: Fact) -> None:
        """Have the watcher called, after whatever it was told before; what it has not heard of this place is over."""
        with self._lock:
            is_new = place_of(fact) not in self._waiting
            self._waiting[place_of(fact)] = fact
        if is_new:
            self._queue.put(lambda: self._call(place_of(fact)))

    def close(self) -> None:
        """Tell it no more; a call that runs ends."""
        self._closed = True
        self._board.unwatch(self)

    def _call(self, place: Place) -> None:
        with self._lock:
            fact = self._waiting.pop(place)
        if not self._closed:
            self._watcher(fact)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Noticeboard:
    """See the module."""

    def __init__(self, node: Node, workers: Workers, submit: Submit, is_on_reactor: Callable[[], bool]) -> None:
        self.fqcn = node.fqcn
        self.workers = workers
        self._node = node
        self._submit = submit
        self._is_on_reactor = is_on_reactor
        self._lock = threading.Lock()
        self._facts: dict[Place, Fact] = {}
        """What others say."""
        self._own: dict[Place, Fact] = {}
        self._watches: list[Watch] = []
        self._unsaid: list[Word] = []
        """What this cell says, and the reactor has not taken: one submission takes all, so a burst is told together."""
        self._closed = False
        self._waiting: list[Handle[bool]] = []
        """For this copy to be current."""

    # -- any thread ----------------------------------------------------------------------------------------------------

    def say(self, topic: str, key: str, value: Any = _MISSING) -> None:
        """Publish a value under this cell's name, or withdraw it. Raises `EncodeError` naming the key, `ClosedError`.

        It is fixed when this returns.
        """
        body = None if value is _MISSING else encode_value(key, value)
        fact = Fact(self.fqcn, 0, 1, 0, topic, key, body)
        with self._lock:  # around both, or two threads may leave another order here than there
            if not self._unsaid:
                self._submit(self._publish)
            elif self._closed:
                raise ClosedError(f"cell {self.fqcn} is closed")
            self._unsaid.append((topic, key, body))
            if body is None:
                self._own.pop(place_of(fact), None)
            else:
                self._own[place_of(fact)] = fact

    def withdraw(self, topic: str, key: str) -> None:
        """Say it no longer."""
        self.say(topic, key)

    def find(self, place: Place) -> Fact | None:
        """What is said at a place."""
        with self._lock:
            return self._own.get(place) if place[0] == self.fqcn else self._facts.get(place)

    def facts(self, *prefixes: str) -> list[Fact]:
        """What is said under topics that begin with one of `prefixes`, as it is at one moment."""
        with self._lock:
            return self._standing(prefixes)

    def watch(self, prefixes: tuple[str, ...], watcher: Watcher, replay: bool = False) -> Watch:
        """Call `watcher(fact)` for each change under `prefixes`; with `replay` first for all that stands now."""
        watch = Watch(self, prefixes, watcher)
        with self._lock:  # nothing is missed, and nothing told twice
            self._watches.append(watch)
            for fact in self._standing(prefixes) if replay else ():
                watch.tell(fact)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Forget a watch."""
        with self._lock:
            self._watches = [each for each in self._watches if each is not watch]

    def current(self) -> Handle[bool]:
        """Ends when this copy is what the parent knows: at once where it is already. False: the cell has ended."""
        handle: Handle[bool] = Handle(on_cancel=lambda *_: None, on_reactor=self._is_on_reactor)

        def expect(now: float) -> list[Command]:
            self._waiting.append(handle)
            self._look_current()
            return []

        self._submit(expect)
        return handle

    # -- the reactor's thread --------------------------------------------------------------------------------------

    def changed(self, facts: Iterable[Fact]) -> None:
        """The plane says something new."""
        with self._lock:
            for fact in facts:
                if fact.origin != self.fqcn:
                    self._keep(fact)
                for watch in self._watches:
                    if fact.topic.startswith(watch.prefixes):
                        watch.tell(fact)
        self._look_current()

    def close(self) -> None:
        """Nothing will be told any more."""
        with self._lock:
            self._closed = True
        waiting, self._waiting = self._waiting, []
        for handle in waiting:
            handle._finish(False)

    def _publish(self, now: float) -> list[Command]:
        with self._lock:
            words, self._unsaid = self._unsaid, []
        return self._node.publish(words, now)

    def _look_current(self) -> None:
        if self._waiting and self._node.plane.is_current:
            waiting, self._waiting = self._waiting, []
            for handle in waiting:
                handle._finish(True)

    def _keep(self, fact: Fact) -> None:
        if fact.body is None:
            self._facts.pop(place_of(fact), None)
        else:
            self._facts[place_of(fact)] = fact

    def _standing(self, prefixes: tuple[str, ...]) -> list[Fact]:
        return [
            fact for facts in (self._own, self._facts) for fact in facts.values() if fact.topic.startswith(prefixes)
        ]


async def follow(
    watch: Callable[[Callable[[T], Awaitable[None]]], Watch], place: Callable[[T], Hashable]
) -> AsyncGenerator[T, None]:
    """What a watcher hears, for `async for`. Of each `place` no more than the latest waits for who is slow."""
    waiting: dict[Hashable, T] = {}
    there = asyncio.Event()

    async def keep(item: T) -> None:
        waiting[place(item)] = item
        there.set()

    with watch(keep):
        while True:
            await there.wait()
            there.clear()
            while waiting:
                yield waiting.pop(next(iter(waiting)))


def encode_value(key: str, value: Any) -> bytes:
    """A value as the body of a fact. Raises `EncodeError` naming the key: it cannot travel, or is too large."""
    try:
        frames = payload.encode(value)
    except EncodeError as error:
        raise EncodeError(f"{key!r} cannot be published: {error}") from error
    body: bytes = packb([bytes(frame) for frame in frames])
    if len(body) > MAX_BODY:
        remedy = "offer it (`cell.offer`, `cell.offer_object`) and announce its reference"
        raise EncodeError(f"{key!r} has {len(body)} bytes, and the plane takes {MAX_BODY}; {remedy}")
    return body


def decode_value(fact: Fact) -> Any:
    """What a fact says. Raises `DecodeError` for what its origin should not have sent."""
    try:
        frames = unpackb(fact.body or b"")
    except Exception as error:
        raise DecodeError(f"{fact.key!r} of {fact.origin} cannot be read: {error}") from error
    if not isinstance(frames, list) or not all(isinstance(frame, bytes) for frame in frames):
        raise DecodeError(f"{fact.key!r} of {fact.origin} cannot be read: it is no list of frames")
    return payload.decode(frames)
