"""Arrays by name in one file, as `numpy.savez` writes it and `numpy.load` reads it.

Reading maps what is not compressed, so a big file needs no memory of its own. Writing goes array by array into a
`FileSink`: the file is there when it is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from zmqfl.blobs.failures import source_error
from zmqfl.blobs.sink import FileSink, OnExists
from zmqfl.errors import SinkError, SourceError

if TYPE_CHECKING:
    import mmap
    import zipfile

    import numpy as np

SUFFIX: Final = ".npz"
_MEMBER: Final = ".npy"
_LOCAL_HEADER: Final = 30
"""Bytes of the header of a member before its name."""


def read_npz(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a file. Those that are not compressed are read-only, and must not change while they are used.

    Raises `SourceError` for what is no such file, is damaged, or holds anything but plain arrays.
    """
    import mmap
    import zipfile

    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as members:
            if (damaged := members.testzip()) is not None:
                raise _unusable(path, f"is damaged at {damaged!r}")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return {_key(path, each): _read(path, members, each, mapped) for each in members.infolist()}
    except OSError as error:
        raise source_error(error, path) from None
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise _unusable(path, f"is no .npz file of plain arrays: {error}") from None


def write_npz(folder: Path, name: str, values: Mapping[Any, Any], on_exists: OnExists = "keep") -> Path:
    """Write arrays and numbers under their names to FOLDER/NAME. Returns its path.

    Raises `SinkError` naming an entry that cannot be in such a file, and as `FileSink` does.
    """
    import zipfile

    arrays = {_name(folder / name, key): _array(folder / name, key, value) for key, value in values.items()}
    sink = FileSink(folder, name, None, on_exists)
    sink.open()
    try:
        with zipfile.ZipFile(_Stream(sink), "w", zipfile.ZIP_STORED) as members:  # type: ignore[call-overload]
            for key, array in arrays.items():
                with members.open(key + _MEMBER, "w", force_zip64=True) as member:
                    _write(member, array)
        return sink.commit()
    finally:
        sink.discard()


class _Stream:
    """A sink as a file that is written from its begin to its end."""

    def __init__(self, sink: FileSink) -> None:
        self._sink = sink
        self._offset = 0

    def write(self, data: bytes) -> int:
        self._sink.write(self._offset, data)
        self._offset += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""


def _key(path: Path, member: zipfile.ZipInfo) -> str:
    if not member.filename.endswith(_MEMBER):
        raise _unusable(path, f"holds {member.filename!r}, which is no array")
    return member.filename.removesuffix(_MEMBER)


def _read(path: Path, members: zipfile.ZipFile, member: zipfile.ZipInfo, mapped: mmap.mmap) -> np.ndarray[Any, Any]:
    import numpy as np

    with members.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file)
        if dtype.hasobject:
            raise _unusable(path, f"array {_key(path, member)!r} holds Python objects, which do not travel")
        header = file.tell()
    if member.compress_type or 0 in shape:
        with members.open(member) as file:
            array: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array
    name, extra = (int.from_bytes(mapped[member.header_offset + at :][:2], "little") for at in (26, 28))
    begin = member.header_offset + _LOCAL_HEADER + name + extra + header
    return np.ndarray(shape, dtype, mapped, begin, order="F" if is_fortran else "C")


def _name(path: Path, key: object) -> str:
    remedy = "give it a name that is a text"
    if not isinstance(key, str):
        raise SinkError(f"entry {key!r:.60} has no text as its name", file=str(path), remedy=remedy)
    if "\0" in key or (not key.isascii() and any("\ud800" <= char <= "\udfff" for char in key)):
        raise SinkError(f"entry {key!r:.60} has a name that files cannot have", file=str(path), remedy=remedy)
    return key


def _array(path: Path, key: object, value: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    if not isinstance(value, np.ndarray | np.generic | Number) or (array := np.asarray(value)).dtype.hasobject:
        raise _unfit(path, key, f"is a {type(value).__name__}")
    if np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(array.dtype)) != array.dtype:
        raise _unfit(path, key, f"is of type {array.dtype}")
    return array


def _write(member: IO[bytes], array: np.ndarray[Any, Any]) -> None:
    import numpy as np

    np.lib.format.write_array(member, array, allow_pickle=False)


def _unfit(path: Path, key: object, what: str) -> SinkError:
    remedy = "only arrays and numbers can be in an .npz"
    return SinkError(f"entry {key!r:.60} {what}", file=str(path), remedy=remedy)


def _unusable(path: Path, problem: str) -> SourceError:
    return SourceError(problem, file=str(path), remedy="write it by numpy.savez, with plain arrays")
