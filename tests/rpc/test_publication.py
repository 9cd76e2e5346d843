from __future__ import annotations

import pytest

from tests.rpc.published import Calculator, Trigonometry
from zmqfl.errors import ArgumentError, NoSuchMethod
from zmqfl.rpc.publication import DEEPEST, Publication, is_stream


def publication(target: object) -> Publication:
    return Publication(target, "", None, None)


def test_chan_R24_what_is_found() -> None:
    calculator = Calculator()
    published = publication(calculator)
    assert [path for path, _ in published.methods()] == [
        "acount", "add", "anything", "count", "divide", "keyword", "later", "made.name", "my_echo", "none",
        "trig.half", "who",
    ]  # fmt: skip
    method, description = published.find("trig.half")
    assert method(3) == 1.5
    assert str(description) == "trig.half(x: float) -> float"
    assert repr(published) == "<Publication '' Calculator, 12 methods>"


def test_a_class_is_made_once_and_when_it_is_needed() -> None:
    made = []

    class Outer:
        class rpc_part:  # noqa: N801
            def __init__(self) -> None:
                made.append(self)

            def rpc_self(self) -> object:
                return self

    published = publication(Outer())
    assert not made or len(made) == 1
    assert published.find("part.self")[0]() is published.find("part.self")[0]()
    assert len(made) == 1


def test_a_part_that_leads_back_is_walked_once_and_called_as_deep_as_may_be() -> None:
    class Circle:
        def __init__(self) -> None:
            self.rpc_again = self

        def rpc_here(self) -> int:
            return 1

    published = publication(Circle())
    assert [path for path, _ in published.methods()] == ["here"]
    assert published.find("again." * DEEPEST + "here")[0]() == 1
    with pytest.raises(NoSuchMethod):
        published.find("again." * (DEEPEST + 1) + "here")


@pytest.mark.parametrize("path", ["", ".", "add.", ".add", "trig", "made", "version", "secret", "add.__call__", "x"])
def test_chan_R24_what_is_not_found(path: str) -> None:
    with pytest.raises(NoSuchMethod, match="no method "):
        publication(Calculator()).find(path)


def test_a_method_that_is_replaced_is_described_anew() -> None:
    calculator = Calculator()
    published = publication(calculator)
    published.find("add")
    calculator.rpc_add = lambda x: x  # type: ignore[assignment,method-assign,misc]
    assert str(published.find("add")[1]) == "add(x)"


def test_signatures_of_methods_that_are_made_anew_do_not_pile_up() -> None:
    class Anew:
        def __getattr__(self, name: str) -> object:
            return lambda x: x

    published = publication(Anew())
    for _ in range(2500):
        published.find("any")
    assert len(published._described) <= 1000


def test_only_what_a_caller_may_call_is_described() -> None:
    published = Publication(Calculator(), "", {"a*": "site-1"}, None)
    assert [each.path for each in published.describe("site-1")] == ["acount", "add", "anything"]
    assert published.describe("site-2") == []


@pytest.mark.parametrize("target", [3, "text", [1], None])
def test_what_can_have_no_methods_is_refused(target: object) -> None:
    with pytest.raises(ArgumentError, match="has no method whose name begins with 'rpc_'"):
        publication(target)


def test_streams() -> None:
    assert is_stream(Calculator().rpc_count(1))
    assert is_stream(Calculator().rpc_acount(1))
    assert not is_stream(iter([1]))
    assert publication(Trigonometry()).find("half")
