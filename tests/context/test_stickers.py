from __future__ import annotations

from zmqfl.context.stickers import Prop, Stickers


def public(value: object) -> Prop:
    return Prop(value, private=False, sticky=True)


def test_attributes_of_a_prop() -> None:
    prop = Prop(1, private=True, sticky=False)
    assert prop.attributes == "private, non-sticky"
    assert public(1).attributes == "public, sticky"
    assert prop.is_alike(Prop(2, private=True, sticky=False))
    assert not prop.is_alike(public(1))


def test_a_name_in_both_is_private() -> None:
    stickers = Stickers({"a": 1, "b": 2}, {"b": 3})
    assert {key: (prop.value, prop.private) for key, prop in stickers.snapshot().items()} == {
        "a": (1, False), "b": (3, True),
    }  # fmt: skip
    assert len(stickers) == 2
    assert repr(stickers) == "<Stickers a, b>"
    assert repr(Stickers({}, {})) == "<Stickers none>"


def test_write_refuses_another_visibility() -> None:
    stickers = Stickers({"a": 1}, {"b": 2})
    assert stickers.write({"a": public(10), "b": public(20), "c": public(30)}) == ["b"]
    assert {key: prop.value for key, prop in stickers.snapshot().items()} == {"a": 10, "b": 2, "c": 30}


def test_find_and_remove() -> None:
    stickers = Stickers({"a": 1}, {})
    found = stickers.find("a")
    assert found is not None
    assert found.value == 1
    assert stickers.find("b") is None
    assert (stickers.remove("a"), stickers.remove("a")) == (True, False)
    assert stickers.find("a") is None


def test_old_values_may_look_here_when_they_go() -> None:
    seen: list[int] = []

    class Last:
        def __del__(self) -> None:
            seen.append(len(stickers.snapshot()))

    stickers = Stickers({"a": Last()}, {})
    stickers.write({"a": public(1), "b": public(Last())})
    stickers.remove("b")
    assert seen == [2, 1]
