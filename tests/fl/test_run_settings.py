"""Settings of a run."""

from __future__ import annotations

from typing import Any

import pytest

from zmqfl.errors import ArgumentError
from zmqfl.fl.run_settings import RunSettings


def test_run_F07_the_grace_of_dead_clients() -> None:
    assert RunSettings().dead_client_grace == 60


@pytest.mark.parametrize("wrong", [-1, "3", None, True, float("nan")])
def test_what_is_refused(wrong: Any) -> None:
    with pytest.raises(ArgumentError, match="poll must be a number of seconds"):
        RunSettings(poll=wrong)
