from __future__ import annotations

import logging
from typing import get_args

from zmqfl.protocol import commands
from zmqfl.protocol.commands import Call, Command, Level


def call(id: int) -> Call:
    return Call("site-1", 1, id, "c", "t", 0, {}, (b"12", b"345"), 1.0, True)


def test_each_command_has_a_line_in_the_docstring() -> None:
    assert commands.__doc__ is not None
    _, _, table = commands.__doc__.partition("\n\n")
    assert [line.split()[0] for line in table.splitlines() if line] == [cls.__name__ for cls in get_args(Command)]


def test_commands_are_records() -> None:
    for cls in get_args(Command):
        assert vars(cls)["__dataclass_params__"].unsafe_hash
        assert "__slots__" in vars(cls)


def test_a_call_is_itself_and_knows_its_size() -> None:
    first, second = call(1), call(1)
    assert first != second
    assert len({first, second}) == 2
    assert first.size == 5


def test_levels_are_those_of_logging() -> None:
    assert {level.name: int(level) for level in Level} == {
        name: getattr(logging, name) for name in ("DEBUG", "INFO", "WARNING")
    }
