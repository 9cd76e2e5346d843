"""Which filters see the data or the result of a task, and in which order.

A task's filters are found by its exact name and the direction; those of the site's owner come before those of the job,
as they stand first in the list. Source: reference "flare" 6.8.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from zmqfl.context.fl_context import FLContext
from zmqfl.context.keys import FLContextKey
from zmqfl.context.shareable import Shareable
from zmqfl.fl.filter import Filter

Direction = Literal["in", "out", "inout"]


@dataclass(frozen=True, slots=True)
class TaskFilters:
    """Filters, in their order, for tasks by their exact names."""

    tasks: tuple[str, ...]
    filters: tuple[Filter, ...]
    direction: Direction

    def concerns(self, task: str, direction: Direction) -> bool:
        """Whether they see what goes that way."""
        return task in self.tasks and self.direction in (direction, "inout")


class FilterChain:
    """See the module: the filters of one site, for data or for results."""

    def __init__(self, given: Iterable[TaskFilters], direction: Direction) -> None:
        self._given = tuple(given)
        self._direction = direction

    def filters_of(self, task: str) -> list[Filter]:
        """The filters of a task, in their order."""
        return [each for group in self._given if group.concerns(task, self._direction) for each in group.filters]

    def all_filters(self) -> list[Filter]:
        """Every filter, also those that only look the other way."""
        return [each for group in self._given for each in group.filters]

    def process(self, task: str, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Run what concerns a task. Raises what a filter raises, and TypeError when one returns no Shareable."""
        fl_ctx.put(FLContextKey.FILTER_DIRECTION, self._direction, private=True, sticky=False)
        for each in self.filters_of(task):
            found: object = each.process(shareable, fl_ctx)
            if not isinstance(found, Shareable):
                raise TypeError(f"filter {each.name} returned {type(found).__name__}, not a Shareable")
            shareable = found
        return shareable
