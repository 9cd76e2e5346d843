"""What holds for every test: it leaves nothing behind, and it says which seeds and tools it ran with.

    seed            a test with this argument runs once per seed, `--seeds` times; its id names the seed. In a module
                    with SEEDS_SHARE = n only a n-th of them: its runs are long
    require(tool)   a fixture: skips the test where `tool` is missing, fails it where ZMQFL_REQUIRE lists the tool
    netns           a marker: the test requires network namespaces; `nft` and `tc` are tools that are tried in one

Time-outs, and the watchdog behind them, are settings of pytest in pyproject.toml.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path

import pytest

GRACE = 2.0
"""Seconds that threads, processes and sockets which are already ending may take."""

KEPT_FILES = {"/dev/random", "/dev/urandom"}
"""Opened once per process by C libraries and kept: no leak."""


# ---------------------------------------------------------------------------------------------- nothing is left behind


@pytest.fixture(autouse=True)
def _leaves_nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail a test that leaks a thread, a descriptor, a child process or a temporary file."""
    # A short path, because an ipc address must fit in 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="t", dir=tmp_path_factory.getbasetemp()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        before = holdings(folder)
        yield
        leaked = wait_until_released(before, folder)
    end_processes(leaked)
    shutil.rmtree(folder)
    if leaked:
        pytest.fail("\n".join(["left behind:", *leaked.values()]), pytrace=False)


def holdings(folder: Path) -> dict[object, str]:
    """What this process holds now: a key that names each thing for good -> a line for people."""
    return {**threads(), **descriptors(), **processes(), **{file: f"  file {file}" for file in folder.rglob("*")}}


def wait_until_released(before: dict[object, str], folder: Path) -> dict[object, str]:
    """What is held beyond `before` even after `GRACE` seconds."""
    deadline = time.monotonic() + GRACE
    while leaked := {key: line for key, line in holdings(folder).items() if key not in before}:
        if time.monotonic() > deadline:
            break
        gc.collect()  # a cycle is not a leak; what should have been closed warns when collected
        time.sleep(0.02)  # noqa: TID251  the kernel's lists send no event
    return leaked


def threads() -> dict[object, str]:
    """Threads of Python, and those of libzmq, which show a context that was not terminated."""
    found: dict[object, str] = {thread: f"  thread {thread.name}" for thread in threading.enumerate()}
    for task in Path("/proc/self/task").iterdir():
        name = read(task / "comm").strip()
        if name.startswith("ZMQbg"):
            found["task", task.name] = f"  thread {name} (a zmq.Context that was not terminated)"
    return found


def descriptors() -> dict[object, str]:
    """Open files and sockets; a number that was closed and opened again is another one."""
    found: dict[object, str] = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:  # the one that listed the folder
            continue
        if target not in KEPT_FILES:
            found["fd", entry, target] = f"  descriptor {entry} -> {target}"
    return found


def processes() -> dict[object, str]:
    """Children of this process, also dead ones that nobody waited for."""
    found: dict[object, str] = {}
    for task in Path("/proc/self/task").iterdir():
        for pid in read(task / "children").split():
            command = read(Path("/proc", pid, "cmdline")).replace("\0", " ").strip()
            found["pid", int(pid)] = f"  process {pid} {command or '(ended, not waited for)'}"
    return found


def read(file: Path) -> str:
    """The text of a file in /proc; "" when its thread or process has ended."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def end_processes(leaked: dict[object, str]) -> None:
    """Kill leaked children, so that only the test that made them suffers."""
    for key in leaked:
        match key:
            case ("pid", int(pid)):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


# ------------------------------------------------------------------------------------------------------ seeds and tools


def pytest_addoption(parser: pytest.Parser) -> None:
    seeds = int(os.environ.get("ZMQFL_SEEDS", "60"))
    parser.addoption("--seeds", type=int, default=seeds, help="runs of each seeded test (ZMQFL_SEEDS; default 60)")


def pytest_report_header(config: pytest.Config) -> str:
    return f"seeds: {config.getoption('seeds')}, required tools: {', '.join(sorted(required_tools())) or 'none'}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        share = getattr(metafunc.module, "SEEDS_SHARE", 1)
        metafunc.parametrize("seed", range(max(1, metafunc.config.getoption("seeds") // share)))


def pytest_configure(config: pytest.Config) -> None:
    # Where modules may not be compiled into the tree, the hundreds of processes of the tests would each compile them
    # anew, half of all that their start costs; an installed package never does.
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(config.rootpath / ".pytest_cache" / "bytecode"))
    # A shell has what it starts in the background ignore SIGINT, and a child inherits that: Ctrl-C would do nothing.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    # Names of files may hold lone surrogates. A report that quotes one could not go from a worker of xdist to the rest.
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("netns"):
        require_tool("netns")


@pytest.fixture(scope="session")
def require() -> Callable[[str], None]:
    """`require("nats-server")`: go on only where the tool is here."""
    return require_tool


def require_tool(tool: str) -> None:
    """Return where `tool` is usable; else skip, or fail where ZMQFL_REQUIRE lists it."""
    if not (reason := why_missing(tool)):
        return
    if tool in required_tools():
        pytest.fail(f"{reason}, and ZMQFL_REQUIRE lists {tool}", pytrace=False)
    pytest.skip(reason)


def required_tools() -> set[str]:
    return set(filter(None, os.environ.get("ZMQFL_REQUIRE", "").split(",")))


RULES = """
add table bridge trial; add chain bridge trial pass { type filter hook forward priority 0; }
add rule bridge trial pass numgen random mod 100 < 5 counter drop
"""
TRIALS = {
    "netns": ("ip", "link", "add", "br0", "type", "bridge"),
    "nft": ("nft", RULES),
    "tc": ("tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1mbit", "burst", "10kb", "latency", "50ms"),
}
"""What a tool must be able to do in a network namespace."""


@cache
def why_missing(tool: str) -> str:
    """Why `tool` cannot be used here; "" when it can. Where the kernel has a say, it is tried."""
    program = "ip" if tool == "netns" else tool
    if not shutil.which(program):
        return f"{tool}: no program `{program}`"
    if tool not in TRIALS:
        return ""
    name = f"zmqfl-probe-{os.getpid()}"
    if reason := why_failed("ip", "netns", "add", name):
        return f"{tool}: {reason}"
    try:
        reason = why_failed("ip", "netns", "exec", name, *TRIALS[tool])
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    return reason and f"{tool}: {reason}"


def why_failed(*command: str) -> str:
    """The words of a command that fails; "" when it does not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return (done.stderr.strip() or f"`{command[0]}` failed") if done.returncode else ""
