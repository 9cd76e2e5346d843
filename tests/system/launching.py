"""Runs the command line as people do, in a run folder of its own, and sees that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from tests.system.federation import LONG, until
from zmqfl.cli.main import app

ROOT = Path(__file__).parents[2]
HERE = {"ps", "down", "request", "cells", "route", "rtt", "logs", "keygen"}
"""Verbs that start nothing run in this process: that of their own takes a second, and tests/cli shows that it does the
same."""


class CommandLine:
    """`zmqfl` as a process. `run_dir`: where it keeps what runs; no other process knows of it."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.environ = {**os.environ, "ZMQFL_RUN_DIR": str(run_dir), "NO_COLOR": "1", "COLUMNS": "200"}
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: object, status: int = 0) -> str:
        """Run a verb to its end; returns what it printed. The exit status must be as expected."""
        if arguments[0] in HERE:
            result = CliRunner().invoke(app, list(map(str, arguments)), prog_name="zmqfl", env=self._added())
            ended, out, err = result.exit_code, result.stdout, result.stderr
        else:
            done = self.run(*arguments)
            ended, out, err = done.returncode, done.stdout, done.stderr
        assert ended == status, f"status {ended}\n{out}{err}"
        return out if status == 0 else err

    def _added(self) -> dict[str, str]:
        """What its environment has beside that of this process."""
        return {name: value for name, value in self.environ.items() if os.environ.get(name) != value}

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(arguments),
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Run a verb that goes on, in a process group of its own; its output is one stream."""
        process = subprocess.Popen(
            self._command(arguments),
            cwd=ROOT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self.started.append(process)
        return process

    def json(self, *arguments: object) -> Any:
        return json.loads(self(*arguments, "--json"))

    def sites(self) -> dict[str, dict[str, Any]]:
        """FQCN -> what `ps` says."""
        return {site["fqcn"]: site for site in self.json("ps")["sites"]}

    def state(self) -> dict[str, Any]:
        """What the supervisor has written down."""
        (file,) = self.run_dir.glob("*/_state.json")
        state: dict[str, Any] = json.loads(file.read_text())
        return state

    def site(self, fqcn: str) -> dict[str, Any]:
        """What the supervisor has written down of a site."""
        return next(site for site in self.state()["sites"] if site["fqcn"] == fqcn)

    def processes(self) -> list[int]:
        """Everything that was started in this run folder and lives."""
        mark = f"ZMQFL_RUN_DIR={self.run_dir}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes() + b"\0":
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has just ended
        return found

    def assert_nothing_left(self) -> None:
        """No process, no socket, no key, no state."""
        until(lambda: not self.processes(), f"processes are left: {self.processes()}")
        left = [str(file) for file in self.run_dir.rglob("*") if file.is_file() or file.is_socket()]
        assert [file for file in left if not file.endswith((".log", "/_lock"))] == []

    def close(self) -> None:
        """End whatever a failed test has left."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        for process in self.started:
            assert process.stdout is not None
            process.stdout.close()
            process.wait(LONG)

    @staticmethod
    def _command(arguments: tuple[object, ...]) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "zmqfl", *map(str, arguments)]


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What a process prints until a line holds `text`."""
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"it ended without {text!r}:\n{''.join(lines)}")


def ended_by(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Send the process and its group a signal, again; returns whether it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, number)
    return process.poll() is not None


@contextmanager
def command_line(base: Path) -> Iterator[CommandLine]:
    """A command line in a new run folder below `base`; whatever is left in the end is ended."""
    # A short path, because that of a Unix socket must fit in 107 bytes.
    zmqfl = CommandLine(Path(tempfile.mkdtemp(prefix="r", dir=base)))
    try:
        yield zmqfl
    finally:
        zmqfl.close()
