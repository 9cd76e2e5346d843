"""What a hub tells: updates under numbers, a snapshot of what stands, and the latest numbers.

    update      {e: epoch, t: topic, s: number, a: after}, and facts    what follows update `after` of the topic
    heads       [epoch, {topic: number}]                                what was the last, should it have been lost
    question    [prefixes, epoch, {topic: number}]                      what a subscriber wants, and has
    snapshot    [epoch, {topic: number}, topics, facts]                 all facts of those topics that it does not have

The epoch is the root's; another one means that the numbers begin anew. All but the numbers of an update is in the body.
A topic without facts is forgotten some time after; `after` is 0 for the first update, also when it is there again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from zmqfl.errors import DecodeError
from zmqfl.protocol.plane.facts import MAX_NUMBER, MAX_TOPIC, Fact, decode_facts, encode_facts, problem_of_topic
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
"""Topics in all."""
MOST_PREFIXES = 256


@record
class Update:
    """The facts that update `number` of a topic has changed; withdrawals are facts without a body.

    `after`: the number of the update of this topic before it; 0: there is none.
    """

    epoch: int
    topic: str
    number: int
    after: int
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
    headers = {"e": update.epoch, "t": update.topic, "s": update.number, "a": update.after}
    return headers, tuple(payload.encode(encode_facts(update.facts)))


def decode_update(headers: Mapping[str, Any], bodies: Sequence[Buffer]) -> Update:
    """The update in a message. Raises `DecodeError`."""
    match headers:
        case {"e": epoch, "t": str(topic), "s": number, "a": after} if (
            _is_number(epoch, 1) and _is_number(number, 1) and _is_number(after) and after < number
        ):
            if problem := problem_of_topic(topic):
                raise DecodeError(f"an update of topic {topic[:80]!r}: {problem}")
            facts = tuple(decode_facts(payload.decode(bodies)))
            if any(fact.topic != topic for fact in facts):
                raise DecodeError(f"an update of topic {topic[:80]!r} with facts of others")
            return Update(epoch, topic, number, after, facts)
    raise DecodeError("an update has no epoch, topic and numbers")


def encode_heads(epoch: int, heads: Mapping[str, int]) -> tuple[Buffer, ...]:
    """The body of HEADS."""
    return tuple(payload.encode([epoch, dict(heads)]))


def decode_heads(bodies: Sequence[Buffer]) -> tuple[int, dict[str, int]]:
    """Epoch, and topic -> number. Raises `DecodeError`."""
    match payload.decode(bodies):
        case [epoch, dict(heads)] if _is_number(epoch, 1):
            return epoch, _checked_heads(heads)
    raise DecodeError("heads are no list of epoch and numbers")


def encode_question(prefixes: Sequence[str], epoch: int, heads: Mapping[str, int]) -> tuple[Buffer, ...]:
    """The body of SUBSCRIBE."""
    return tuple(payload.encode([list(prefixes), epoch, dict(heads)]))


def decode_question(bodies: Sequence[Buffer]) -> tuple[tuple[str, ...], int, dict[str, int]]:
    """Prefixes, epoch, and topic -> number. Raises `DecodeError`."""
    match payload.decode(bodies):
        case [list(prefixes), epoch, dict(heads)] if len(prefixes) <= MOST_PREFIXES and _is_number(epoch):
            if all(type(prefix) is str and len(prefix) <= MAX_TOPIC for prefix in prefixes):
                return tuple(prefixes), epoch, _checked_heads(heads)
    raise DecodeError(f"SUBSCRIBE is no list of at most {MOST_PREFIXES} prefixes, an epoch and numbers")


def encode_snapshot(snapshot: Snapshot) -> tuple[Buffer, ...]:
    """The body of the answer to SUBSCRIBE."""
    tree = [snapshot.epoch, snapshot.heads, list(snapshot.topics), encode_facts(snapshot.facts)]
    return tuple(payload.encode(tree))


def decode_snapshot(bodies: Sequence[Buffer]) -> Snapshot:
    """The snapshot in an answer. Raises `DecodeError`."""
    match payload.decode(bodies):
        case [epoch, dict(heads), list(topics), facts] if _is_number(epoch, 1):
            if all(type(topic) is str for topic in topics):
                return Snapshot(epoch, _checked_heads(heads), tuple(topics), tuple(decode_facts(facts)))
    raise DecodeError("a snapshot is no list of epoch, heads, topics and facts")


def _checked_heads(tree: dict[Any, Any]) -> dict[str, int]:
    if len(tree) > 2 * MOST_TOPICS:  # the root may be over it by one publish
        raise DecodeError(f"numbers of more than {2 * MOST_TOPICS} topics")
    if not all(type(topic) is str and _is_number(number) for topic, number in tree.items()):
        raise DecodeError("numbers by topic are not numbers of 0 or more")
    return tree


def _is_number(value: object, least: int = 0) -> bool:
    return type(value) is int and least <= value <= MAX_NUMBER
