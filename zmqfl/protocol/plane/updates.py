"""What a hub tells: updates under numbers, a snapshot of what stands, and the latest numbers.

    update      {e: epoch, t: topic, s: number}, and the facts          number by number within a topic
    heads       [epoch, {topic: number}]                                what was the last, should it have been lost
    question    [prefixes, epoch, {topic: number}]                      what a subscriber wants, and has
    snapshot    [epoch, {topic: number}, topics, facts]                 all facts of those topics that it does not have

The epoch is the root's; another one means that the numbers begin anew. All but the numbers of an update is in the body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from zmqfl.errors import DecodeError
from zmqfl.protocol.plane.facts import Fact, decode_facts, encode_facts
from zmqfl.wire import payload
from zmqfl.wire.messages import Buffer
from zmqfl.wire.record import record

CHANNEL: Final = "zmqfl.plane"


class PlaneTopic(StrEnum):
    """What the messages on the plane's channel are."""

    PUBLISH = "publish"
    CHECK = "check"
    DEPARTED = "departed"
    SUBSCRIBE = "subscribe"
    UPDATE = "update"
    HEADS = "heads"


MOST_TOPICS = 16384
"""Topics in one message, and in all."""
MOST_PREFIXES = 256


@record
class Update:
    """The facts that number `number` of a topic has changed; withdrawals are facts without a body."""

    epoch: int
    topic: str
    number: int
    facts: tuple[Fact, ...]


@record
class Snapshot:
    """All that is known. `heads`: the latest number of each topic; `facts`: those of `topics`."""

    epoch: int
    heads: dict[str, int]
    topics: tuple[str, ...]
    facts: tuple[Fact, ...]


def encode_update(update: Update) -> tuple[dict[str, Any], tuple[Buffer, ...]]:
    """Headers and bodies."""
    headers = {"e": update.epoch, "t": update.topic, "s": update.number}
    return headers, tuple(payload.encode(encode_facts(update.facts)))


def decode_update(headers: Mapping[str, Any], bodies: Sequence[Buffer]) -> Update:
    """The update in a message. Raises `DecodeError`."""
    match headers:
        case {"e": int(epoch), "t": str(topic), "s": int(number)} if number > 0:
            facts = tuple(decode_facts(payload.decode(bodies)))
            if any(fact.topic != topic for fact in facts):
                raise DecodeError(f"an update of topic {topic!r} with facts of others")
            return Update(epoch, topic, number, facts)
    raise DecodeError("an update has no epoch, topic and number")


def encode_heads(epoch: int, heads: Mapping[str, int]) -> tuple[Buffer, ...]:
    """The body of HEADS."""
    return tuple(payload.encode([epoch, dict(heads)]))


def decode_heads(bodies: Sequence[Buffer]) -> tuple[int, dict[str, int]]:
    """Epoch, and topic -> number. Raises `DecodeError`."""
    match payload.decode(bodies):
        case [int(epoch), dict(heads)]:
            return epoch, _checked_heads(heads)
    raise DecodeError("heads are no list of epoch and numbers")


def encode_question(prefixes: Sequence[str], epoch: int, heads: Mapping[str, int]) -> tuple[Buffer, ...]:
    """The body of SUBSCRIBE."""
    return tuple(payload.encode([list(prefixes), epoch, dict(heads)]))


def decode_question(bodies: Sequence[Buffer]) -> tuple[tuple[str, ...], int, dict[str, int]]:
    """Prefixes, epoch, and topic -> number. Raises `DecodeError`."""
    match payload.decode(bodies):
        case [list(prefixes), int(epoch), dict(heads)] if len(prefixes) <= MOST_PREFIXES:
            if all(isinstance(prefix, str) for prefix in prefixes):
                return tuple(prefixes), epoch, _checked_heads(heads)
    raise DecodeError(f"SUBSCRIBE is no list of at most {MOST_PREFIXES} prefixes, an epoch and numbers")


def encode_snapshot(snapshot: Snapshot) -> tuple[Buffer, ...]:
    """The body of the answer to SUBSCRIBE."""
    tree = [snapshot.epoch, snapshot.heads, list(snapshot.topics), encode_facts(snapshot.facts)]
    return tuple(payload.encode(tree))


def decode_snapshot(bodies: Sequence[Buffer]) -> Snapshot:
    """The snapshot in an answer. Raises `DecodeError`."""
    match payload.decode(bodies):
        case [int(epoch), dict(heads), list(topics), facts]:
            chosen = tuple(topic for topic in topics if isinstance(topic, str))
            return Snapshot(epoch, _checked_heads(heads), chosen, tuple(decode_facts(facts)))
    raise DecodeError("a snapshot is no list of epoch, heads, topics and facts")


def _checked_heads(tree: dict[Any, Any]) -> dict[str, int]:
    if len(tree) > MOST_TOPICS:
        raise DecodeError(f"numbers of more than {MOST_TOPICS} topics")
    if not all(type(topic) is str and type(number) is int and number >= 0 for topic, number in tree.items()):
        raise DecodeError("numbers by topic are not numbers of 0 or more")
    return tree
