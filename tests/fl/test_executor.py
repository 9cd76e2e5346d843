"""What an executor must be."""

from __future__ import annotations

import pytest

from tests.fl.runs import Work, echo
from zmqfl.context.fl_component import FLComponent
from zmqfl.fl.executor import Executor


def test_an_executor_is_a_component_that_executes() -> None:
    assert isinstance(Work(echo), FLComponent)
    with pytest.raises(TypeError, match="execute"):
        Executor()  # type: ignore[abstract]
