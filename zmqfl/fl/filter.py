"""What may look at, and change, the data of tasks and their results on their way. Source: reference "flare" 6.8."""

from __future__ import annotations

from abc import ABC, abstractmethod

from zmqfl.context.fl_component import FLComponent
from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable


class Filter(FLComponent, ABC):
    """Base of filters; they run one after another, each given what the one before returned."""

    @abstractmethod
    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """What goes on in the place of `shareable`; it may be the same object, changed.

        What is raised here, or returned and is no Shareable, fails the task at this client, and no other.
        """
