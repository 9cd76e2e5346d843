"""Containers as groups of entries, and back."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from typing import Any

import numpy as np
import pytest

from tests.wire.values import assert_same
from zmqfl.cell.containers import (
    GROUP,
    MAXLEN_KEY,
    SIZE_KEY,
    TYPE_KEY,
    VALUE,
    Building,
    check_container,
    encode_group,
    facts_of,
    groups_of,
)
from zmqfl.errors import ArgumentError, DecodeError, EncodeError, SourceChangedError

Pair = namedtuple("Pair", "a b")


def rebuilt(value: Any) -> Any:
    building = Building(facts_of(value), values=True)
    for group, _ in groups_of(value):
        building.add(group)
    return building.finish(building.size)


@pytest.mark.parametrize(
    "container",
    [
        {},
        {"a": 1, (1, 2): [3], None: np.arange(3)},
        OrderedDict([("b", 1), ("a", [2])]),
        [],
        [1, [2], None, "x" * 1000],
        (),
        (1, [2]),
        set(),
        {1, (2, 3), "a"},
        frozenset({1, (2,)}),
        deque(),
        deque([1, [2]], maxlen=2),
        deque([1], maxlen=9),
        [*range(3 * GROUP + 7)],
        {number: str(number) for number in range(2 * GROUP)},
    ],
    ids=lambda container: f"{type(container).__name__}-{len(container)}",
)
def test_what_goes_in_comes_out(container: Any) -> None:
    got = rebuilt(container)
    assert type(got) is type(container)
    assert list(map(repr, got)) == list(map(repr, container))
    assert getattr(got, "maxlen", None) == getattr(container, "maxlen", None)
    if isinstance(container, dict):
        assert_same(dict(got), dict(container))


def test_a_defaultdict_comes_out_without_its_factory() -> None:
    got = rebuilt(defaultdict(list, a=[1]))
    assert (type(got), got, got.default_factory) == (defaultdict, {"a": [1]}, None)


@pytest.mark.parametrize("value", [None, 3, "text", b"x", np.arange(4), 1.5])
def test_a_value_goes_as_one_entry(value: Any) -> None:
    assert facts_of(value) == {TYPE_KEY: VALUE, SIZE_KEY: 1}
    assert_same(rebuilt(value), value)


def test_small_entries_go_together_and_others_alone() -> None:
    array = np.arange(3)
    assert [*groups_of([1, "a", array, 2, "x" * 300, 3])] == [
        ([1, "a"], 0), ([array], 2), ([2], 3), (["x" * 300], 4), ([3], 5),
    ]  # fmt: skip
    assert [*groups_of({"a": 1, "b": 2, "w": array, "c": 3})] == [
        (["a", 1, "b", 2], 0), (["w", array], 2), (["c", 3], 3),
    ]  # fmt: skip
    assert [(len(group), done) for group, done in groups_of([0] * (GROUP + 1))] == [(GROUP, 0), (1, GROUP)]
    pairs = dict.fromkeys(range(GROUP), 0)
    assert [(len(group), done) for group, done in groups_of(pairs)] == [(GROUP, 0), (GROUP, GROUP // 2)]


class Model(OrderedDict[str, int]):
    pass


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Model(), "test_containers.Model would arrive as OrderedDict; convert it to one first"),
        (Pair(1, 2), "Pair would arrive as tuple"),
        (np.zeros(2), "numpy.ndarray is no container .*; put it into a list or a dict"),
        ("abc", "builtins.str is no container .*; convert it to one"),
        (bytearray(2), "builtins.bytearray is no container"),
        (range(3), "builtins.range is no container"),
        (iter([1]), "list_iterator is no container"),
        (None, "NoneType is no container"),
    ],
)
def test_what_is_no_container_is_named(wrong: Any, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        check_container(wrong)


def test_an_entry_that_cannot_travel_is_named() -> None:
    bad = object()
    with pytest.raises(EncodeError, match=r"^entry 'w' of the dict cannot be sent: payload\[1\]\[3\]: builtins.object"):
        encode_group({"w": 1}, ["w", [1, 2, 3, bad]], 5)
    with pytest.raises(EncodeError, match=r"^entry 5 of the list cannot be sent: payload\[0\]: builtins.object"):
        encode_group([], [bad], 5)
    with pytest.raises(EncodeError, match=r"^an entry of the list after 5 others cannot be sent"):
        encode_group([], [1, 1 << (1 << 24)], 5)
    with pytest.raises(EncodeError, match=r"^the value cannot be sent: payload\[0\]: builtins.object"):
        encode_group(bad, [bad], 0)


@pytest.mark.parametrize("container", [{1: [], 2: [], 3: []}, {1, (2,), (3,)}, deque([[], [], []]), [[], [], []]])
@pytest.mark.parametrize("when", [0, 1, 2])
@pytest.mark.parametrize("change", ["more", "fewer"])
def test_a_container_that_changes_is_an_error(container: Any, when: int, change: str) -> None:
    container = container.copy()
    groups = groups_of(container)
    for _ in range(when + 1):
        next(groups)
    if change == "fewer":
        container.pop() if not isinstance(container, dict) else container.popitem()
    elif isinstance(container, dict):
        container[9] = 9
    else:
        container.add(9) if isinstance(container, set) else container.append(9)
    with pytest.raises(SourceChangedError, match=r"was changed while it was sent: .*leave it alone"):
        list(groups)


# -- hostile -----------------------------------------------------------------------------------------------------------


FORGED = ["threading.Thread", "os.system", "builtins.dict", "value", "", None, 3, ["dict"], b"dict"]


@pytest.mark.parametrize("name", FORGED)
def test_push_P20_a_type_that_is_not_in_the_table(name: Any) -> None:
    with pytest.raises(DecodeError, match=r"container of type .*; accepted are dict, OrderedDict"):
        Building({TYPE_KEY: name, SIZE_KEY: 1})


@pytest.mark.parametrize("size", [-1, None, True, 1.0, "1"])
def test_a_size_that_is_none(size: Any) -> None:
    with pytest.raises(DecodeError, match=r"container of .* entries"):
        Building({TYPE_KEY: "list", SIZE_KEY: size})
    with pytest.raises(DecodeError, match=r"container of .* entries"):
        Building({TYPE_KEY: VALUE, SIZE_KEY: 2}, values=True)


@pytest.mark.parametrize("maxlen", [-1, 2, True, 1.5, "3", 1 << 62])
def test_a_maxlen_that_cannot_be(maxlen: Any) -> None:
    with pytest.raises(DecodeError, match="deque of 3 entries, at most"):
        Building({TYPE_KEY: "deque", SIZE_KEY: 3, MAXLEN_KEY: maxlen})


@pytest.mark.parametrize(
    ("name", "size", "groups", "problem"),
    [
        ("dict", 2, [{"a": 1}], "given as dict"),
        ("dict", 2, [["a"]], "given as list"),
        ("dict", 2, [[]], "given as list"),
        ("list", 2, [(1, 2)], "given as tuple"),
        ("list", 2, [None], "given as NoneType"),
        ("list", 1, [[1, 2]], "list of 1 entries got 2"),
        ("dict", 1, [["a", 1], ["b", 2]], "dict of 1 entries got 2"),
        ("dict", 2, [["a", 1], ["a", 2]], "dict with a key twice"),
        ("dict", 1, [[[], 1]], "dict with a key that cannot be one"),
        ("OrderedDict", 1, [[{}, 1]], "OrderedDict with a key that cannot be one"),
        ("set", 2, [[1, 1]], "set with an element twice"),
        ("frozenset", 1, [[[]]], "frozenset with an element that cannot be one"),
        ("list", 3, [[1, 2]], "list of 3 entries ended after 2"),
        ("dict", 3, [], "dict of 3 entries ended after 0"),
    ],
)
def test_entries_that_cannot_be(name: str, size: int, groups: list[Any], problem: str) -> None:
    def build() -> None:
        building = Building({TYPE_KEY: name, SIZE_KEY: size})
        for group in groups:
            building.add(group)
        building.finish(size)

    with pytest.raises(DecodeError, match=problem):
        build()


@pytest.mark.parametrize("count", [0, 2, None, "1", 1 << 80])
def test_another_count_than_announced(count: Any) -> None:
    building = Building({TYPE_KEY: "list", SIZE_KEY: 1})
    building.add([1])
    with pytest.raises(DecodeError, match="list of 1 entries ended after 1, said to be"):
        building.finish(count)
