"""Labs that leave nothing behind, and the tools that their faults need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.net.federation import LabFederation, MakeFederation
from tests.net.lab import Lab
from tests.system.federation import start_zero_copy


@pytest.fixture(scope="session", autouse=True)
def _zero_copy() -> None:
    start_zero_copy()  # no test leaks what is there before it


@pytest.fixture
def lab() -> Iterator[Callable[[int], Lab]]:
    """`lab(n)`: a new lab of n hosts. All are closed in the end, also when the test failed or closed one itself."""
    before = interfaces()
    labs: list[Lab] = []
    with ExitStack() as stack:

        def make(hosts: int) -> Lab:
            labs.append(stack.enter_context(Lab(hosts)))
            return labs[-1]

        yield make
    # `close` raises when a process does not end; a namespace that is gone could not tell of it.
    assert [name for made in labs for name in made.namespaces()] == [], "left behind in the network"
    assert interfaces() == before, "the network of the machine has changed"


@pytest.fixture
def federate(lab: Callable[[int], Lab]) -> Iterator[MakeFederation]:
    """`federate(lab, config, setup)`: cells in a lab; all are ended before their lab is."""
    with ExitStack() as stack:

        def make(*arguments: Any, **options: Any) -> LabFederation:
            federation = LabFederation(*arguments, **options)
            stack.callback(federation.close)
            return federation

        yield make


@pytest.fixture
def nft(require: Callable[[str], None]) -> None:
    """The test partitions, or loses packets."""
    require("nft")


@pytest.fixture
def tc(require: Callable[[str], None]) -> None:
    """The test makes links slow."""
    require("tc")


def interfaces() -> list[str]:
    """The network interfaces of this machine outside of all labs."""
    folder = Path("/sys/class/net")
    return sorted(os.listdir(folder)) if folder.exists() else []
