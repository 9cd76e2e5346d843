from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from zmqfl.blobs import failures
from zmqfl.blobs.failures import sink_error, source_error


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EXDEV, 0])
def test_errors_of_writing_name_file_and_remedy(code: int) -> None:
    error = sink_error(OSError(code, os.strerror(code)), Path("/data/x.part"))
    assert error.file == "/data/x.part"
    assert error.problem
    assert error.remedy


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.EIO, errno.ESTALE, errno.EXDEV, 0])
def test_errors_of_reading_name_file_and_remedy(code: int) -> None:
    error = source_error(OSError(code, os.strerror(code)), Path("/data/x"))
    assert error.file == "/data/x"
    assert error.problem
    assert error.remedy


def test_an_unknown_error_is_told_in_the_words_of_the_system() -> None:
    assert "Invalid cross-device link" in str(sink_error(OSError(errno.EXDEV, os.strerror(errno.EXDEV)), Path("x")))


def test_each_known_error_has_a_remedy() -> None:
    tables = [*failures._READ_PROBLEMS.values(), *failures._WRITE_PROBLEMS.values()]
    assert all(problem and remedy for problem, remedy in tables)
