from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.federation import Federation, start_zero_copy


@pytest.fixture(scope="session", autouse=True)
def _zero_copy() -> None:
    start_zero_copy()  # no test leaks what is there before it


@pytest.fixture
def federation() -> Iterator[Federation]:
    federation = Federation()
    yield federation
    federation.close()
