from __future__ import annotations

import threading
from typing import Any

import pytest

from zmqfl.cell.registry import Registry, check_name
from zmqfl.errors import ArgumentError, UsageError


@pytest.fixture
def registry() -> Registry[str]:
    return Registry()


def test_find_gives_the_most_specific(registry: Registry[str]) -> None:
    assert registry.find("task", "get") is None
    registry.set("*", "*", "any")
    assert registry.find("task", "get") == "any"
    registry.set("task", "*", "any task")
    assert registry.find("task", "get") == "any task"
    registry.set("task", "get", "get task")
    assert registry.find("task", "get") == "get task"
    assert registry.find("task", "put") == "any task"
    assert registry.find("admin", "get") == "any"


def test_to_register_again_replaces(registry: Registry[str]) -> None:
    registry.set("task", "get", "old")
    registry.set("task", "get", "new")
    assert registry.find("task", "get") == "new"
    assert registry.matching("task", "get") == ["new"]


def test_cell_N12_a_filter_on_one_topic_does_not_switch_off_the_wildcard_filter(registry: Registry[str]) -> None:
    registry.append("server", "register", "exact")
    registry.append("server", "*", "channel")
    registry.append("*", "*", "authenticate")
    registry.append("*", "*", "audit")
    registry.append("server", "register", "exact 2")
    assert registry.matching("server", "register") == ["authenticate", "audit", "channel", "exact", "exact 2"]
    assert registry.matching("server", "quit") == ["authenticate", "audit", "channel"]
    assert registry.matching("task", "register") == ["authenticate", "audit"]


def test_a_message_called_like_a_wildcard_meets_each_filter_once(registry: Registry[str]) -> None:
    registry.append("*", "*", "all")
    registry.append("a", "*", "a")
    assert registry.matching("*", "*") == ["all"]
    assert registry.matching("a", "*") == ["all", "a"]


def test_nothing_matches_in_an_empty_registry(registry: Registry[str]) -> None:
    assert registry.matching("a", "b") == []
    assert repr(registry) == "<Registry empty>"


def test_repr_names_what_is_registered(registry: Registry[str]) -> None:
    registry.set("a", "b", "x")
    registry.set("*", "*", "y")
    assert repr(registry) == "<Registry a:b, *:*>"


@pytest.mark.parametrize(
    ("channel", "topic", "problem"),
    [
        (1, "t", "channel must be a str, not int"),
        ("c", None, "topic must be a str, not NoneType"),
        ("", "t", "channel is empty; give a name"),
        ("c", "", "topic is empty; give a name"),
        ("*", "t", "goes with topic '\\*' only, not with 't'; name the channel"),
    ],
)
@pytest.mark.parametrize("verb", ["set", "append"])
def test_arguments_are_checked(registry: Registry[str], verb: str, channel: Any, topic: Any, problem: str) -> None:
    with pytest.raises(ArgumentError, match=problem) as caught:
        getattr(registry, verb)(channel, topic, "x")
    assert isinstance(caught.value, UsageError)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_check_name_returns_the_name() -> None:
    assert check_name("task", "channel") == "task"


def test_no_registration_is_lost_between_threads() -> None:
    registry: Registry[int] = Registry()
    start = threading.Barrier(4)

    def register(first: int) -> None:
        start.wait()
        for number in range(first, 200, 4):
            registry.append("c", "t", number)
            assert number in registry.matching("c", "t")

    threads = [threading.Thread(target=register, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(registry.matching("c", "t")) == list(range(200))
