"""Where a message goes next: deterministic, by names alone, next hop only.

    1  the target is me                          here
    2  the target is a child of mine             that link
    3  the target stands below a child           the child with the longest name that is a prefix of the target
    4  the target is below me, or I am the root  unreachable: no detour
    5  otherwise                                 my parent

A message for several targets crosses each link once: `split` groups them by link. The loop guard is the list of
cells passed (`Packet.route`) and the number of hops left.
Source: reference "flare" 5.4 (ad-hoc links and transit marks do not exist here: a cell dials its parent only).
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from zmqfl.fqcn import FQCN, SEPARATOR


def next_hop(target: str, me: str, parent: str, children: Container[str]) -> str | None:
    """The neighbour to pass `target` on to: `me`, a child, `parent` ("" for the root), or None when unreachable."""
    if target == me:
        return me
    if target in children:
        return target
    prefix = target
    while prefix := prefix.rpartition(SEPARATOR)[0]:
        if prefix == me:
            return None
        if prefix in children:
            return prefix
    return parent or None


def split(targets: Iterable[str], me: str, parent: str, children: Container[str]) -> dict[str | None, list[str]]:
    """Targets by next hop; those under None have no route."""
    groups: dict[str | None, list[str]] = {}
    for target in targets:
        groups.setdefault(next_hop(target, me, parent, children), []).append(target)
    return groups


def may_accept(child: str, me: str, is_root: bool) -> bool:
    """Whether `child` is a cell that dials `me`: one segment below me, or of one segment if I am the root."""
    above = FQCN.get_parent(child)
    return child != me and (above == me or (is_root and above == ""))


def speaks_for(name: str, origin: str) -> bool:
    """Whether the holder of `name` may send messages of `origin`: its own, or of a cell below it."""
    return name == origin or FQCN.is_ancestor(name, origin)


def is_on_path(cell: str, me: str, target: str, root: str) -> bool:
    """Whether a message from `me` to `target` passes `cell`: only such a cell may say that it could not pass it on."""
    return cell in (root, me, target) or FQCN.is_ancestor(cell, me) or FQCN.is_ancestor(cell, target)
