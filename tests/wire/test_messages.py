"""The table of deliveries, and frames that must never change."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from tests.wire import examples
from zmqfl.wire import messages
from zmqfl.wire.codec import decode_header, decode_packet, encode_header, encode_packet
from zmqfl.wire.messages import CLASSES, DELIVERY, FIRST_ROUTED, Delivery, Kind, Lane, Packet

GOLDEN = Path(__file__).parent / "golden"
LANES = {"control": Lane.CONTROL, "bulk": Lane.BULK, "by size": None, "as got": None}
ORIGIN = ["origin", "fence", "instance", "id"]


def table_in_docstring() -> dict[Kind, Delivery]:
    """The rows under `kind lane ...`: columns begin where those of the headline do."""
    assert messages.__doc__ is not None
    lines = messages.__doc__.splitlines()
    head = next(i for i, line in enumerate(lines) if line.split()[:1] == ["kind"])
    starts = [match.start() for match in re.finditer(r"(?<!\S)\S+(?: \S+)*", lines[head])]
    table = {}
    for line in lines[head + 1 : lines.index("", head)]:
        cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        kind, lane, *rest = cells
        table[Kind[kind]] = Delivery(LANES[lane], *rest)
    return table


def test_the_table_in_the_docstring_is_the_table_in_the_code() -> None:
    assert table_in_docstring() == DELIVERY


def test_each_kind_has_a_class_a_row_and_a_golden_file() -> None:
    kinds = set(Kind)
    assert kinds == set(DELIVERY) == set(CLASSES) == set(examples.MESSAGES)
    assert {file.stem for file in GOLDEN.iterdir()} == {kind.name.lower() for kind in kinds}


@pytest.mark.parametrize("kind", Kind)
def test_golden_frames(kind: Kind) -> None:
    text = (GOLDEN / f"{kind.name.lower()}.txt").read_text()
    assert examples.text_of(kind) == text, "these frames are in use: append fields with defaults, change nothing"
    packet = decode_packet(examples.frames_of(text))
    assert packet == examples.example(kind)
    assert decode_header(kind, packet.header) == examples.MESSAGES[kind]


@pytest.mark.parametrize("kind", Kind)
def test_the_frames_of_a_packet_are_the_golden_ones(kind: Kind) -> None:
    text = (GOLDEN / f"{kind.name.lower()}.txt").read_text()
    assert [bytes(frame) for frame in encode_packet(examples.example(kind))] == examples.frames_of(text)
    assert encode_header(examples.MESSAGES[kind]) == examples.frames_of(text)[1]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind >= FIRST_ROUTED])
def test_routed_messages_begin_with_the_same_fields(kind: Kind) -> None:
    assert [f.name for f in fields(CLASSES[kind])][:4] == ORIGIN


@pytest.mark.parametrize("cls", CLASSES.values(), ids=lambda cls: cls.__name__)
def test_messages_have_slots_and_their_required_fields_come_first(cls: type[messages.Message]) -> None:
    required = [f.default is MISSING and f.default_factory is MISSING for f in fields(cls)]
    assert required == sorted(required, reverse=True)
    assert "__slots__" in vars(cls)


def test_the_size_of_a_packet_is_that_of_header_and_bodies() -> None:
    assert Packet(Kind.FIRE, b"123", (b"45", memoryview(b"6"))).size == 6
