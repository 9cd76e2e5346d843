"""What is offered, and who is told of it."""

from __future__ import annotations

from typing import Any, cast

from zmqfl.blobs.source import BufferSource
from zmqfl.cell.callbacks import callback
from zmqfl.cell.offered_files import Group, OfferedFile


class Now:
    """Workers that do it at once."""

    def submit(self, job: Any, size: int, refused: Any) -> bool:
        job()
        return True


def test_who_begins_and_who_ends_is_told() -> None:
    told: list[Any] = []
    file = OfferedFile(
        "R1", BufferSource("model.pt", b"x"), callback(lambda *each: told.append(each)), lambda *each: told.append(each)
    )  # fmt: skip
    file.opened("site-1")
    file.served(cast(Any, Now()), "site-1", "success")
    assert told == [("R1", "site-1"), ("R1", "site-1", "success", "model.pt")]
    assert (file.is_twin, file.told_as, file.twin) == (False, "R1", None)


def test_nobody_need_be_told() -> None:
    file = OfferedFile("R1", BufferSource("model.pt", b"x"), None)
    file.opened("site-1")
    file.served(cast(Any, Now()), "site-1", "failed")
    assert Group(None).files == []
