from __future__ import annotations

import inspect

import pytest

from zmqfl.errors import ArgumentError
from zmqfl.streaming.retriever_shelf import OnShelf, Shelf


def test_a_shelf_keeps_and_does_not_copy() -> None:
    shelf, model = Shelf(), {"a": 1}
    shelf.add("model", model)
    shelf.add("empty", [])
    assert shelf.find("model") is model
    assert shelf.find("empty") == []
    assert repr(shelf) == "<Shelf model, empty>"
    assert (shelf.remove("model"), shelf.remove("model"), shelf.find("model")) == (True, False, None)
    assert (shelf.remove("empty"), repr(shelf)) == (True, "<Shelf empty>")


@pytest.mark.parametrize(("name", "container"), [("", []), (3, []), ("x", 3), ("x", "text")])
def test_what_it_takes_not(name: str, container: object) -> None:
    with pytest.raises(ArgumentError):
        Shelf().add(name, container)


def test_a_method_of_class_and_instance() -> None:
    class Owner:
        shelf = Shelf()
        add = OnShelf(Shelf.add)

    owner = Owner()
    owner.shelf = Shelf()
    Owner.add("a", [1])
    owner.add("b", [2])
    assert (repr(Owner.shelf), repr(owner.shelf)) == ("<Shelf a>", "<Shelf b>")
    assert list(inspect.signature(Owner.add).parameters) == ["name", "container"]
    assert inspect.getattr_static(Owner, "add").__doc__ == Shelf.add.__doc__
