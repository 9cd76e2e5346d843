"""What follows the end of a site."""

from __future__ import annotations

import pytest

from zmqfl.launch.restart import LONGEST_PAUSE, after_exit
from zmqfl.launch.spec import Restart

NEVER, FAILURE, ALWAYS = Restart("never"), Restart("on-failure"), Restart("always")


@pytest.mark.parametrize(
    ("restart", "status", "on_purpose", "next_"),
    [
        (NEVER, 0, False, "done"),
        (NEVER, 1, False, "failed"),
        (FAILURE, 0, False, "done"),
        (FAILURE, 1, False, 1.0),
        (FAILURE, -9, False, 1.0),
        (ALWAYS, 0, False, 1.0),
        (ALWAYS, 1, False, 1.0),
        (ALWAYS, 75, False, "replaced"),
        (FAILURE, 75, False, "replaced"),
        (ALWAYS, 0, True, "stopped"),
        (ALWAYS, -9, True, "stopped"),
        (FAILURE, 75, True, "stopped"),
    ],
)
def test_policy(restart: Restart, status: int, on_purpose: bool, next_: str | float) -> None:
    assert after_exit(restart, status, 0, 0, on_purpose) == next_


def test_the_pause_doubles_up_to_the_longest() -> None:
    pauses = [after_exit(Restart("always", backoff=2), 1, n, n, False) for n in range(8)]
    assert pauses == [2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert after_exit(Restart(backoff=1), 1, 10**6, 10**6, False) == LONGEST_PAUSE


def test_a_longer_pause_of_the_users_is_kept() -> None:
    assert after_exit(Restart(backoff=300), 1, 0, 0, False) == 300


def test_the_restarts_are_used_up() -> None:
    restart = Restart("always", max=2)
    assert [after_exit(restart, 1, n, n, False) for n in range(3)] == [1, 2, "failed"]
    assert after_exit(restart, 0, 2, 2, False) == "done"
    assert after_exit(Restart(max=0), 1, 0, 0, False) == "failed"
