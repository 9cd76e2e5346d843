"""A file as the chunks of a push, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zmqfl.blobs.source import FileSource
from zmqfl.cell.file_streams import NAME_KEY, SIZE_KEY, FileConsumer, FileProducer, unique_name
from zmqfl.cell.streams import Chunk, Incoming
from zmqfl.errors import CellReturnCode, RequestFailed, SinkError
from zmqfl.protocol.commands import Outcome
from zmqfl.wire.codecs import RAW

OK = CellReturnCode.OK
Ends = list[tuple[Path | None, CellReturnCode, str, str]]


def chunks_of(path: Path, size: int) -> list[Chunk]:
    producer = FileProducer(FileSource(path), size, 30.0)
    try:
        return list(iter(producer.produce, None))
    finally:
        producer.close()


def consumer(folder: Path, size: int, ends: Ends, **options: Any) -> FileConsumer:
    folder.mkdir(exist_ok=True)

    def ended(*how: Any) -> Outcome:
        ends.append(how)
        return Outcome(OK, headers={"seen": 1})

    incoming = Incoming("server", "files", "models", {NAME_KEY: "m", SIZE_KEY: size})
    return FileConsumer(incoming, folder, "m", ended=ended, **options)


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 300])
def test_chunks_put_together_are_the_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "source"
    path.write_bytes(bytes(i % 251 for i in range(size)))
    ends: Ends = []
    taken: list[tuple[int, int]] = []
    into = consumer(tmp_path / "got", size, ends, chunk_taken=lambda *args: taken.append(args))
    chunks = chunks_of(path, 100)
    assert [into.consume(chunk)[0] for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert not (tmp_path / "got/m").exists()  # not before all targets have all
    assert into.close(OK, "", "").headers == {"seen": 1}
    ((where, code, _, _),) = ends
    assert (where, code) == (tmp_path / "got/m", OK)
    assert where is not None
    assert where.read_bytes() == path.read_bytes()
    assert taken == [(index, min(100, size - 100 * index)) for index in range(len(chunks))]


def test_a_damaged_chunk_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"a" * 100)
    ends: Ends = []
    into = consumer(tmp_path / "got", 100, ends)
    (chunk,) = chunks_of(path, 100)
    with pytest.raises(RequestFailed, match="chunk 0 was damaged"):
        into.consume(Chunk(chunk.headers, RAW, (b"b" * 100,)))
    into.close(CellReturnCode.ABORT_RUN, "damaged", "site-1")
    assert ends == [(None, CellReturnCode.ABORT_RUN, "damaged", "site-1")]
    assert list((tmp_path / "got").iterdir()) == []


def test_what_is_no_chunk_of_a_file_is_refused(tmp_path: Path) -> None:
    into = consumer(tmp_path / "got", 1, [])
    with pytest.raises(RequestFailed, match="takes files") as caught:
        into.consume(Chunk({}, 99, (b"x",)))
    assert caught.value.code is CellReturnCode.INVALID_REQUEST
    into.close(CellReturnCode.ABORT_RUN, "", "")


def test_a_target_that_could_not_rename_says_so_before_the_others_do(tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"a")
    ends: Ends = []
    into = consumer(tmp_path / "got", 1, ends, on_exists="fail")
    (tmp_path / "got/m").write_bytes(b"theirs")
    with pytest.raises(SinkError):
        into.consume(chunks_of(path, 100)[0])
    into.close(CellReturnCode.PROCESS_EXCEPTION, "", "site-1")
    assert (tmp_path / "got/m").read_bytes() == b"theirs"


def test_names_of_received_files_are_their_own() -> None:
    assert len({unique_name() for _ in range(100)}) == 100
