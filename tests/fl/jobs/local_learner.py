"""A module as a researcher writes it: what a job of it needs is this file and the one that it imports."""

from __future__ import annotations

from typing import Any

from tests.fl.jobs import local_helper
from zmqfl.context.fl_component import FLComponent


class Net:
    def __init__(self, size: int, rate: float = 0.1) -> None:
        self.size, self.rate = size, rate


class Learner(FLComponent):
    def __init__(self, net: Any, epochs: int = 1, *, options: Any = None, **more: Any) -> None:
        self.trained = local_helper.NOTHING


class Forgetful:
    def __init__(self, size: int) -> None:
        pass


class Positional(FLComponent):
    def __init__(self, *sizes: int) -> None:
        pass
