"""`make demo`, and the storm at a relay, as a user sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def lines_of(example: str) -> list[str]:
    """What an example prints; it must end well, and leave no process."""
    demo = [sys.executable, "-W", "error", f"examples/{example}"]
    done = subprocess.run(demo, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("stopped; processes left: none")
    return lines


def begins(lines: list[str], text: str) -> bool:
    return any(line.startswith(text) for line in lines)


def test_a_site_is_killed_in_the_middle_of_a_pull_and_goes_on() -> None:
    lines = lines_of("demo.py")
    for text in ("push to 3 sites: ", "pull by all at once: ", "kill -9 site-2", "back ", "resumed: "):
        assert begins(lines, text), text
    assert "holds: every copy has the digest of the original" in lines
    assert begins(lines, "accuracy 0.9")
    assert "holds: the federated model is as good as one of all data in one place" in lines


def test_a_relay_is_killed_and_every_request_ends_once() -> None:
    lines = lines_of("relay_storm.py")
    assert "holds" in lines
    assert begins(lines, "kill -9 region-a")
    assert begins(lines, "healed")
    assert any("executed at most 1 time each" in line for line in lines)
