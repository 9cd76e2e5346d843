"""Public props: what each cell says about itself, known to all.

    cell.props.set("round", 3)
    cell.props.get("site-1", "round")                      at any other cell, a moment later
    with cell.props.watch(print, "site-1"): ...            Prop(cell="site-1", key="round", value=4)
    async for prop in cell.props.changes(): ...

A prop belongs to the cell that sets it, and is gone with it. Everything here is public: it is seen by every
cell that may hear of the plane. Source: seed 003 (public props), design, decisions 24-26.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from zmqfl.cell.callbacks import callback
from zmqfl.cell.handles import Handle
from zmqfl.cell.noticeboard import Noticeboard, Watch, decode_value, encode_value, follow
from zmqfl.errors import ArgumentError, DecodeError
from zmqfl.fqcn import parse
from zmqfl.protocol.plane.facts import MAX_KEY, PROPS, Fact, props_topic

log = logging.getLogger("zmqfl.cell")


@dataclass(frozen=True, slots=True)
class Prop:
    """One prop of one cell. `is_set` False: it is no more, and `value` is None."""

    cell: str
    key: str
    value: Any
    is_set: bool = True


class Props:
    """See the module. All methods may be called from any thread."""

    def __init__(self, fqcn: str, board: Noticeboard) -> None:
        self._fqcn = fqcn
        self._board = board

    def set(self, key: str, value: Any) -> None:
        """Say it to everybody. Raises `ArgumentError` for a key that is no name, `EncodeError` for a value that cannot
        travel or is larger than 32 KiB, `ClosedError`."""
        self._board.say(props_topic(self._fqcn), _checked(key), value)

    def remove(self, key: str) -> None:
        """Say it no longer; nothing happens when it was not set."""
        self._board.withdraw(props_topic(self._fqcn), _checked(key))

    def get(self, cell: str, key: str, default: Any = None) -> Any:
        """The value that `cell` has set; `default` where there is none. Its own a cell reads at once."""
        cell = parse(cell, "cell")
        fact = self._board.find((cell, props_topic(cell), key))
        return default if fact is None else decode_value(fact)

    def of(self, cell: str) -> dict[str, Any]:
        """All props of one cell."""
        return {prop.key: prop.value for prop in self._props(props_topic(parse(cell, "cell")))}

    def all(self) -> dict[str, dict[str, Any]]:
        """All props by cell."""
        props: dict[str, dict[str, Any]] = {}
        for prop in self._props(PROPS):
            props.setdefault(prop.cell, {})[prop.key] = prop.value
        return props

    def wait_current(self, timeout: float | None = None) -> bool:
        """Wait until all that the parent knows is known here; False when it is not within `timeout` seconds.

        A cell that has just started knows nothing yet. The root is always current.
        """
        handle = self.current()
        try:
            return handle.result(timeout)
        except TimeoutError:
            return False

    def current(self) -> Handle[bool]:
        """Ends when all that the parent knows is known here; False: the cell was closed before."""
        return self._board.current()

    def watch(
        self, function: Callable[[Prop], Any], cell: str | None = None, key: str | None = None, replay: bool = False
    ) -> Watch:
        """Call `function(prop)` for each change, of one cell and one key only if they are given; a coroutine function
        runs on the loop that is running now. `replay`: first for all that stands. `close` the watch to end it.

        Calls come one at a time. A function that is slower than the changes hears of each prop only its latest value.
        """
        told = callback(function)
        assert told is not None, "a function is no None"

        def watcher(fact: Fact) -> None:
            if (key is None or fact.key == key) and (prop := prop_of(fact)) is not None:
                told.run(prop)

        topic = PROPS if cell is None else props_topic(parse(cell, "cell"))
        return self._board.watch((topic,), watcher, replay)

    def changes(self, cell: str | None = None, replay: bool = True) -> AsyncGenerator[Prop, None]:
        """Each change as it comes, for `async for`; with `replay` first all that stands. See `watch`."""
        return follow(lambda put: self.watch(put, cell, replay=replay), lambda prop: (prop.cell, prop.key))

    def _props(self, topic: str) -> list[Prop]:
        return [prop for fact in self._board.facts(topic) if (prop := prop_of(fact)) is not None]


def prop_of(fact: Fact) -> Prop | None:
    """A fact as a prop; None, with a line in the log, for what its origin should not have sent."""
    if fact.body is None:
        return Prop(fact.origin, fact.key, None, is_set=False)
    try:
        return Prop(fact.origin, fact.key, decode_value(fact))
    except DecodeError as error:
        log.warning("%s", error)
        return None


def check_prop(key: object, value: Any) -> None:
    """Raise `ArgumentError` or `EncodeError` for what `Props.set` would not take."""
    encode_value(_checked(key), value)


def _checked(key: object) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY:
        raise ArgumentError(f"the key of a prop is a str of 1 to {MAX_KEY} characters, not {key!r:.80}")
    return str.__str__(key)
