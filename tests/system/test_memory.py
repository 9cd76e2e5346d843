"""Memory above idle while files and objects move: a few segments at either end, whatever their size, and at a receiver
what it receives (design, section 4)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.bench.memory import Peak, anonymous
from tests.system.federation import ROOT

MIB = 1024 * 1024
MOST = 64
"""MiB above idle that either end may take."""


class Site:
    """A process of `tests.net.site` with the commands of `tests.system.moving`; one command at a time."""

    def __init__(self, fqcn: str, folder: Path, **settings: Any) -> None:
        arguments = json.dumps({"fqcn": fqcn, **settings})
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.net.site", arguments, "--setup", "tests.system.moving:setup"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.fqcn = fqcn
        self.folder = folder / fqcn
        self.folder.mkdir()
        self.url = self._hear()["url"]

    def do(self, name: str, **arguments: Any) -> Any:
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps({"id": 1, "do": name, **arguments}) + "\n")
        self.popen.stdin.flush()
        answer = self._hear()
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def _hear(self) -> dict[str, Any]:
        assert self.popen.stdout is not None
        line: dict[str, Any] = json.loads(self.popen.stdout.readline())
        return line

    def close(self) -> None:
        self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def sites(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Site]]:
    """A server and as many sites as the test asks for, connected."""
    config: dict[str, Any] = {}
    started = [Site("server", tmp_path, listen="tcp://127.0.0.1:*", config=config)]
    try:
        for number in range(request.param):
            started.append(Site(f"site-{number}", tmp_path, parent=started[0].url, config=config))
        for site in started[1:]:
            assert site.do("connected", timeout=30)
            site.do("consume", folder=str(site.folder))
        yield started
    finally:
        for site in reversed(started):
            site.close()


QUICK = pytest.param(4, 96 * MIB, id="4 receivers, 96 MiB")
MANY = pytest.param(16, 256 * MIB, id="16 receivers, 4 GiB together", marks=pytest.mark.soak)
LONG = pytest.param(1, 4096 * MIB, id="1 receiver, 4 GiB", marks=pytest.mark.soak)


@pytest.mark.parametrize(("sites", "size"), [QUICK, MANY, LONG], indirect=["sites"])
def test_memory_while_pushing_and_pulling(sites: list[Site], size: int, tmp_path: Path) -> None:
    server, *receivers = sites
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(size)  # a hole: what is read is in memory all the same
    # What is loaded once, at the first use, is no memory of a transfer.
    small = tmp_path / "small"
    small.write_bytes(b"x")
    names = [site.fqcn for site in receivers]
    server.do("push", path=str(small), to=names, window=1)
    rid = server.do("offer", path=str(small))
    for site in receivers:
        site.do("pull", rid=rid, owner="server")
    idle = {site.popen.pid: anonymous(site.popen.pid) for site in sites}

    with Peak(list(idle)) as pushing:
        assert server.do("push", path=str(source), to=names, window=8) == size
    for site in receivers:
        (site.folder / "source").unlink()
    rid = server.do("offer", path=str(source))
    with Peak(list(idle)) as pulling, ThreadPoolExecutor(len(receivers)) as pool:
        assert set(pool.map(lambda site: site.do("pull", rid=rid, owner="server"), receivers)) == {size}

    for what in (pushing, pulling):
        above = {pid: highest - idle[pid] for pid, highest in what.highest.items()}
        assert max(above.values()) <= MOST, above


TEN = pytest.param(1, 10, 256 * MIB, id="1 receiver, 10 x 256 MiB", marks=pytest.mark.soak)
THREE = pytest.param(3, 3, 32 * MIB, id="3 receivers, 3 x 32 MiB")


@pytest.mark.parametrize(("sites", "count", "size"), [THREE, TEN], indirect=["sites"])
def test_memory_while_objects_are_pushed_and_pulled(sites: list[Site], count: int, size: int) -> None:
    server, *receivers = sites
    names = [site.fqcn for site in receivers]

    def pull(rid: str) -> None:
        with ThreadPoolExecutor(len(receivers)) as pool:
            list(pool.map(lambda site: site.do("pull_object", rid=rid, owner="server"), receivers))

    server.do("make_object", count=1, size=MIB)
    for site in receivers:
        site.do("consume_object")
    server.do("push_object", to=names, window=1)  # what is loaded once, at the first use
    pull(server.do("offer_object"))
    for site in receivers:
        assert site.do("drop_object") == 2 * MIB

    server.do("make_object", count=count, size=size)
    whole = count * size // MIB
    idle = {site.popen.pid: anonymous(site.popen.pid) for site in sites}
    most = {site.popen.pid: (MOST if site is server else whole + MOST) for site in sites}
    with Peak(list(idle)) as pushing:
        server.do("push_object", to=names, window=8)
    for site in receivers:
        assert site.do("drop_object") == count * size
    with Peak(list(idle)) as pulling:
        pull(server.do("offer_object"))
    for site in receivers:
        assert site.do("drop_object") == count * size

    for what in (pushing, pulling):
        above = {pid: highest - idle[pid] for pid, highest in what.highest.items()}
        assert all(above[pid] <= most[pid] for pid in above), (above, most)
