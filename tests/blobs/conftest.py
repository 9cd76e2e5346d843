from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """`mount("-t", "tmpfs", ...)`: a new folder with that mounted on it; skips where mounting is not permitted."""
    with ExitStack() as mounted:

        def mount_on_folder(*options: str) -> Path:
            folder = tmp_path / f"mounted-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            try:
                subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"mount is not permitted here: {getattr(error, 'stderr', '') or error}".strip())
            mounted.callback(subprocess.run, ["umount", str(folder)], check=True)
            return folder

        yield mount_on_folder


@pytest.fixture
def small_disk(mount: Mount) -> Path:
    """A folder on a disk of 1 MiB."""
    return mount("-t", "tmpfs", "-o", "size=1m", "tmpfs")


@pytest.fixture
def read_only(mount: Mount) -> Path:
    """A folder on a disk that cannot be written: the mode of a folder does not bind root."""
    return mount("-t", "tmpfs", "-o", "size=1m,ro", "tmpfs")
