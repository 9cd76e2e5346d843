"""Names for containers that others may retrieve: of one retriever, or of all retrievers of a class in this process.

ContainerRetriever.add_container("model", model)   for all sites of this process
retriever.add_container("model", model)            for this one's site only; its name wins over that of the class
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmqfl.cell.containers import check_container
from zmqfl.cell.registry import check_name


class Shelf:
    """Containers by name. They are kept, not copied. Any thread may use it."""

    def __init__(self) -> None:
        self._by_name: dict[str, Any] = {}

    def add(self, name: str, container: Any) -> None:
        """Let other sites retrieve a container by this name, in the place of another one that has it.

        It may be a dict, list, set, tuple, frozenset, OrderedDict, deque or defaultdict, and empty. Leave it and what
        is in it alone while somebody retrieves it: that fails, and nobody gets a mix. To change it, add a new one.
        Raises `ArgumentError` for a name that is no str or is empty, and for what is no such container.
        """
        check_container(container)
        self._by_name[check_name(name, "name")] = container

    def remove(self, name: str) -> bool:
        """Let nobody retrieve it any more; those who do already get it. Whether there was one."""
        return self._by_name.pop(name, None) is not None

    def find(self, name: str) -> Any:
        """The container of this name; None when there is none."""
        return self._by_name.get(name)

    def __repr__(self) -> str:
        return f"<Shelf {', '.join(self._by_name) or 'empty'}>"


class OnShelf:
    """A method of `Shelf` as one of the class and of each instance: each has a `shelf` of its own."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: Any, owner: Any) -> Callable[..., Any]:
        bound: Callable[..., Any] = self._method.__get__((owner if instance is None else instance).shelf)
        return bound
