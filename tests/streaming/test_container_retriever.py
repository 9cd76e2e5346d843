"""Containers that are retrieved between real cells: the check lines R01, R02, R05, R06 of the reference "flare"."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import pytest

from tests.streaming.retrievers import Asking, start
from tests.streaming.sites import Sites
from tests.system.federation import LONG, Gate, until
from zmqfl import Message
from zmqfl.context.return_code import ReturnCode
from zmqfl.errors import ArgumentError
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.container_retriever import ContainerRetriever
from zmqfl.streaming.retriever_shelf import Shelf

OK, BAD = ReturnCode.OK, ReturnCode.BAD_REQUEST_DATA


@pytest.fixture(autouse=True)
def _empty_shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ContainerRetriever, "shelf", Shelf())


class Pair:
    """A retriever at the server, which asks, and one at site-1, which gives."""

    def __init__(self, sites: Sites, **options: Any) -> None:
        self.engine, self.other = sites.star(1)
        self.mine = start(self.engine, ContainerRetriever())
        self.theirs = start(self.other, ContainerRetriever(**options))

    def ask(self, name: Any = "model", timeout: float = LONG) -> Any:
        with self.engine.new_context() as fl_ctx:
            return self.mine.retrieve_container("site-1", fl_ctx, timeout, name)

    def why(self, name: Any = "model", taken: Any = None, timeout: float = LONG) -> Any:
        retrieved = self.mine.fetch("site-1", self.engine.new_context(), timeout, {"name": name}, taken)
        return retrieved.rc, retrieved.reason


@pytest.fixture
def models(sites: Sites) -> Pair:
    return Pair(sites)


def layers(count: int = 3, size: int = 1 << 18) -> dict[str, Any]:
    return {f"layer {n}": np.full(size, float(n)) for n in range(count)}


@pytest.mark.parametrize(
    ("asks", "gives"), [("site-2", "server"), ("server", "relay.site-1"), ("relay.site-1", "site-2")]
)
def test_ret_R01_every_direction(sites: Sites, asks: str, gives: str) -> None:
    engines = sites.tree()
    mine, theirs = (start(engines[name], ContainerRetriever()) for name in (asks, gives))
    theirs.add_container("model", layers())
    rc, model = mine.retrieve_container(gives, engines[asks].new_context(), LONG, "model")
    assert (rc, list(model)) == (OK, list(layers()))
    assert all(np.array_equal(model[key], value) for key, value in layers().items())
    assert all(value.flags.writeable for value in model.values())


@pytest.mark.parametrize(
    "container",
    [
        {}, [], set(), (), frozenset(), deque(), OrderedDict(), {"a": 1, 2: (3, None)}, [1, "two", [3]], {1, 2},
        (1, (2,)), frozenset("ab"), deque([1, 2], maxlen=5), OrderedDict(b=1, a=2), defaultdict(list, {"a": [1]}),
    ],
)  # fmt: skip
def test_every_type(models: Pair, container: Any) -> None:
    models.theirs.add_container("model", container)
    rc, found = models.ask()
    assert (rc, found, type(found)) == (OK, container, type(container))


def test_ret_R02_an_unknown_name(models: Pair) -> None:
    said = "no container is called 'model' there; `add_container` makes it known"
    assert models.why() == (BAD, said)
    for name in "", 3, None:
        assert models.why(name) == (BAD, "name must be the name of a container")
    assert models.ask() == (BAD, None)
    assert len(models.mine._retrievals) == 0


def test_class_and_instance(models: Pair) -> None:
    """The class's containers are those of all sites of the process; a site's own win."""
    ContainerRetriever.add_container("model", [1])
    assert models.ask() == (OK, [1])
    models.theirs.add_container("model", [2])
    models.mine.add_container("other", [3])
    assert models.ask() == (OK, [2])
    assert models.ask("other") == (BAD, None)
    assert models.theirs.remove_container("model") is True
    assert models.theirs.remove_container("model") is False
    assert models.ask() == (OK, [1])
    ContainerRetriever.add_container("model", [4])  # in the place of the one before
    assert models.ask() == (OK, [4])
    assert ContainerRetriever.remove_container("model") is True
    assert models.ask() == (BAD, None)


def test_subclasses(sites: Sites) -> None:
    class Models(ContainerRetriever):
        pass

    Models.add_container("model", [1])
    ContainerRetriever.add_container("base", [2])
    [server] = sites.star(0)
    ends = {}
    for retriever in start(server, Models()), start(server, ContainerRetriever()):
        for name in "model", "base":
            answer = retriever.retrieve_container("server", server.new_context(), LONG, name)
            ends[type(retriever).__name__, name] = answer
    assert ends == {
        ("Models", "model"): (OK, [1]), ("Models", "base"): (OK, [2]), ("ContainerRetriever", "base"): (OK, [2]),
        ("ContainerRetriever", "model"): (BAD, None),
    }  # fmt: skip


def test_the_same_container_to_many_at_once(sites: Sites) -> None:
    server, *clients = sites.star(3)
    start(server, ContainerRetriever())
    ContainerRetriever.add_container("model", layers())
    mine = [start(client, ContainerRetriever()) for client in clients]

    def ask(retriever: ContainerRetriever, engine: CellEngine) -> Any:
        return retriever.retrieve_container("server", engine.new_context(), LONG, "model")

    asking = [Asking(lambda pair=pair: ask(*pair)) for pair in zip(mine, clients, strict=True) for _ in range(3)]  # type: ignore[misc]
    for each in asking:
        rc, model = each.end()
        assert (rc, len(model)) == (OK, 3)


@pytest.mark.parametrize("how", ["in place", "replaced", "added", "removed"])
def test_a_container_that_changes_while_it_is_served(models: Pair, how: str) -> None:
    model = layers(6)
    models.theirs.add_container("model", model)
    taken: list[int] = []

    def change(size: int) -> None:
        taken.append(size)
        if len(taken) > 1:
            return
        match how:
            case "in place":
                model["layer 5"][7] = -1.0
            case "replaced":
                model["layer 5"] = np.zeros(9)
            case "added":
                model["layer 6"] = np.zeros(9)
            case "removed":
                del model["layer 5"]

    rc, reason = models.why(taken=change)
    assert rc == ReturnCode.EXECUTION_EXCEPTION
    assert "was changed while it was sent" in reason
    rc, _ = models.ask()
    assert rc == OK


def test_ret_R05_an_entry_that_cannot_travel(models: Pair) -> None:
    models.theirs.add_container("model", {"good": 1, "bad": threading.Lock()})
    rc, reason = models.why()
    assert rc == ReturnCode.EXECUTION_EXCEPTION
    assert "'bad'" in reason


def test_ret_R06_entry_timeout(sites: Sites) -> None:
    """The requester stands still for longer than a chunk may take."""
    models = Pair(sites, entry_timeout=1)
    models.theirs.add_container("model", layers())
    gate = Gate()
    asking = Asking(lambda: models.why(taken=lambda size: gate(Message(payload=size))))
    gate.wait_entered()
    until(lambda: models.theirs._service._wishes == {})  # it has given up, and told so
    gate.open()
    assert asking.end()[0] in (ReturnCode.ERROR, ReturnCode.TIMEOUT)
    assert models.theirs.entry_timeout == 1.0


@pytest.mark.parametrize("container", [np.zeros(3), "text", 3, None, {1: 2}.keys()])
def test_what_is_no_container(container: Any) -> None:
    with pytest.raises(ArgumentError):
        ContainerRetriever.add_container("model", container)
    with pytest.raises(ArgumentError):
        ContainerRetriever().add_container("model", container)


@pytest.mark.parametrize("options", [{"entry_timeout": 0}, {"entry_timeout": "5"}, {"topic": 3}])
def test_arguments(options: Any) -> None:
    with pytest.raises(ArgumentError, match=next(iter(options))):
        ContainerRetriever(**options)
