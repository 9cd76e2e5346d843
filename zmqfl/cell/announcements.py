"""Reference ids that everybody may know: an owner announces once, and every cell, early or late, can pull.

    with server.offer("model.pt", announce="models"): ...
    for each in site.announcements("models"): site.pull(each.rid, each.owner, folder)      what stands now
    async for each in site.announcements("models"): ...                                    and what comes
    site.auto_pull("models", folder)                                                       see `zmqfl.cell.auto_pull`

An announcement is withdrawn with its offer, and gone with its owner. A reference that is bound to receivers is
announced to these alone: by the links that lead to them, never where anything is published.
Source: seed 000 (file life cycle), design, decisions 22, 24, 25.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zmqfl.cell.callbacks import callback
from zmqfl.cell.noticeboard import Noticeboard, Watch, decode_value, follow
from zmqfl.errors import ArgumentError, ClosedError, DecodeError
from zmqfl.protocol.plane.facts import BOUND, END, RIDS, Fact, bound_topic, problem_of_topic, rids_topic

if TYPE_CHECKING:
    from zmqfl.cell.transfer_terms import Offer

log = logging.getLogger("zmqfl.cell")


@dataclass(frozen=True, slots=True)
class Announcement:
    """One offer that was announced."""

    rid: str
    owner: str
    group: str
    name: str
    size: int
    """Bytes."""
    kind: str = "file"
    """"file", for `pull`; "object", for `pull_object`."""
    is_live: bool = True
    """False: it was withdrawn, and all but rid, owner and group is empty."""


class Announcements:
    """What is announced to a group ("" for all groups): iterate for what stands now, `async for` for what comes too."""

    def __init__(self, board: Noticeboard, group: str = "") -> None:
        self._board = board
        self._group = checked_group(group) if group else ""
        self._prefixes = rids_topic(self._group) if group else RIDS, bound_topic(board.fqcn)

    def __iter__(self) -> Iterator[Announcement]:
        standing = (announcement_of(fact) for fact in self._board.facts(*self._prefixes))
        return iter([each for each in standing if each is not None and self._is_wanted(each)])

    def __aiter__(self) -> AsyncGenerator[Announcement, None]:
        return follow(lambda put: self.watch(put, replay=True), lambda each: (each.owner, each.group, each.rid))

    def watch(self, function: Callable[[Announcement], Any], replay: bool = False) -> Watch:
        """Call `function(announcement)` for each that comes or is withdrawn; see `Props.watch`."""
        told = callback(function)
        assert told is not None, "a function is no None"

        def watcher(fact: Fact) -> None:
            if (announcement := announcement_of(fact)) is not None and self._is_wanted(announcement):
                told.run(announcement)

        return self._board.watch(self._prefixes, watcher, replay)

    def _is_wanted(self, announcement: Announcement) -> bool:
        return self._group in ("", announcement.group)


def announce(board: Noticeboard, offer: Offer, kind: str, group: str, receivers: Iterable[str] | None) -> None:
    """Tell a group of an offer as long as it stands; `receivers`: only these of it, as only these may pull it.

    Raises `ArgumentError` for what is no name of a group, `ClosedError`.
    """
    places = places_of(checked_group(group), offer.rid, receivers)
    value = {"name": offer.name, "size": offer.size, "kind": kind}
    for topic, key in places:
        board.say(topic, key, value)

    def withdraw() -> None:
        try:
            for topic, key in places:
                board.withdraw(topic, key)
        except ClosedError:
            return  # with its cell everything that it said is over

    offer.transaction.on_ended(withdraw)


def places_of(group: str, rid: str, receivers: Iterable[str] | None) -> list[tuple[str, str]]:
    """Topic and key of each fact that announces a reference."""
    if receivers is None:
        return [(rids_topic(group), rid)]
    return [(bound_topic(receiver), f"{group}{END}{rid}") for receiver in receivers]


def announcement_of(fact: Fact) -> Announcement | None:
    """A fact as an announcement; None, with a line in the log, for what its owner should not have sent."""
    if fact.topic.startswith(BOUND):
        group, _, rid = fact.key.partition(END)
    else:
        group, rid = fact.topic[len(RIDS) : -len(END)], fact.key
    if fact.body is None:
        return Announcement(rid, fact.origin, group, "", 0, is_live=False)
    try:
        value = decode_value(fact)
    except DecodeError as error:
        log.warning("%s", error)
        return None
    match value:
        case {"name": str(name), "size": int(size), "kind": str(kind)}:
            return Announcement(rid, fact.origin, group, name, size, kind)
    log.warning("what %s announces as %r is no offer", fact.origin, fact.key)
    return None


def checked_group(group: object) -> str:
    """`group`, when it can be the name of one. Raises `ArgumentError`."""
    if not isinstance(group, str) or problem_of_topic(rids_topic(group)):
        raise ArgumentError(f"a group is a name without '/', of at most 240 characters, not {group!r:.80}")
    return group
