"""The table of `zmqfl.protocol.asks`."""

from __future__ import annotations

from tests.harness import CONFIG
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.asks import Asks
from zmqfl.protocol.commands import Ask, Finish, Outcome, Post, Unask
from zmqfl.protocol.requester import Requester
from zmqfl.wire.messages import Cancel, Request

ME = ("server", 7, 1)
FINE = Outcome(CellReturnCode.OK)


def asks_of_two() -> tuple[Asks, Requester, Ask]:
    requester = Requester(CONFIG, lambda: ME)
    asks = Asks(requester)
    ask = Ask("machine", "tag", ("a", "b"), "zmqfl.x", "t", {}, 0, (), 5.0)
    (post,) = asks.ask(3, ask, 0.0)
    assert isinstance(post, Post)
    assert isinstance(post.message, Request)
    assert (post.message.id, post.targets) == (3, ("a", "b"))
    return asks, requester, ask


def test_it_is_known_whose_it_is_until_the_last_target_has_ended() -> None:
    asks, _, ask = asks_of_two()
    assert asks.owner_of(3) == "machine"
    assert asks.owner_of(4) is None
    assert asks.finish(Finish(3, "a", FINE)) is ask
    assert 3 in asks
    assert asks.finish(Finish(3, "b", FINE)) is ask
    assert 3 not in asks
    assert repr(asks) == "<Asks 0 open>"


def test_unask_cancels_at_all_targets_and_forgets() -> None:
    asks, requester, _ = asks_of_two()
    assert asks.unask(Unask("another machine")) == []
    commands = asks.unask(Unask("machine"))
    assert [(type(c.message), c.targets) for c in commands if isinstance(c, Post)] == [
        (Cancel, ("a",)),
        (Cancel, ("b",)),
    ]
    assert len(asks) == requester.open == 0


def test_an_end_that_was_under_way_reaches_nobody_after_unask() -> None:
    asks, requester, _ = asks_of_two()
    requester.peer_gone(lambda name: name == "a", "gone", 1.0)  # its Finish is still to be handled
    asks.unask(Unask("machine"))
    assert 3 in asks
    assert asks.finish(Finish(3, "a", FINE)) is None
    assert 3 not in asks
