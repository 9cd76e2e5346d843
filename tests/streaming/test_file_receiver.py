"""What a FileStreamer does with the chunks that come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.streaming.sites import Ends
from tests.streaming.test_cell_streams import arrive
from zmqfl.blobs.digest import digest
from zmqfl.blobs.sink import FileSink
from zmqfl.cell.callbacks import callback
from zmqfl.cell.streams import Chunk
from zmqfl.context.return_code import ReturnCode
from zmqfl.context.signal import Signal
from zmqfl.errors import AbortRun, CellReturnCode, RequestFailed, SinkError
from zmqfl.streaming.file_receiver import FileReceiver
from zmqfl.streaming.file_streamer import FileStreamer
from zmqfl.wire import payload

OK = CellReturnCode.OK
FACTS = {"__file_name__": "model.pt", "__file_size__": 5, "__peer_props__": {"__identity_name__": "server"}}


def chunk(data: bytes, last: bool = False) -> Chunk:
    return Chunk({"d": digest(data), **({"last": 1} if last else {})}, 2, (data,))


def receiving(folder: Path, ends: Ends, facts: Any = None, consumed: Any = None, **options: Any) -> FileReceiver:
    arrival = arrive({**FACTS, **(facts or {})}, **options)
    return FileReceiver(arrival, folder, callback(ends), callback(consumed))


def test_a_file(tmp_path: Path) -> None:
    ends = Ends("thanks")
    one = receiving(tmp_path, ends)
    assert one.is_quick
    assert [one.consume(chunk(b"abc"))[0], one.consume(chunk(b"de", last=True))[0]] == [True, False]
    assert payload.decode(one.close(OK, "", "").bodies) == "thanks"
    [context] = ends.contexts
    location = Path(FileStreamer.get_file_location(context))
    assert (location.parent, location.read_bytes()) == (tmp_path, b"abcde")
    assert (FileStreamer.get_file_name(context), FileStreamer.get_file_size(context)) == ("model.pt", 5)
    assert (ends.codes, ends.peers) == ([ReturnCode.OK], ["server"])


@pytest.mark.parametrize(
    ("given", "name"),
    [("../../etc/passwd", "passwd"), ("/abs/x.bin", "x.bin"), ("..", "unnamed"), ("a\nb", "a_b"), (3, "3")],
)
def test_the_name_is_no_path(tmp_path: Path, given: Any, name: str) -> None:
    ends = Ends()
    forged = {"__file_name__": given, "__file_location__": "/etc/passwd"}
    receiving(tmp_path, ends, forged).close(CellReturnCode.ABORT_RUN, "", "")
    [context] = ends.contexts
    assert (FileStreamer.get_file_name(context), FileStreamer.get_file_location(context)) == (name, None)


def test_the_size_is_the_real_one(tmp_path: Path) -> None:
    ends = Ends()
    one = receiving(tmp_path, ends, {"__file_size__": "many"})
    one.consume(chunk(b"abc", last=True))
    one.close(OK, "", "")
    assert FileStreamer.get_file_size(ends.contexts[0]) == 3


@pytest.mark.parametrize(
    ("code", "culprit", "rc"),
    [("process_exception", "site-2", "TASK_ABORTED"), ("timeout", "site-1", "TIMEOUT")],
)
def test_a_failure_elsewhere_leaves_nothing(tmp_path: Path, code: str, culprit: str, rc: str) -> None:
    ends = Ends()
    one = receiving(tmp_path, ends)
    one.consume(chunk(b"abc"))
    one.close(CellReturnCode(code), "", culprit)
    assert ends.codes == [rc]
    assert FileStreamer.get_file_location(ends.contexts[0]) is None
    assert list(tmp_path.iterdir()) == []


def test_damaged_chunks_fail_here(tmp_path: Path) -> None:
    ends = Ends()
    one = receiving(tmp_path, ends)
    with pytest.raises(RequestFailed, match="damaged"):
        one.consume(Chunk({"d": digest(b"x")}, 2, (b"y",)))
    one.close(CellReturnCode.INVALID_REQUEST, "", "")
    assert ends.codes == [ReturnCode.BAD_REQUEST_DATA]


def test_the_callback_of_chunks(tmp_path: Path) -> None:
    heard: list[Any] = []

    def taken(reply: Any, stream_ctx: Any, fl_ctx: Any) -> None:
        heard.append((reply[0], reply[1].get_return_code(), stream_ctx["__topic__"], fl_ctx.get_identity_name()))

    one = receiving(tmp_path, Ends(), consumed=taken)
    assert not one.is_quick
    one.consume(chunk(b"abc"))
    one.consume(chunk(b"de", last=True))
    one.close(CellReturnCode.ABORT_RUN, "", "")
    assert heard == [(True, "OK", "best", "site-1"), (False, "OK", "best", "site-1")]


def test_a_rename_that_fails_is_an_exception_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(sink: FileSink) -> Path:
        raise SinkError("disk full", file="x")

    ends = Ends()
    one = receiving(tmp_path, ends)
    monkeypatch.setattr(FileSink, "commit", commit)
    outcome = one.close(OK, "", "")
    assert outcome.code is CellReturnCode.PROCESS_EXCEPTION
    assert "disk full" in outcome.error
    assert ends.codes == [ReturnCode.EXECUTION_EXCEPTION]
    assert FileStreamer.get_file_location(ends.contexts[0]) is None


def test_a_folder_that_is_gone_refuses_the_file(tmp_path: Path) -> None:
    with pytest.raises(SinkError):
        receiving(tmp_path / "gone", Ends())


def test_an_aborted_run_takes_no_files(tmp_path: Path) -> None:
    signal, ends = Signal(), Ends()
    one = receiving(tmp_path, ends, signal=signal)
    signal.trigger()
    with pytest.raises(AbortRun):
        one.consume(chunk(b"abc"))
    with pytest.raises(AbortRun):
        receiving(tmp_path, ends, signal=signal)
    one.close(CellReturnCode.ABORT_RUN, "", "")
    assert ends.codes == [ReturnCode.TASK_ABORTED]
