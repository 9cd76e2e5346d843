from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.streaming.sites import Sites
from tests.system.federation import start_zero_copy


@pytest.fixture(scope="session", autouse=True)
def _zero_copy() -> None:
    start_zero_copy()  # no test leaks what is there before it


@pytest.fixture
def sites() -> Iterator[Sites]:
    sites = Sites()
    yield sites
    sites.close()
    gc.collect()
