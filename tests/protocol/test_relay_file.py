"""The table of `zmqfl.protocol.relay_file`, a test per row. File -1 is R1 of o, ten chunks of 10 bytes."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from zmqfl.errors import CellReturnCode
from zmqfl.protocol.chunk_store import OVERHEAD
from zmqfl.protocol.commands import Ask, Call, Command, Outcome
from zmqfl.protocol.pull_grid import Grid
from zmqfl.protocol.pull_source import CHANNEL, FOREVER, GET, GRANT, HAVE
from zmqfl.protocol.pull_window import FIRST_WINDOW
from zmqfl.protocol.relay_file import MOST_LOST, RelayFile, receiver_of, unpacks
from zmqfl.protocol.relay_grants import FRESH

OK, BUSY, COMM, INVALID = (
    CellReturnCode.OK, CellReturnCode.SERVICE_UNAVAILABLE, CellReturnCode.COMM_ERROR, CellReturnCode.INVALID_REQUEST
)  # fmt: skip
AT, PAUSE = 100.0, 2.0
KEY = ("o", "R1", "F")
MANY = 1 << 20
numbers = count(1)


def fresh(count: int = 10) -> RelayFile:
    return RelayFile(-1, KEY, "a", PAUSE, AT, Grid(10 * count, 10, "F", "model.pt"))


def call(index: int, origin: str = "a", **headers: Any) -> Call:
    headers = {"r": "R1", "i": index, "z": 1, **headers}
    return Call(origin, 1, next(numbers), CHANNEL, GET, 0, headers, (), 10.0, True)


def get(file: RelayFile, index: int, *waits_for: int, by: str = "", u: str = "a", z: int = 1) -> Ask:
    to_cache = {"o": "o"} if by else {}
    headers = {"r": "R1", "p": -1, "f": "F", "w": [*waits_for, index], **to_cache, "i": index, "u": u, "z": z}
    return Ask(file, index, (by or "o",), CHANNEL, GET, headers, 0, (), FOREVER, repeatable=True)


def have(file: RelayFile, *waits_for: int, by: str = "", u: str = "a") -> Ask:
    to_cache = {"o": "o"} if by else {}
    headers = {"r": "R1", "p": -1, "f": "F", "w": [*waits_for], **to_cache, "u": u}
    return Ask(file, HAVE, (by or "o",), CHANNEL, HAVE, headers, 0, (), FRESH, repeatable=True)


def fetch(file: RelayFile, now: float = AT, *, cache: str = "", room: bool = True, most: int = MANY) -> list[Command]:
    return file.fetch(cache, lambda size: room, most, now)


def fetching(*indices: int, cache: str = "") -> RelayFile:
    file = fresh()
    for index in indices:
        file.want(index, call(index))
    fetch(file, cache=cache)
    return file


def test_grants_are_asked_of_the_owner() -> None:
    file = fresh()
    headers = {"r": "R1", "u": ["a", "b"]}
    asked = Ask(file, ("a", "a", "b"), ("o",), CHANNEL, GRANT, headers, 0, (), FRESH, repeatable=True)
    assert file.ask_grant(["a", "b"], "a") == asked
    assert file.asking == {"a": 1}


def test_wanted__get__in_the_name_of_who_wanted_it_first() -> None:
    file, first, second = fresh(), call(4), call(4, "b")
    assert [file.want(4, first), file.want(4, second), file.want(7, call(7, "b", u="b.c", z=0))] == [True, False, True]
    assert fetch(file) == [get(file, 4), get(file, 7, 4, u="b.c", z=0)]
    assert not file.want(4, call(4, "c")), "it is asked for already"
    assert fetch(file) == []
    assert file.take(4)[:2] == [first, second]


def test_asked_of_the_cache_above() -> None:
    file = fresh()
    file.want(0, call(0))
    assert fetch(file, cache="up") == [get(file, 0, by="up")]


def test_no_room__or_enough_under_way__later() -> None:
    file = fresh()
    for index in range(10):
        file.want(index, call(index))
    assert fetch(file, room=False) == []
    assert len(fetch(file, most=3 * (10 + OVERHEAD) - 1)) == 2
    assert len(fetch(file)) == FIRST_WINDOW - 2
    assert len(file.wanted) == 2


def test_one_chunk_in_any_case() -> None:
    file = fresh()
    file.want(0, call(0))
    assert len(fetch(file, most=1)) == 1


def test_what_nobody_waits_for_any_more_is_not_asked_for() -> None:
    file, given_up = fresh(), call(0)
    file.want(0, given_up)
    given_up.revoked = True
    assert fetch(file) == []
    assert (file.wanted, file.waiting) == ({}, {})


def test_it_came__have__unless_a_get_follows() -> None:
    file = fetching(0, 1)
    assert file.came(0, 10, AT + 1) == [have(file, 1)]
    assert (file.fetched, file.progress) == (10, AT + 1)
    assert file.came(1, 10, AT + 1) == []
    file = fetching(*range(FIRST_WINDOW + 1))
    assert file.came(0, 10, AT) == []


def test_a_part_of_it_came__or_came_to_the_cache_above() -> None:
    file = fetching(0, cache="up")
    file.moved(AT + 1)
    assert file.progress == AT + 1
    assert file.is_due(AT + 1 + PAUSE) == (False, [have(file, 0, by="up")])
    file.told(Outcome(OK, headers={"m": 1}), AT + 4)
    assert file.progress == AT + 4
    assert file.deadline == AT + 4 + PAUSE
    for silent in (Outcome(OK), Outcome(COMM, headers={"m": 1})):
        file.is_due(AT + 10)
        file.told(silent, AT + 10)
        assert file.progress == AT + 4


def test_the_cache_above_does_not_give_it__the_owner_is_asked_for_all_that_follow() -> None:
    file = fetching(0, 1, cache="up")
    assert file.failed(0, Outcome(BUSY), AT)
    assert fetch(file, cache="up") == [get(file, 0)]
    assert file.is_due(AT + PAUSE)[1] == [have(file, 1, by="up"), have(file, 0)]
    file.want(2, call(2))
    assert fetch(file, cache="up") == [get(file, 2, 0)]


@pytest.mark.parametrize("code", [BUSY, COMM, CellReturnCode.TIMEOUT])
def test_the_owner_does_not_and_it_may_be_lost__again_after_a_pause__a_few_times(code: CellReturnCode) -> None:
    file, now = fetching(0, 1), AT
    for _ in range(MOST_LOST):
        assert [file.failed(index, Outcome(code), now) for index in (0, 1)] == [True, True]
        assert fetch(file, now) == []
        assert file.deadline == now + PAUSE
        now += PAUSE
        assert file.is_due(now) == (True, [])
        assert fetch(file, now) == [get(file, 1), get(file, 0, 1)]
    assert not file.failed(1, Outcome(code), now)


@pytest.mark.parametrize("code", [INVALID, CellReturnCode.PROCESS_EXCEPTION, OK])
def test_the_owner_does_not__it_is_given_up(code: CellReturnCode) -> None:
    assert not fetching(0).failed(0, Outcome(code), AT)


def test_those_who_may_not_have_it_any_more_wait_no_longer() -> None:
    file = fresh()
    bad, good, asked = call(0, "b"), call(0), call(5, "b")
    file.want(5, asked)
    fetch(file)
    for each in (bad, good):
        file.want(0, each)
    file.want(1, other := call(1, "b"))
    assert file.refuse(["b"]) == [asked, bad, other]
    assert (file.waiting, file.wanted) == ({5: [], 0: [good]}, {0: None})
    assert file.failed(5, Outcome(BUSY), AT)
    assert 5 not in file.wanted


def test_for_whom_a_call_asks__and_what_it_can_read() -> None:
    assert [receiver_of(call(0)), receiver_of(call(0, u="a.b")), receiver_of(call(0, u=7))] == ["a", "a.b", ""]
    assert [unpacks(call(0)), unpacks(call(0, z=0))] == [True, False]
    assert repr(fetching(0)) == "<RelayFile -1 of o, 1 asked, 0 wanted>"
