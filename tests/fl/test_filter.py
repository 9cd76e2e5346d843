"""What a filter must be."""

from __future__ import annotations

import pytest

from tests.fl.filters import Note
from zmqfl.context.fl_component import FLComponent
from zmqfl.fl.filter import Filter


def test_a_filter_is_a_component_that_processes() -> None:
    assert isinstance(Note("x"), FLComponent)
    with pytest.raises(TypeError, match="process"):
        Filter()  # type: ignore[abstract]
