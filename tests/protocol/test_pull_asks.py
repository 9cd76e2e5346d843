"""`zmqfl.protocol.pull_asks`; `test_pull_receiver` shows it at work. Pull 3 gets R1 of o; up keeps chunks."""

from __future__ import annotations

from typing import Any

from zmqfl.protocol.commands import Ask, Command
from zmqfl.protocol.pull_asks import MOST_DAMAGED, PullAsks
from zmqfl.protocol.pull_source import CHANNEL, DONE, FOREVER, GET, HAVE

ME = object()


def fresh(cache: str = "up") -> PullAsks:
    asks = PullAsks(ME, 3, "o", "R1")
    asks.cache, asks.fingerprint = cache, "F"
    return asks


def ask(tag: Any, target: str, topic: str, timeout: float, **more: Any) -> Ask:
    headers = {"r": "R1", "p": 3, "f": "F", **({"o": "o"} if target == "up" else {}), **more}
    return Ask(ME, tag, (target,), CHANNEL, topic, headers, 0, (), timeout, repeatable=topic != DONE)


def target(command: Command) -> str:
    assert isinstance(command, Ask)
    return command.targets[0]


def test_without_a_cache__the_owner() -> None:
    asks = fresh("")
    assert asks.get(7) == ask(7, "o", GET, FOREVER, i=7, w=[7], z=1)
    assert asks.have(9.0) == [ask("have", "o", HAVE, 9.0, w=[7])]
    assert asks.done("success", 9.0) == [ask("done", "o", DONE, 9.0, s="success")]
    assert not asks.waits_for_cache


def test_the_cache__with_the_owners_name__and_each_hears_what_it_has_to_send() -> None:
    asks = fresh()
    assert asks.get(1) == ask(1, "up", GET, FOREVER, i=1, w=[1], z=1)
    asks.cache = ""
    asks.get(2)
    assert asks.get(3) == ask(3, "o", GET, FOREVER, i=3, w=[2, 3], z=1)
    assert asks.have(9.0) == [ask("have", "up", HAVE, 9.0, w=[1]), ask("have", "o", HAVE, 9.0, w=[2, 3])]
    assert bool(asks.waits_for_cache)
    assert [asks.forget(1), asks.forget(2)] == [True, False]
    assert not asks.waits_for_cache
    assert asks.done("failed", 9.0) == [
        ask("done", "o", DONE, 9.0, s="failed"),
        ask("left", "up", DONE, 9.0, s="failed"),
    ]


def test_nobody_is_waited_for__nothing_to_say() -> None:
    asks = fresh()
    asks.get(1)
    asks.get(2)
    assert asks.take_back() == [1, 2]
    assert asks.have(9.0) == []


def test_a_damaged_chunk_is_asked_of_the_owner__after_some_all_are() -> None:
    asks = fresh()
    for index in range(MOST_DAMAGED):
        asks.damage(index)
    assert [target(asks.get(index)) for index in (0, 99)] == ["o", "up"]
    asks.damage(50)
    assert target(asks.get(98)) == "o"
