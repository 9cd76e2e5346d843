"""The leak check, the seeds and `require`, each in a pytest of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent

LEAKS = {
    "thread stuck": """
        import threading
        def test_leaks():
            threading.Thread(target=threading.Event().wait, name="stuck", daemon=True).start()
    """,
    "thread ZMQbg/": """
        import zmq
        kept = []
        def test_leaks():
            context = zmq.Context()
            kept.extend([context, context.socket(zmq.ROUTER)])
    """,
    "descriptor": """
        import os
        def test_leaks():
            os.pipe()
    """,
    "process * sleep 60": """
        import subprocess
        kept = []
        def test_leaks():
            kept.append(subprocess.Popen(["sleep", "60"]))
    """,
    "process * (ended, not waited for)": """
        import os
        def test_leaks():
            if not os.fork():
                os._exit(0)
    """,
    "file": """
        import tempfile
        def test_leaks():
            tempfile.mkdtemp()
    """,
}


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test project with our conftest."""
    monkeypatch.delenv("ZMQFL_REQUIRE", raising=False)
    pytester.makeconftest((HERE / "conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers = netns: needs network namespaces\n")
    return pytester


@pytest.mark.parametrize("what", LEAKS)
def test_a_leak_fails_the_test_that_made_it(inner: pytest.Pytester, what: str) -> None:
    inner.makeconftest((HERE / "conftest.py").read_text() + "\nGRACE = 0.2\n")
    inner.makepyfile(LEAKS[what] + "\n        def test_next(): pass\n")
    result = inner.runpytest_subprocess()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_leaks*", "left behind:", f"  {what}*"])


def test_what_ends_within_the_grace_is_no_leak(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import os, subprocess, tempfile, threading
        import zmq

        def test_clean():
            threading.Timer(0.3, lambda: None).start()
            subprocess.run(["true"], check=True)
            with zmq.Context() as context, context.socket(zmq.ROUTER), tempfile.TemporaryDirectory():
                pass

        def test_cycle():
            loop = [os.fdopen(os.dup(1))]
            loop.append(loop)
            loop[0].close()
        """
    )
    inner.runpytest_subprocess().assert_outcomes(passed=2)


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_seeded_test_runs_once_per_seed(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    inner.makepyfile("def test_seeded(seed): assert seed < 3")
    if by == "environment":
        monkeypatch.setenv("ZMQFL_SEEDS", "4")
    result = inner.runpytest_subprocess(*(["--seeds", "4"] if by == "option" else []))
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["seeds: 4, *", "FAILED *test_seeded?3?*"])


@pytest.mark.parametrize(
    ("required", "outcome"), [("", {"skipped": 1, "passed": 1}), ("ray,no-such-tool", {"failed": 1, "passed": 1})]
)
def test_a_missing_tool_skips_unless_required(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, required: str, outcome: dict[str, int]
) -> None:
    monkeypatch.setenv("ZMQFL_REQUIRE", required)
    inner.makepyfile(
        """
        def test_missing(require): require("no-such-tool")
        def test_present(require): require("sleep")
        """
    )
    result = inner.runpytest_subprocess("-rs")
    result.assert_outcomes(**outcome)
    assert "no-such-tool: no program `no-such-tool`" in result.stdout.str()


def test_the_netns_marker_requires_network_namespaces(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    inner.makepyfile("import pytest\n@pytest.mark.netns\ndef test_far(): pass")
    result = inner.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*netns: no program `ip`"])
