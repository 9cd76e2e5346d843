"""Processes by mark, and the members of a session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.system.federation import until
from zmqfl.launch.process import is_alive, mark_of, session_members, signal_session


@pytest.fixture
def leader() -> Iterator[subprocess.Popen[str]]:
    """The leader of a session of two."""
    code = "import subprocess; p = subprocess.Popen(['sleep', '1000']); print(p.pid, flush=True); p.wait()"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True, text=True)
    mark = mark_of(child.pid)
    yield child
    signal_session(child.pid, mark, signal.SIGKILL)
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def second(leader: subprocess.Popen[str]) -> int:
    assert leader.stdout is not None
    return int(leader.stdout.readline())


def test_this_process() -> None:
    mark = mark_of(os.getpid())
    assert is_alive(os.getpid(), mark)
    assert not is_alive(os.getpid(), mark + "1")
    assert not is_alive(os.getpid(), "")


def test_one_that_has_ended(leader: subprocess.Popen[str]) -> None:
    mark = mark_of(leader.pid)
    assert is_alive(leader.pid, mark)
    leader.kill()
    until(lambda: not is_alive(leader.pid, mark))  # also while nobody has waited for it
    assert mark_of(leader.pid) == mark
    leader.wait()
    assert mark_of(leader.pid) == ""


def test_a_session(leader: subprocess.Popen[str]) -> None:
    mark, other = mark_of(leader.pid), second(leader)
    assert sorted(session_members(leader.pid, mark)) == sorted([leader.pid, other])
    leader.kill()
    leader.wait()
    until(lambda: session_members(leader.pid, mark) == [other])
    signal_session(leader.pid, mark, signal.SIGKILL)
    until(lambda: session_members(leader.pid, mark) == [])


def test_a_number_given_to_another_process_is_not_touched(leader: subprocess.Popen[str]) -> None:
    mark = mark_of(leader.pid)
    second(leader)
    earlier = mark.rpartition(":")[0] + ":1"
    signal_session(leader.pid, earlier, signal.SIGKILL)
    signal_session(leader.pid, "another boot:1", signal.SIGKILL)
    signal_session(leader.pid, "", signal.SIGKILL)
    assert len(session_members(leader.pid, mark)) == 2
