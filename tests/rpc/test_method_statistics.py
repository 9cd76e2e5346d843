from __future__ import annotations

import pytest

from zmqfl.errors import DecodeError
from zmqfl.rpc.method_statistics import MOST, OTHERS, MethodStatistics, StatisticsTable


def test_what_is_counted() -> None:
    table = StatisticsTable()
    for _ in range(4):
        table.begin("add")
    table.end("add", 0.5)
    table.end("add", 1.5, "ValueError: x")
    table.end("add", 1.0, "CancelledError: ", cancelled=True)
    found = table.snapshot()["add"]
    assert found == MethodStatistics(4, 1, 1, 1, 3.0, 1.5, "ValueError: x")
    assert found.average == 1.0
    assert MethodStatistics().average == 0.0
    assert MethodStatistics.from_dict(found.to_dict()) == found
    table.end("add", 0.0)
    assert found.running == 1  # a snapshot


def test_the_table_has_an_end() -> None:
    table = StatisticsTable()
    for number in range(MOST + 5):
        table.begin(str(number))
        table.end(str(number), 0.0)
    found = table.snapshot()
    assert len(found) == MOST + 1
    assert (found[OTHERS].calls, found[OTHERS].running) == (5, 0)


@pytest.mark.parametrize("figures", [{}, None, {"calls": 1}])
def test_what_is_no_statistics(figures: object) -> None:
    with pytest.raises(DecodeError):
        MethodStatistics.from_dict(figures)  # type: ignore[arg-type]
