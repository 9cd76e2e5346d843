"""Whether an ended site is started again, and when: a pure function of its policy and its past.

ended                                     next
on purpose (stopped, STOPPING=1)          stopped
with status 75, replaced by a newer start replaced
with status 0                             done, or restarted by policy always
with any other status, or by a signal     failed, or restarted by policy on-failure and always
the restarts are used up                  done or failed
"""

from __future__ import annotations

from typing import Final

from zmqfl.launch.spec import Restart
from zmqfl.protocol.commands import EXIT_REPLACED

LONGEST_PAUSE: Final = 60.0
"""Seconds at most between two starts: a site must be back within a minute after its machine is well again."""
STABLE: Final = 60.0
"""Seconds that a start must last for the next pause to be the first again."""


def after_exit(restart: Restart, status: int, restarts: int, in_a_row: int, on_purpose: bool) -> str | float:
    """What follows the end of a site: its last status, or the seconds until it is started again.

    `restarts`: how often it was started again; `in_a_row`: how many of these did not last.
    """
    if on_purpose:
        return "stopped"
    if status == EXIT_REPLACED:
        return "replaced"
    ended = "failed" if status else "done"
    is_wanted = restart.policy == "always" or (restart.policy == "on-failure" and status != 0)
    if not is_wanted or (restart.max is not None and restarts >= restart.max):
        return ended
    return min(restart.backoff * 2.0 ** min(in_a_row, 32), max(LONGEST_PAUSE, restart.backoff))
