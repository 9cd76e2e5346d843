"""Every example runs as a process, as a reader would run it; so does the snippet of the README."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "hello.py": ["site-1 asked server: 2 x 21 = 42"],
    "hello_async.py": [
        "hello from site-1",
        "hello from site-2",
        "site-3 target_unreachable: server has no route to site-3",
    ],
    "push_file.py": [
        "site-1: model.pt of round 1, 3000000 bytes, True",
        "site-2: model.pt of round 1, 3000000 bytes, True",
        "server: OK, True",
        "site-1: TASK_ABORTED, and nothing was kept",
        "site-2: EXECUTION_EXCEPTION, and nothing was kept",
        "server: ERROR, False",
    ],
    "rpc_calculator.py": [
        "published: divide(a: float, b: float = 2.0) -> float",
        "published: trig.half_turn() -> float",
        "7 / 2 = 3.5",
        "half a turn: 180.0",
        "squares: [0, 1, 4, 9, 16]",
        "not sent: c",
        "raised there: division by zero",
        "waited a tenth of a second",
    ],
    "secure_push.py": [
        "secure=False: both sites have it; could the relay read it? yes",
        "secure=True: both sites have it; could the relay read it? no",
    ],
    "pull_file.py": [
        "site-1: 3000000 bytes",
        "site-2: 3000000 bytes",
        "server: site-1 has model.pt: success",
        "server: site-2 has model.pt: success",
        "server: nobody wants ['model.pt'] any more",
    ],
    "announce_and_pull.py": [
        "site-1: words.txt, 20000 bytes",
        "site-2: model.pt, 3000000 bytes",
        "site-2: words.txt, 20000 bytes",
        "still announced: ['words.txt']",
    ],
    "shared_props.py": [
        "server: site-1 is done, its loss is 0.125",
        "server: site-2 is done, its loss is 0.125",
        "site-3: 3 rounds, ['server', 'site-1', 'site-2']",
        "site-3: the loss of site-1 is 0.125",
    ],
    "fan_out_through_relay.py": [
        "6 sites have 48 MiB in all",
        "the relay asked the server for 8 chunks of 1 MiB, and handed on 48 MiB",
        "it keeps 8 MiB of model.pt for whoever else may have it",
    ],
    "stream_container.py": [
        "site-1: OK, round 1, 4 layers, 6000000, thanks",
        "site-2: OK, round 1, 4 layers, 6000000, thanks",
        "server: OK, True",
    ],
    "retrieve_container.py": [
        "site-1: OK, ['weights', 'bias'], 499999500000",
        "site-1: BAD_REQUEST_DATA, None",
        "server: OK, 'epoch 1: loss 0.25'",
        "server: BAD_REQUEST_DATA, None",
    ],
    "large_message.py": [
        "round 0: 2 models of 64 MiB, mean 0.4500",
        "round 1: 2 models of 64 MiB, mean 0.4050",
        "round 2: 2 models of 64 MiB, mean 0.3645",
    ],
    "build_job.py": ["status 0: y = 2.0 x + 1.0"],
    "measurement.py": [
        "file: 2500 samples, all of them: True",
        "analysis: in order: True, the last: (2499, 29.9)",
        "display: one value a second: True, of 2500",
    ],
    "live_plot.py": [
        "wave.png: PNG, drawn again and again: True",
        "the last minute: 40.1 s to 100.0 s, 600 points",
    ],
    "custom_streamer.py": ["site-1: m1 ended with OK", "server: OK, {'site-1': 3000.0}"],
    "asyncio_pull.py": [
        "site-1: for-site-1.pt, 3000000 bytes, 3000000 of 3000000",
        "server: site-1 has model.pt",
        "site-2: gave up, True",
        "left: ['for-site-1.pt']",
    ],
}
OWN_TESTS = {"demo.py", "demo_site.py", "relay_site.py", "relay_storm.py"}
"""tests/system/test_demo.py runs these."""


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_expected_here() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {*EXPECTED, *OWN_TESTS}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_example(name: str) -> None:
    output = run(f"examples/{name}")
    for line in EXPECTED[name]:
        assert line in output


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    if path.name not in OWN_TESTS:
        assert len(path.read_text().splitlines()) <= 60


def test_readme_example() -> None:
    snippet = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[0]
    assert run("-c", snippet) == "42\n"
