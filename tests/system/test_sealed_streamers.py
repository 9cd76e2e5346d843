"""The streamers of `zmqfl.streaming` with `secure=True`, past a relay that reads what it passes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cell.sealed import CardedFederation
from tests.streaming.sites import Collectors, Ends, Judge, Sites, receive_files, send_file
from tests.system.federation import LONG
from tests.system.spy import Spy
from zmqfl.context.return_code import ReturnCode
from zmqfl.streaming.cell_engine import CellEngine
from zmqfl.streaming.container_streamer import ContainerStreamer
from zmqfl.streaming.file_streamer import FileStreamer

SECRET = b"only for the eyes of the server"
Tree = dict[str, CellEngine]


@pytest.fixture
def tree() -> Iterator[Tree]:
    sites = Sites()
    sites.federation = CardedFederation()
    yield sites.tree()
    sites.close()


def test_push_N09_a_file_streamer(tree: Tree, tmp_path: Path) -> None:
    spy = Spy(tree["relay"].get_cell())
    ends = receive_files([tree["server"], tree["site-2"]], tmp_path)
    file = tmp_path / "secret-4711.bin"
    file.write_bytes(SECRET * 500)
    sent = send_file(
        tree["relay.site-1"], file, ["server", "site-2"], stream_ctx={"round": "round 4711"}, secure=True
    )  # fmt: skip
    assert sent == (ReturnCode.OK, True)
    for end in ends.values():
        (context,) = end.wait()
        location = FileStreamer.get_file_location(context)
        assert location is not None
        assert Path(location).read_bytes() == file.read_bytes()
        assert context["round"] == "round 4711"
    assert not spy.holds(SECRET)
    assert not spy.holds(b"4711")


def test_push_N09_a_container_streamer(tree: Tree) -> None:
    spy, ends = Spy(tree["relay"].get_cell()), Ends()
    with tree["server"].new_context() as fl_ctx:
        ContainerStreamer.register_stream_processing(fl_ctx, "models", "best", ends)
    container: dict[str, Any] = {"secret-4711": np.arange(200_000), "text": SECRET}
    with tree["relay.site-1"].new_context() as fl_ctx:
        sent = ContainerStreamer.stream_container(
            "models", "best", {}, ["server"], container, fl_ctx, entry_timeout=LONG, secure=True
        )
    assert sent == (ReturnCode.OK, True)
    got = ContainerStreamer.get_result(ends.wait()[0])
    assert got["text"] == SECRET
    assert np.array_equal(got["secret-4711"], container["secret-4711"])
    assert not spy.holds(SECRET)
    assert not spy.holds(b"4711")


@pytest.mark.parametrize("after", [1, 3])
def test_push_N09_an_object_streamer_whose_producer_judges(tree: Tree, after: int) -> None:
    factory, judge = Collectors(), Judge(3, "content", after)
    tree["server"].register_stream_processing("numbers", "all", factory)
    with tree["relay.site-1"].new_context() as fl_ctx:
        sent = tree["relay.site-1"].stream_objects("numbers", "all", {}, ["server"], judge, fl_ctx, secure=True)
    assert sent == (ReturnCode.OK, "content")
    assert judge.made == after
    assert [replies["server"]["got"] for replies in judge.replies] == list(range(after))
    assert factory.log[:after] == list(range(after))
    assert factory.log[after] == f"finalize {ReturnCode.OK}"
