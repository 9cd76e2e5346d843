"""Whatever comes on the channels of channels is answered, and never breaks a cell (reference R32, R33)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.channels.test_items import JSON
from tests.wire.values import bounded
from zmqfl.errors import CellReturnCode
from zmqfl.protocol.channels.bond import TO_BROKER, TO_CLIENT
from zmqfl.protocol.channels.channels import Channels
from zmqfl.protocol.commands import Answer, Call, Outcome

TOPICS = [
    "create", "read", "write", "unread", "unwrite", "delete", "list", "info", "clients", "items", "news", "attend",
    "prove", "other",
]  # fmt: skip
FIELDS = [*"snvxkzwcibqp", "name", "last", "last_size", "lifetime", "row", "why"]
GOOD: dict[str, Any] = {
    "s": 7, "n": 1, "v": 1, "x": [], "c": "c", "i": 1, "b": ["ring", 5, 1000, 1, False, None], "name": "c", "last": 1,
    "last_size": 100, "row": [1, 0, 5],
}  # fmt: skip
HEADERS = st.builds(
    lambda kept, other: {**{key: GOOD[key] for key in kept}, **other},
    st.lists(st.sampled_from(sorted(GOOD)), max_size=12),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3),
)


def call(channel: str, topic: str, headers: dict[str, Any], bodies: tuple[bytes, ...] = ()) -> Call:
    return Call("site-1", 5, 1, channel, topic, 0, headers, bodies, 10.0, expects_reply=True)


def channels() -> Channels:
    numbers = iter(range(1, 1 << 30))
    return Channels("server", 1 << 30, lambda: next(numbers))


def answers(commands: list[Any]) -> list[Outcome]:
    return [each.outcome for each in commands if isinstance(each, Answer)]


def test_the_good_ones_are_good() -> None:
    c = channels()
    for topic in ("create", "read", "write", "list", "info", "clients", "items", "news", "unread"):
        headers = {**GOOD, "i": 2} if topic == "write" else GOOD
        if topic == "news":
            headers = {**GOOD, "x": [[1, 0, 5000]]}
        [outcome] = answers(c.receive(call(TO_BROKER, topic, headers), 1.0))
        assert outcome.code is CellReturnCode.OK, (topic, outcome)


@bounded
@given(st.lists(st.tuples(st.sampled_from(TOPICS), HEADERS, st.lists(st.binary(max_size=5), max_size=2)), max_size=8))
def test_chan_R32_any_messages_are_answered_and_break_nothing(
    messages: list[tuple[str, dict[str, Any], list[bytes]]],
) -> None:
    c = channels()
    for channel in TO_BROKER, TO_CLIENT:
        for topic, headers, bodies in messages:
            c.receive(call(channel, topic, headers, tuple(bodies)), 1.0)
            c.handle_timeout(1.0)
    assert c.broker.reserved >= 0
    for bond in list(c.broker.bonds.values()):
        c.broker.lose(bond, "gone")
    c.handle_timeout(1.0)
    assert c.broker.reserved == 0
    assert not c.broker.channels


def test_what_expects_no_reply_is_dropped() -> None:
    fire = call(TO_BROKER, "create", GOOD)
    fire.expects_reply = False
    c = channels()
    assert c.receive(fire, 1.0) == []
    assert not c.broker.channels


def test_another_session_is_told_so() -> None:
    c = channels()
    c.receive(call(TO_BROKER, "create", GOOD), 1.0)
    [outcome] = answers(c.receive(call(TO_BROKER, "items", {**GOOD, "s": 8}), 1.0))
    assert outcome.code is CellReturnCode.INVALID_SESSION
    [outcome] = answers(c.receive(call(TO_CLIENT, "items", GOOD), 1.0))
    assert outcome.code is CellReturnCode.INVALID_SESSION
    assert c.deadline is not None
    assert repr(c).startswith("<Channels <Broker server 1 channels")
