"""Facts: who says what, under which topic and key, and since when.

A fact belongs to its origin, and nobody else may publish it. Its stamp is (token, number): the fence token of the start
that published it, and a number that this start never uses twice. `body` None withdraws it.

Topics end in "/", so "props/site-1/" is no prefix of "props/site-10/":

    props/NAME/     the public props of one cell
    rids/GROUP/     reference ids that are announced to a group
    bound/NAME/     what is for one cell: it goes by the links that lead there, and no other cell hears of it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from zmqfl.errors import DecodeError
from zmqfl.fqcn import FQCN
from zmqfl.wire.record import record

T = TypeVar("T")

PROPS: Final = "props/"
RIDS: Final = "rids/"
BOUND: Final = "bound/"
END: Final = "/"

MAX_TOPIC = 255
MAX_KEY = 1024
MAX_BODY = 32 * 1024
"""Bytes of what one fact says. The plane is for small things: what is larger is offered, and its id announced."""
MOST_BYTES = 48 * 1024
"""Bytes of facts in one message (one fact at least): less than the control lane takes, so none overtakes another."""
MOST_FACTS = 256
"""Facts in one message."""
CELL_FACTS = 4096
CELL_SIZE = 4 * 1024 * 1024
"""Facts, and bytes of them, that one cell may publish."""
MAX_NUMBER = (1 << 63) - 1
OVERHEAD = 48
"""Bytes of a fact on the wire beside its texts and its body."""


@record
class Fact:
    """One thing that `origin` says. `floor`: whatever it said under a number up to this, and is not known, is over."""

    origin: str
    token: int
    number: int
    floor: int
    topic: str
    key: str
    body: bytes | None

    @property
    def size(self) -> int:
        """Bytes that it takes in a message at most; in a replica about as many."""
        return len(self.origin) + byte_length(self.topic) + byte_length(self.key) + len(self.body or b"") + OVERHEAD


Topic = str
Word = tuple[Topic, str, bytes | None]
"""What a cell says or, without a body, withdraws: (topic, key, body)."""
Place = tuple[str, Topic, str]
"""Where a fact stands: (origin, topic, key)."""


def place_of(fact: Fact) -> Place:
    """Where it stands."""
    return fact.origin, fact.topic, fact.key


def withdrawal_of(fact: Fact) -> Fact:
    """That a fact is over, for those who know it."""
    return Fact(fact.origin, fact.token, fact.number, fact.floor, fact.topic, fact.key, None)


def props_topic(fqcn: str) -> Topic:
    """The topic of a cell's props."""
    return f"{PROPS}{fqcn}{END}"


def rids_topic(group: str) -> Topic:
    """The topic of what is announced to a group."""
    return f"{RIDS}{group}{END}"


def bound_topic(receiver: str) -> Topic:
    """The topic of what is announced to one cell only."""
    return f"{BOUND}{receiver}{END}"


def concerns(topic: Topic, child: str) -> bool:
    """Whether a child may hear of a topic at all: what is for one cell concerns that cell and those above it."""
    if not topic.startswith(BOUND):
        return True
    receiver = topic[len(BOUND) : -len(END)]
    return receiver == child or FQCN.is_ancestor(child, receiver)


def problem_of_topic(topic: object) -> str:
    """What is wrong with a topic; "" when nothing is."""
    if type(topic) is not str or len(topic) > MAX_TOPIC or not topic.isprintable():
        return f"a topic is a str of at most {MAX_TOPIC} characters that can be printed"
    kind, _, name = topic.partition(END)
    if kind + END not in (PROPS, RIDS, BOUND) or name.find(END) != len(name) - 1 or name in ("", END):
        return f"a topic is {PROPS!r}, {RIDS!r} or {BOUND!r}, a name without {END!r}, and {END!r}"
    return ""


def byte_length(text: str) -> int:
    """Bytes of a text on the wire."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def batches(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """`items` in lists that fit a message each: of MOST_FACTS and MOST_BYTES at most, and one item at least."""
    batch: list[T] = []
    room = MOST_BYTES
    for item in items:
        needed = size(item)
        if batch and (needed > room or len(batch) == MOST_FACTS):
            yield batch
            batch, room = [], MOST_BYTES
        batch.append(item)
        room -= needed
    if batch:
        yield batch


def encode_facts(facts: Iterable[Fact]) -> list[list[Any]]:
    """Facts as a tree for `zmqfl.wire.payload`."""
    return [[f.origin, f.token, f.number, f.floor, f.topic, f.key, f.body] for f in facts]


def decode_facts(tree: object) -> list[Fact]:
    """The facts in a tree of a peer. Raises `DecodeError` for anything that `encode_facts` would not have written."""
    if not isinstance(tree, list):
        raise DecodeError("facts are not a list")
    return [_decode(row) for row in tree]


def _decode(row: object) -> Fact:
    match row:
        case [str(origin), int(token), int(number), int(floor), str(topic), str(key), (bytes() | None) as body] if (
            _is_sound(token, number, floor)
        ):
            problem = FQCN.validate(origin) or problem_of_topic(topic)
            if problem or origin != FQCN.normalize(origin):
                raise DecodeError(f"fact of {origin[:80]!r}: {problem or 'blanks around the name'}")
            if topic.startswith(PROPS) and topic != props_topic(origin):
                raise DecodeError(f"a prop of {origin!r} under the topic of another cell, {topic!r}")
            if not 0 < len(key) <= MAX_KEY or len(body or b"") > MAX_BODY:
                raise DecodeError(f"fact of {origin!r} with a key of {len(key)} and {len(body or b'')} bytes")
            return Fact(origin, token, number, floor, topic, key, body)
    raise DecodeError("a fact is no list of origin, token, number, floor, topic, key and body")


def _is_sound(token: int, number: int, floor: int) -> bool:
    plain = type(token) is type(number) is type(floor) is int
    return plain and 0 <= token <= MAX_NUMBER and 0 <= floor < number <= MAX_NUMBER
