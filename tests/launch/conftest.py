from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.launching import CommandLine, command_line


@pytest.fixture
def zmqfl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    with command_line(tmp_path_factory.getbasetemp()) as zmqfl:
        yield zmqfl
