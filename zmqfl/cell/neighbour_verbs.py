"""What a cell knows of its neighbours, and of the way to the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zmqfl.protocol.commands import Command

if TYPE_CHECKING:
    from zmqfl.cell.peers import PeerCallbacks
    from zmqfl.protocol.node import Node


class NeighbourVerbs:
    """Mixed into `Cell`."""

    if TYPE_CHECKING:
        _node: Node
        _peers: PeerCallbacks

        def _submit(self, action: Callable[[float], list[Command]]) -> None: ...

    def set_cell_connected_cb(self, cb: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call `cb(CellAgent, *args, **kwargs)` when a neighbour is connected, and again after a break."""
        self._peers.on_connected = (cb, args, kwargs)

    def set_cell_disconnected_cb(self, cb: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call `cb(CellAgent, *args, **kwargs)` when the connection to a neighbour is lost or has ended."""
        self._peers.on_disconnected = (cb, args, kwargs)

    def is_cell_connected(self, fqcn: str) -> bool:
        """Whether `fqcn` is a neighbour with a working connection."""
        return (link := self._node.neighbours.link_of(fqcn)) is not None and link.connected

    def is_cell_reachable(self, fqcn: str) -> bool:
        """Whether a message to `fqcn` could leave this cell now."""
        return not self._node.neighbours.obstacle(fqcn)

    def is_backbone_ready(self) -> bool:
        """Whether the parent has bound this cell; a root always is."""
        return self._node.neighbours.is_bound

    def child_exited(self, fqcn: str, instance: int | None = None, restarts: bool = False) -> None:
        """A launcher saw the process of a child end: whatever waits for it fails now and not after `dead_after`.

        `instance`: which start of it has ended; nothing happens when another one is bound by now. None: whichever is.
        `restarts`: it will start again, so only what was asked of itself fails, and what stands behind it waits.
        """

        def act(now: float) -> list[Command]:
            link = self._node.neighbours.link_of(fqcn)
            if link is None or (instance is not None and link.instance != instance):
                return []
            return self._node.child_exited(fqcn, now, restarts)

        self._submit(act)

    @property
    def root(self) -> str:
        """The name of the root; "" until a parent has told it."""
        return self._node.neighbours.root

    @property
    def parent(self) -> str:
        """The name of the parent; "" for the root, or while no parent has bound this cell."""
        return self._node.neighbours.parent

    def hop_to(self, fqcn: str) -> str:
        """The neighbour on the way to `fqcn`; "" when there is no way."""
        return self._node.neighbours.hop_to(fqcn) or ""

    @property
    def refusal(self) -> str:
        """Why the parent does not bind this cell; "" when it does, or has not answered."""
        return self._node.uplink.refusal if self._node.uplink is not None else ""
