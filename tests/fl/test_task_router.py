"""Which executor does which task."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fl.runs import Work, echo
from zmqfl.errors import ArgumentError
from zmqfl.fl.task_router import TaskRouter

A, B, C = Work(echo), Work(echo), Work(echo)


def test_exact_names_come_before_patterns_and_these_in_their_order() -> None:
    router = TaskRouter([(["train*"], A), (["train", "test"], B), (["*"], C)])
    found = [router.find(name) for name in ("train", "test", "train_fast", "other", "te.st")]
    assert found == [B, B, A, C, C]
    assert set(router.executors()) == {A, B, C}


def test_only_a_star_makes_a_pattern() -> None:
    router = TaskRouter([(["t?st", "[ab]", "a.*c"], A)])
    found = [router.find(name) for name in ("t?st", "[ab]", "a.bc", "test", "a", "abc", "a.b")]
    assert found == [A, A, A, None, None, None, None]


@pytest.mark.parametrize(
    "executors",
    [[(["a"], A), (["a"], B)], [(["a*", "a*"], A)], [([3], A)], [([""], A)], [(["a"], "no executor")]],
)
def test_what_is_refused(executors: Any) -> None:
    with pytest.raises(ArgumentError):
        TaskRouter(executors)
