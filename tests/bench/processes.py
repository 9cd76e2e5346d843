"""Processes of a benchmark: they say a line of JSON when they are ready, and end when their standard input does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
"""Seconds that a process gets to end."""


class Process:
    """`python -m MODULE ARGUMENTS` in an environment: None for this one, else a folder of the project."""

    def __init__(self, module: str, *arguments: str, environment: str | None = None) -> None:
        python = sys.executable if environment is None else str(ROOT / environment / "bin" / "python")
        self.command = " ".join([python, "-m", module, *arguments])
        self.popen = subprocess.Popen(
            [python, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ready = self.hear()
        """What it said first."""

    def hear(self) -> Any:
        """The next line that it says. Raises `RuntimeError` with its last words when it ends instead."""
        assert self.popen.stdout is not None
        assert self.popen.stderr is not None
        line = self.popen.stdout.readline()
        if not line:
            self.popen.wait(PATIENCE)
            raise RuntimeError(f"{self.command} ended: {self.popen.stderr.read()[-2000:]}")
        return json.loads(line)

    def ask(self, question: object) -> Any:
        """Say a line and hear the answer."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(question) + "\n")
        self.popen.stdin.flush()
        return self.hear()

    def close(self) -> None:
        """Have it end, and wait for it."""
        try:
            self.popen.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.communicate()


def missing(environment: str | None, module: str) -> str:
    """Why `module` cannot be imported in this environment, or ""."""
    if environment is None:
        return ""
    python = ROOT / environment / "bin" / "python"
    if not python.exists():
        return f"{environment} is not set up (make bench)"
    found = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
    return "" if found.returncode == 0 else f"{module} is not installed in {environment}"
