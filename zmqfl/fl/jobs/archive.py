"""A job folder as bytes, and back: a tar of plain files, which can write nowhere but below its folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Final

from zmqfl.errors import InvalidRequest, UserError

MAX_BYTES: Final = 256 * 1024 * 1024
"""Of all files of a job together: it is code and small data, each site gets it whole."""
MAX_FILES: Final = 10_000


def pack(folder: Path) -> bytes:
    """A job folder as a tar. Raises `UserError` for what cannot be in one."""
    buffer, total = io.BytesIO(), 0
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        files = [file for file in sorted(folder.rglob("*")) if "__pycache__" not in file.parts and not file.is_dir()]
        for file in files:
            if file.is_symlink() or not file.is_file():
                raise UserError("is no plain file", field=str(file), remedy="put a copy of what it names into the job")
            total += file.stat().st_size
            if total > MAX_BYTES or len(files) > MAX_FILES:
                problem = f"has more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB"
                raise UserError(problem, field=str(folder), remedy="have the sites hold big data themselves")
            info = tarfile.TarInfo(str(file.relative_to(folder)))
            info.size = file.stat().st_size
            with file.open("rb") as stream:
                tar.addfile(info, stream)
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Write the files of a tar below a folder, which is made. Raises `InvalidRequest` for what is no packed job."""
    folder.mkdir(parents=True, mode=0o700)
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for count, info in enumerate(tar):
                total += info.size
                if count >= MAX_FILES or total > MAX_BYTES:
                    raise InvalidRequest("the job is too big")
                if not info.isfile():
                    raise InvalidRequest(f"the job holds {info.name!r}, which is no plain file")
                tar.extract(info, folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise InvalidRequest(f"the job cannot be unpacked: {error}") from None
