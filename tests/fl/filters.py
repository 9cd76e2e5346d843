"""Filters for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmqfl.context.fl_context import FLContext
from zmqfl.context.shareable import Shareable
from zmqfl.fl.filter import Filter


class Note(Filter):
    """Appends its word to `shareable["notes"]`, and does `then` after that."""

    def __init__(self, word: str, then: Callable[[Shareable, FLContext], Any] | None = None) -> None:
        self.word = word
        self.then = then

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Any:
        shareable["notes"] = [*shareable.get("notes", []), self.word]
        return shareable if self.then is None else self.then(shareable, fl_ctx)


def fail(shareable: Shareable, fl_ctx: FLContext) -> Any:
    raise ValueError("too private")
