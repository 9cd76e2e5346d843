from __future__ import annotations

import inspect

import pytest

from zmqfl import errors
from zmqfl.errors import (
    ArgumentError,
    BlobError,
    CellReturnCode,
    DecodeError,
    DigestError,
    EncodeError,
    FqcnError,
    RequestFailed,
    ServiceUnavailable,
    SinkError,
    SourceChangedError,
    SourceError,
    TopologyError,
    TopologyErrors,
    TransferError,
    UserError,
    ZmqflError,
)


def test_every_error_stands_in_the_tree_of_the_docstring() -> None:
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, Exception)]
    assert errors.__doc__ is not None
    assert [cls.__name__ for cls in classes if cls.__name__ not in errors.__doc__] == []
    assert all(issubclass(cls, ZmqflError) for cls in classes)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("is wrong"), "is wrong"),
        (UserError("is wrong", field="a.b", remedy="mend it"), "a.b: is wrong; mend it"),
        (TopologyError("is wrong", file="t.yaml"), "t.yaml: is wrong"),
        (
            TopologyError("is wrong", file="t.yaml", line=3, field="a", remedy="mend it"),
            "t.yaml:3: a: is wrong; mend it",
        ),
    ],
)
def test_a_users_mistake_is_one_line(error: UserError, line: str) -> None:
    assert error.line() == str(error) == line


def test_several_mistakes_of_a_file_are_told_together() -> None:
    both = [TopologyError("is wrong", file="t.yaml", line=1), TopologyError("is missing", file="t.yaml", line=2)]
    assert list(TopologyErrors(both).errors) == both


def test_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(FqcnError, ValueError)
    assert issubclass(EncodeError, TypeError)
    assert issubclass(DecodeError, ValueError)
    assert issubclass(ArgumentError, TypeError)
    assert issubclass(ArgumentError, ValueError)


def test_a_failed_request_names_target_code_and_reason() -> None:
    failed = RequestFailed("too slow", target="site-1", code=CellReturnCode.TIMEOUT)
    assert (str(failed), failed.code) == ("site-1: timeout: too slow", "timeout")
    assert ServiceUnavailable("busy").code is CellReturnCode.SERVICE_UNAVAILABLE


def test_a_failed_transfer_names_culprit_code_and_reason() -> None:
    failed = TransferError("no progress for 5 s", code=CellReturnCode.TIMEOUT, culprit="site-2")
    assert (str(failed), failed.code, failed.culprit) == ("site-2: timeout: no progress for 5 s", "timeout", "site-2")
    assert str(TransferError("stopped", code=CellReturnCode.ABORT_RUN)) == "abort_run: stopped"


@pytest.mark.parametrize("kind", [SourceError, SourceChangedError, SinkError, DigestError])
def test_an_error_of_bytes_names_file_and_remedy(kind: type[BlobError]) -> None:
    error = kind("is full", file="/data/x", remedy="free space")
    assert error.line() == str(error) == "/data/x: is full; free space"
    assert (error.file, error.problem, error.remedy) == ("/data/x", "is full", "free space")
    assert str(kind("is full", file="x")) == "x: is full"


def test_who_handles_an_unreadable_source_handles_a_changed_one() -> None:
    assert issubclass(SourceChangedError, SourceError)
