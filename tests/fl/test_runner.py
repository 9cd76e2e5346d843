"""What both sides of a run have in common."""

from __future__ import annotations

import pytest

from zmqfl.fl.runner import FAILED, OK, Runner


class Told(Runner):
    """Writes down what it is asked; `raises`: in `_run`."""

    def __init__(self, raises: BaseException | None = None) -> None:
        super().__init__("server")
        self.raises = raises
        self.told: list[str] = []

    def _run(self) -> None:
        self.told.append("run")
        if self.raises is not None:
            raise self.raises

    def _stop(self, reason: str) -> None:
        self.told.append(f"stop: {reason}")

    def _finish(self) -> None:
        self.told.append("finish")


def test_a_run_that_comes_to_its_end() -> None:
    runner = Told()
    assert runner.run() == OK
    assert runner.told == ["run", "finish"]
    assert not runner.is_aborted


@pytest.mark.parametrize(
    ("raises", "reason"),
    [(ValueError("no disk"), "ValueError: no disk"), (KeyboardInterrupt(), "the server was stopped")],
)
def test_what_is_raised_aborts_and_the_end_comes_nevertheless(raises: BaseException, reason: str) -> None:
    runner = Told(raises)
    assert runner.run() == FAILED
    assert runner.told == ["run", f"stop: {reason}", "finish"]


def test_the_first_reason_of_an_abort_counts() -> None:
    runner = Told()
    runner.abort("")
    runner.abort("another")
    assert runner.told == ["stop: no reason was given"]
    assert runner.run() == FAILED
