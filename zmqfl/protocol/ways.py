"""What the pulls of a cell know of the tree around it: which neighbour is on the way, and whether it keeps chunks."""

from __future__ import annotations

from zmqfl.fqcn import FQCN, tree_is_below
from zmqfl.protocol.neighbours import Neighbours
from zmqfl.wire.messages import Feature


class Ways:
    """See the module; it is asked anew each time, as links change. `neighbours` None: nobody is around."""

    def __init__(self, neighbours: Neighbours | None = None) -> None:
        self._neighbours = neighbours

    def cache_for(self, owner: str) -> str:
        """The parent, when what `owner` offers comes by it and it keeps chunks on the way; else ""."""
        around = self._neighbours
        if around is None or not (parent := around.parent) or around.uplink is None:
            return ""
        caches = around.uplink.features & Feature.RELAY_CACHE
        return parent if caches and owner != parent and around.hop_to(owner) == parent else ""

    def is_child(self, name: str) -> bool:
        """Whether `name` dials this cell, so that all it gets passes here."""
        return self._neighbours is not None and name in self._neighbours.acceptor.children

    def passes_by(self, owner: str, child: str) -> bool:
        """Whether what `owner` offers comes to `child` by this cell, from another neighbour."""
        if self._neighbours is None or FQCN.validate(owner):
            return False
        return self._neighbours.hop_to(owner) not in (None, self._neighbours.fqcn, child)

    def speaks_for(self, asker: str, receiver: str) -> bool:
        """Whether `asker` is `receiver`, or above it in the tree, so that it sees all that it gets."""
        root = self._neighbours.root if self._neighbours is not None else ""
        return asker == receiver or tree_is_below(receiver, asker, root)
