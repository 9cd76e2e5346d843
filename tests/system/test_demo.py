"""`make demo`, as a user sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_relay_is_killed_and_every_request_ends_once() -> None:
    demo = [sys.executable, "-W", "error", "examples/demo.py"]
    done = subprocess.run(demo, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "holds" in lines
    assert any(line.startswith("kill -9 region-a") for line in lines)
    assert any(line.startswith("healed") for line in lines)
    assert any("executed at most 1 time each" in line for line in lines)
    assert lines[-1].startswith("stopped; processes left: none")
