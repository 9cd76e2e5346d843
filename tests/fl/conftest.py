from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fl.runs import Run
from tests.system.federation import start_zero_copy


@pytest.fixture(scope="session", autouse=True)
def _zero_copy() -> None:
    start_zero_copy()  # no test leaks what is there before it


@pytest.fixture
def run_of() -> Iterator[Callable[..., Run]]:
    """Makes runs, and ends them."""
    runs: list[Run] = []

    def make(count: int = 1, **options: Any) -> Run:
        runs.append(Run(count, **options))
        return runs[-1]

    yield make
    for run in runs:
        run.close()
