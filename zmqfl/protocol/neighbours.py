"""The neighbours of a cell, parent and children alike: which way a name lies, and who may speak for whom."""

from __future__ import annotations

from collections.abc import Iterable

from zmqfl.fqcn import FQCN, tree_is_below
from zmqfl.protocol.acceptor import Acceptor
from zmqfl.protocol.link import Link
from zmqfl.protocol.routing import next_hop, split
from zmqfl.protocol.uplink import Uplink, UplinkState
from zmqfl.wire.messages import Conn

MOST_ORIGINS = 65536
"""Answers of `may_come` that are kept; then all are asked anew."""


class Neighbours:
    """See the module. `uplink` is None for the root."""

    def __init__(self, fqcn: str, uplink: Uplink | None, acceptor: Acceptor) -> None:
        self.fqcn = fqcn
        self.uplink = uplink
        self.acceptor = acceptor
        self._origins: dict[tuple[Conn, str | None, str], bool] = {}

    @property
    def root(self) -> str:
        """The name of the root; "" until the parent has told it."""
        return self.fqcn if self.uplink is None else self.uplink.root

    @property
    def parent(self) -> str:
        """The name of the parent; "" for the root, or while there is no link to it."""
        return self.uplink.link.fqcn if self.uplink is not None and self.uplink.link is not None else ""

    @property
    def is_dialling(self) -> bool:
        """Whether no parent has ever bound this cell, though it has one."""
        return self.uplink is not None and not self.uplink.token

    def may_come_back(self, target: str) -> bool:
        """Whether `target` may be about to dial: this cell succeeds a former start, whose child it may have been."""
        succeeds = self.acceptor.succeeds or (self.uplink is not None and self.uplink.succeeds)
        return succeeds and tree_is_below(target, self.fqcn, self.root)

    def has_left(self, target: str) -> bool:
        """Whether `target`, or a cell above it, was a child of this cell and is gone."""
        while target and not self.acceptor.has_left(target):
            target = FQCN.get_parent(target)
        return target != ""

    @property
    def is_holder(self) -> bool:
        """Whether nobody hears another start of this cell."""
        return self.uplink is None or self.uplink.held_since is not None

    @property
    def is_bound(self) -> bool:
        """Whether the link to the parent is up; a root always is."""
        return self.uplink is None or (self.uplink.state is UplinkState.BOUND and self.uplink.link is not None)

    def links(self) -> list[Link]:
        """All neighbours, the parent first."""
        own = [self.uplink.link] if self.uplink is not None and self.uplink.link is not None else []
        return own + list(self.acceptor.children.values())

    def link_of(self, fqcn: str) -> Link | None:
        """The link to a neighbour."""
        if fqcn and fqcn == self.parent and self.uplink is not None:
            return self.uplink.link
        return self.acceptor.children.get(fqcn)

    def hop_to(self, target: str) -> str | None:
        """The neighbour on the way to `target`, itself for this cell, None when there is no way."""
        return next_hop(target, self.fqcn, self.parent, self.acceptor.children)

    def obstacle(self, target: str) -> str:
        """Why a message to `target` cannot leave this cell now; "" when it can."""
        hop = self.hop_to(target)
        if hop is None:
            return f"{self.fqcn} has no route to {target}"
        if hop != self.fqcn and (link := self.link_of(hop)) is not None and not link.connected:
            return f"the link to {hop} is broken"
        return ""

    def split(self, targets: Iterable[str]) -> dict[str | None, list[str]]:
        """Targets by next hop; those under None have no route."""
        return split(targets, self.fqcn, self.parent, self.acceptor.children)

    def bound(self, conn: Conn) -> Link | None:
        """The link that a connection belongs to."""
        if conn[0] == "up":
            return self.uplink.link if self.uplink is not None else None
        found = self.acceptor.bindings.get(conn)
        return found[0] if found else None

    def may_come(self, conn: Conn, user: str | None, origin: str) -> bool:
        """Whether a message of `origin` may come from `conn`; `user`: the name that its key proves, if it has one.

        Asked for each message; the answer is kept until the allow list or a binding changes.
        """
        key = (conn, user, origin)
        if (known := self._origins.get(key)) is not None:
            return known
        if FQCN.validate(origin):  # not kept: what is no name may be long, and there are many
            return False
        if conn[0] == "up":
            answer = origin != self.fqcn and not tree_is_below(origin, self.fqcn, self.root)
        else:
            answer = self.acceptor.may_speak(conn, user, origin)
        if len(self._origins) > MOST_ORIGINS:
            self._origins.clear()
        self._origins[key] = answer
        return answer

    def forget_origins(self) -> None:
        """A binding or the allow list has changed: `may_come` must ask again."""
        self._origins.clear()

    def was_behind(self, target: str, gone: str) -> bool:
        """Whether messages to `target` went by the neighbour `gone`, which is no more."""
        if target == gone:
            return True
        if self.uplink is None or tree_is_below(gone, self.fqcn, self.root):
            return tree_is_below(target, gone, self.root)
        return self.hop_to(target) is None  # the parent is gone: all that has no other way
