"""What a site does with files by itself: it takes what is pushed to channel and topic `files`, and serves its exports.

    WORK/FQCN/inbox/NAME        where a pushed file arrives; a name that is taken stays, and the new file gets a number

The folder is made when the first file comes. A `run:` that consumes the same topic itself replaces the inbox.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Final

from zmqfl.blobs.failures import sink_error
from zmqfl.blobs.paths import safe_name
from zmqfl.cell.cell import Cell
from zmqfl.cell.file_service import FileService
from zmqfl.cell.file_streams import NAME_KEY, FileConsumer
from zmqfl.cell.streams import Incoming
from zmqfl.cell.transfer_verbs import FILES, reply_of
from zmqfl.errors import CellReturnCode
from zmqfl.launch.spec import SiteSpec
from zmqfl.protocol.commands import Outcome

log = logging.getLogger("zmqfl.site")

INBOX: Final = "inbox"


def serve_files(cell: Cell, spec: SiteSpec) -> None:
    """Take and give files as the spec of a site says."""
    if spec.folder:
        cell.consume_streams(FILES, FILES, partial(_consumer, Path(spec.folder, INBOX)))
    exports = [Path(folder).expanduser() for folder in spec.exports]
    FileService(cell, exports, Path(spec.run_dir) if spec.run_dir else None).serve()


def _consumer(inbox: Path, incoming: Incoming) -> FileConsumer:
    try:
        inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise sink_error(error, inbox) from None
    name = safe_name(str(incoming.context.get(NAME_KEY, "")))
    return FileConsumer(incoming, inbox, name, "keep", None, partial(_ended, incoming.origin, name))


def _ended(origin: str, name: str, path: Path | None, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
    """Tell the owner under which name it arrived: a base name, for where that is is this site's business."""
    if path is None:
        log.warning("%s of %s did not arrive: %s", name, origin, reason or code)
        return Outcome(CellReturnCode.OK)
    log.info("%s of %s has arrived as %s", name, origin, path)
    return reply_of(path.name)
