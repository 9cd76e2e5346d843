"""The verbs of a cell for what everybody may know: public props, and announcements of what is offered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zmqfl.blobs.sink import OnExists
from zmqfl.cell.announcements import Announcement, Announcements, announce
from zmqfl.cell.auto_pull import AutoPull, Rule
from zmqfl.cell.callbacks import callback
from zmqfl.cell.noticeboard import Noticeboard
from zmqfl.cell.props import Props
from zmqfl.cell.transfer_terms import CHUNK_TIMEOUT, Offer
from zmqfl.errors import ArgumentError
from zmqfl.fqcn import parse
from zmqfl.protocol.commands import Command

if TYPE_CHECKING:
    from zmqfl.cell.pulling import PullHandle
    from zmqfl.protocol.node import Node
    from zmqfl.transport.reactor import Reactor

OTHERS = "*"
"""In the rules of `set_hearers`: every child that is not named."""


class PlaneVerbs:
    """Mixed into `Cell`."""

    if TYPE_CHECKING:
        fqcn: str
        _node: Node
        _board: Noticeboard
        _auto_pulls: list[AutoPull]

        _reactor: Reactor

        def _check(self) -> None: ...
        def _check_process(self) -> None: ...
        def _submit(self, action: Callable[[float], list[Command]]) -> None: ...
        def pull(
            self, rid: str, owner: str, to: str | Path | None = None, *, name: str | None = None,
            on_exists: OnExists = "keep", timeout: float = CHUNK_TIMEOUT, resume: bool = False, secure: bool = False,
        ) -> PullHandle:  # fmt: skip
            """See `TransferVerbs`."""

    @property
    def props(self) -> Props:
        """The public props of all cells, see `Props`."""
        return Props(self.fqcn, self._board)

    def announcements(self, group: str = "") -> Announcements:
        """What is announced to a group, "" for all groups; see `Announcements`. Raises `ArgumentError`."""
        return Announcements(self._board, group)

    def announce(self, offer: Offer, group: str, *, kind: str = "file", to: Iterable[str] | None = None) -> None:
        """Tell a group of an offer as long as it stands; `offer` and `offer_object` do so by their `announce`.

        `to`: tell only these, as only these may pull it. Raises `ArgumentError` for what is no name of a group,
        `ClosedError`.
        """
        self._check()
        announce(self._board, offer, kind, group, to)

    def auto_pull(
        self,
        group: str,
        to: str | Path,
        *,
        rule: Rule | None = None,
        done: Callable[[Announcement, Path | None, BaseException | None], Any] | None = None,
        on_exists: OnExists = "keep",
        timeout: float = CHUNK_TIMEOUT,
        secure: bool = False,
    ) -> AutoPull:
        """Pull each file that is announced to `group` into the folder `to`, once, from now on until it is closed.

        `rule(announcement)`: whether this one is wanted; None: all are. `done(announcement, path, error)`: called after
        each attempt, with one of the two; what has failed is tried again as long as it is offered. All else is as of
        `pull`. Raises `ArgumentError` where `to` is no folder, `ClosedError`.
        """
        self._check()
        folder = Path(to).absolute()
        if not folder.is_dir():
            raise ArgumentError(f"{folder} is not a folder; make it first")

        def begin(each: Announcement) -> PullHandle:
            return self.pull(
                each.rid, each.owner, folder, on_exists=on_exists, timeout=timeout, resume=True, secure=secure
            )

        pulls = AutoPull(f"{self.fqcn}:{group}", self.announcements(group), folder, begin, rule, callback(done))
        self._auto_pulls.append(pulls)
        return pulls

    def set_hearers(self, rules: Mapping[str, Iterable[str]] | None) -> None:
        """Which topics of the plane each child, and what is below it, may hear from now on; None: all may hear all.

        `rules`: name of the child, or "*" for all others -> beginnings of topics: "" for everything, "props/",
        "props/site-1/", "rids/models/". A child that no rule names hears nothing. Who hears more than it may is cut at
        once. What is announced to single receivers reaches these in any case that lets them hear "bound/".
        It may be called before the start. Raises `FqcnError`, `ClosedError`.
        """
        granted = None if rules is None else {
            name if name == OTHERS else parse(name, "rules"): tuple(prefixes) for name, prefixes in rules.items()
        }  # fmt: skip

        def rule(child: str) -> tuple[str, ...]:
            return ("",) if granted is None else granted.get(child, granted.get(OTHERS, ()))

        self._check_process()
        self._reactor.submit(lambda now: self._node.set_rule(rule, now))
