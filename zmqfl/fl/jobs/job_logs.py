"""The logs of one process of a job, beside what it prints.

    log.json         a JSON object per line
    error_log.txt    from WARNING on
    log_fl.txt       what components log

Source: reference "flare" 6.10.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zmqfl.context.workspace import Workspace
from zmqfl.launch.log_stream import log_handler


class JsonLines(logging.Formatter):
    """A record as a line of JSON: time (UTC), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)


@contextmanager
def job_logs(workspace: Workspace, job_id: str | None) -> Iterator[None]:
    """Write the logs within the block; `job_id` None: those of the site, else of that run."""
    files = [
        Path(workspace.get_json_log_file_path(job_id)),
        Path(workspace.get_error_log_file_path(job_id)),
        Path(workspace.get_fl_log_file_path(job_id)),
    ]
    files[0].parent.mkdir(parents=True, exist_ok=True)
    streams = [file.open("a") for file in files]
    handlers = [log_handler(stream) for stream in streams]
    handlers[0].setFormatter(JsonLines())
    handlers[1].setLevel(logging.WARNING)
    handlers[2].addFilter(logging.Filter("zmqfl.component"))
    root = logging.getLogger()
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler, stream in zip(handlers, streams, strict=True):
            root.removeHandler(handler)
            stream.close()
