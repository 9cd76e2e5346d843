"""The table of `zmqfl.protocol.channels.news`."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.errors import CellReturnCode, DecodeError
from zmqfl.protocol.channels.carrier import PAUSE
from zmqfl.protocol.channels.news import News, Row
from zmqfl.protocol.commands import Ask, Outcome

OK = Outcome(CellReturnCode.OK)


class Side:
    """An end: what is so at each place, and what has arrived."""

    def __init__(self) -> None:
        self.state: dict[int, int] = {}
        self.told: list[Row] = []
        self.news = News("owner", "server", "channel", 9, lambda place: [place, self.state[place]], self.told.append)

    def set(self, place: int, value: int) -> None:
        self.state[place] = value
        self.news.tell(place)

    def pump(self, now: float = 0.0) -> dict[str, Any] | None:
        match self.news.pump(now):
            case [Ask(headers=headers, topic="news", repeatable=True)]:
                return headers
            case []:
                return None
        raise AssertionError


def test_the_latest_is_told_one_message_at_a_time() -> None:
    side = Side()
    assert side.pump() is None
    side.set(1, 10)
    side.set(2, 20)
    side.set(1, 11)
    assert side.pump() == {"s": 9, "v": 1, "x": [[1, 11], [2, 20]]}
    side.set(1, 12)
    side.set(1, 13)
    assert side.pump() is None
    assert side.news.answered(OK, 0.0) == ""
    assert side.told == [[1, 11], [2, 20]]
    assert side.pump() == {"s": 9, "v": 2, "x": [[1, 13]]}
    side.news.answered(OK, 0.0)
    assert side.news.is_idle


def test_what_is_not_taken_now_goes_again_as_it_was() -> None:
    side = Side()
    side.set(1, 10)
    first = side.pump()
    side.state[1] = 11
    side.news.answered(Outcome(CellReturnCode.SERVICE_UNAVAILABLE), 5.0)
    assert side.news.deadline == 5.0 + PAUSE
    assert side.pump(5.0) is None
    assert side.pump(5.0 + PAUSE) == first
    assert side.told == []


def test_what_cannot_be_taken() -> None:
    side = Side()
    side.set(1, 10)
    side.pump()
    assert side.news.answered(Outcome(CellReturnCode.COMM_ERROR, "gone"), 0.0) == "comm_error: gone"


def test_old_news_is_none() -> None:
    news = Side().news
    assert news.receive({"v": 2, "x": [[1, 5]]}) == [[1, 5]]
    assert news.receive({"v": 2, "x": [[1, 6]]}) == []
    assert news.receive({"v": 1, "x": [[1, 4]]}) == []
    assert repr(news) == "<News to server: 0 to tell, 0 under way>"


@pytest.mark.parametrize("headers", [{}, {"v": 1}, {"v": "1", "x": []}, {"v": 1, "x": [1]}, {"v": 1, "x": [[]]},
                                     {"v": 1, "x": [["a"]]}])  # fmt: skip
def test_chan_R32_news_that_is_none(headers: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        Side().news.receive(headers)
