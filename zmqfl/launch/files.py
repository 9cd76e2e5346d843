"""What a site does with files by itself: it takes what is pushed to the channels and topics `files` and `objects`, and
serves its exports.

    WORK/FQCN/inbox/NAME        where a pushed file arrives; a name that is taken stays, and the new file gets a number
    WORK/FQCN/inbox/NAME.npz    where a pushed dict of arrays and numbers does

The folder is made when the first file comes. A `run:` that consumes the same topic itself replaces the inbox.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any, Final

from zmqfl.blobs.failures import sink_error
from zmqfl.blobs.npz import SUFFIX, write_npz
from zmqfl.blobs.paths import safe_name
from zmqfl.cell.cell import Cell
from zmqfl.cell.container_streams import ContainerConsumer
from zmqfl.cell.file_service import FileService
from zmqfl.cell.file_streams import NAME_KEY, FileConsumer
from zmqfl.cell.object_verbs import OBJECTS
from zmqfl.cell.streams import Incoming
from zmqfl.cell.transfer_verbs import FILES, reply_of
from zmqfl.errors import CellReturnCode, SinkError, told
from zmqfl.launch.spec import SiteSpec
from zmqfl.protocol.commands import Outcome

log = logging.getLogger("zmqfl.site")

INBOX: Final = "inbox"
OBJECT_NAME: Final = "name"
"""Where the context of a pushed object holds what its file is to be called, without the suffix."""


def serve_files(cell: Cell, spec: SiteSpec) -> None:
    """Take and give files as the spec of a site says."""
    if spec.folder:
        inbox = Path(spec.folder, INBOX)
        cell.consume_streams(FILES, FILES, partial(_consumer, inbox))
        cell.consume_streams(OBJECTS, OBJECTS, partial(_object_consumer, inbox, cell.config.object_limit))
    exports = [Path(folder).expanduser() for folder in spec.exports]
    FileService(cell, exports, Path(spec.run_dir) if spec.run_dir else None).serve()


def _consumer(inbox: Path, incoming: Incoming) -> FileConsumer:
    _make(inbox)
    name = safe_name(str(incoming.context.get(NAME_KEY, "")))
    return FileConsumer(incoming, inbox, name, "keep", None, partial(_ended, incoming.origin, name))


def _ended(origin: str, name: str, path: Path | None, code: CellReturnCode, reason: str, culprit: str) -> Outcome:
    """Tell the owner under which name it arrived: a base name, for where that is is this site's business."""
    if path is None:
        log.warning("%s of %s did not arrive: %s", name, origin, reason or code)
        return Outcome(CellReturnCode.OK)
    log.info("%s of %s has arrived as %s", name, origin, path)
    return reply_of(path.name)


def _object_consumer(inbox: Path, limit: int, incoming: Incoming) -> ContainerConsumer:
    _make(inbox)
    name = safe_name(str(incoming.context.get(OBJECT_NAME) or OBJECTS) + SUFFIX)
    return ContainerConsumer(incoming, limit, values=True, ended=partial(_object_ended, inbox, name, incoming.origin))


def _object_ended(
    inbox: Path, name: str, origin: str, value: Any, code: CellReturnCode, reason: str, culprit: str
) -> Outcome:
    """Write it, and tell the owner under which name, or why not."""
    if code is not CellReturnCode.OK:
        return _ended(origin, name, None, code, reason, culprit)
    try:
        if not isinstance(value, dict):
            remedy = "push a dict, or consume it in a program"
            raise SinkError(f"a {type(value).__name__} cannot be an .npz", file=name, remedy=remedy)
        return _ended(origin, name, write_npz(inbox, name, value), code, reason, culprit)
    except SinkError as error:
        log.warning("%s of %s did not arrive: %s", name, origin, error)
        return Outcome(CellReturnCode.PROCESS_EXCEPTION, told(error))


def _make(inbox: Path) -> None:
    try:
        inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise sink_error(error, inbox) from None
