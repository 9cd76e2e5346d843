"""What went wrong with a file, as one line and one exit status."""

from __future__ import annotations

import pytest

from zmqfl.cli.exits import NotRunning
from zmqfl.cli.moving import line_of, pace, problem_of
from zmqfl.errors import CellReturnCode, ZmqflError

Code = CellReturnCode


def test_a_text_of_another_cell_is_one_line_and_does_nothing_to_a_terminal() -> None:
    assert line_of("a\n  b\x1b[2J\tc") == "a b?[2J c"


@pytest.mark.parametrize(
    ("code", "reason", "line", "kind"),
    [
        (Code.TIMEOUT, "nothing came", "site-1: f: nothing came; again", NotRunning),
        (Code.TARGET_UNREACHABLE, "site-1: no route", "site-1: f: no route; again", NotRunning),
        (Code.PROCESS_EXCEPTION, "/x: is full; free some", "site-1: f: /x: is full; free some", ZmqflError),
        (Code.INVALID_REQUEST, "", "site-1: f: invalid_request; again", ZmqflError),
    ],
)  # fmt: skip
def test_a_problem(code: CellReturnCode, reason: str, line: str, kind: type[Exception]) -> None:
    problem = problem_of("site-1", "f", code, reason, "again")
    assert (str(problem), type(problem)) == (line, kind)


def test_a_problem_of_no_file() -> None:
    assert str(problem_of("site-1", "", Code.TIMEOUT, "late", "again")) == "site-1: late; again"


def test_pace() -> None:
    assert pace({"size": 5_000_000, "seconds": 2.0}) == ("2.00 s", "2.50 MB/s")
    assert pace({"size": 5, "seconds": 0}) == ("0.00 s", "")
