"""What owners and receivers write, as far as it does something by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.streaming.downloads import Taker
from zmqfl.streaming.downloadable import (
    Downloadable,
    DownloadStatus,
    ProduceRC,
    TransactionDoneStatus,
    size_of,
)


class Smallest(Downloadable):
    def produce(self, state: dict[str, Any], requester: str) -> tuple[ProduceRC, Any, dict[str, Any]]:
        return ProduceRC.EOF, None, {}


def test_all_but_produce_is_optional() -> None:
    obj = Smallest("base")
    obj.set_transaction("T", "R")
    obj.downloaded_to_one("site-1", DownloadStatus.SUCCESS)
    obj.downloaded_to_all()
    obj.transaction_done("T", TransactionDoneStatus.FINISHED)
    obj.release()
    assert (obj.base_obj, obj.num_receivers) == ("base", 0)
    with pytest.raises(TypeError):
        Downloadable("base")  # type: ignore[abstract]


def test_words() -> None:
    assert list(ProduceRC) == ["ok", "error", "eof"]
    assert list(DownloadStatus) == ["success", "failed"]
    assert list(TransactionDoneStatus) == ["finished", "timeout", "deleted"]
    assert (Taker.supports_pipelining, Taker.items_done) == (False, None)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (None, 0), (3, 0), (b"abc", 3), (bytearray(4), 4), ("ab", 2), (np.zeros(4), 32),
        ({"a": b"abc", "b": [b"x", (b"y", np.zeros(1))]}, 13),
    ],
)  # fmt: skip
def test_sizes(data: Any, size: int) -> None:
    assert size_of(data) == size
