from __future__ import annotations

from zmqfl.errors import ZmqflError
from zmqfl.launch.ending import USER_MISTAKE, StartFailed


def test_a_failed_start_keeps_its_lines_and_its_status() -> None:
    error = StartFailed(line for line in ("site-1 failed", "  its last line"))
    assert isinstance(error, ZmqflError)
    assert (error.lines, error.status, str(error)) == (
        ("site-1 failed", "  its last line"), 1, "site-1 failed;   its last line",
    )  # fmt: skip
    assert StartFailed(["x"], USER_MISTAKE).status == 2
