"""A real file goes to a federation of real processes, pushed and pulled; one is killed; then they train a model.

Launches topologies/quickstart.yaml, packs the standard library of Python into a tar, pushes it to all sites, lets them
all pull it at once, kills one with SIGKILL in the middle of its next pull, and has it go on after its restart where it
was. Every copy is checked against the digest of the original. Then the sites train a network on handwritten digits by
federated averaging, the job examples/jobs/fedavg_digits. Nothing is left behind.
"""

import asyncio
import hashlib
import os
import re
import signal
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from zmqfl import Cell
from zmqfl.cell.net_agent import CHANNEL as SITES
from zmqfl.cell.user_proof import proof_of_user
from zmqfl.errors import CellReturnCode
from zmqfl.fl.jobs import archive
from zmqfl.fl.jobs.job_service import SUBMIT, WAIT
from zmqfl.launch.plan import make_plan
from zmqfl.launch.run_state import members
from zmqfl.launch.supervisor import Supervisor
from zmqfl.topology import load

ROOT = Path(__file__).parents[1]
CHANNEL = "demo"
VICTIM = "site-2"
WINDOW = 8
"""Chunks of a push on their way at once."""
HEALING = 15.0
"""Seconds that the killed site may take to be back."""
MOST_MEMORY = 64
"""MiB above idle that a process may need, whatever the size of the file."""
TRAINING = 90.0
"""Seconds that the training may take."""
LOST = 0.02
"""Accuracy that may be lost because the data are in several places."""
LEFT_OUT = {"site-packages", "dist-packages", "__pycache__"}
MB, MIB = 1e6, 1 << 20
console = Console(width=max(100, Console().width), highlight=False)


async def main() -> int:
    os.chdir(ROOT)  # `run:` below names a module of this folder
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="zmqfl-demo-") as folder:
        overrides = ["defaults.run=examples.demo_site:serve", "defaults.restart={backoff: 0.2}"]
        supervisor = Supervisor(make_plan(load("topologies/quickstart.yaml", overrides), Path(folder)))
        up = asyncio.Event()
        running = asyncio.create_task(supervisor.run(30, up.set))
        await asyncio.wait([running, asyncio.create_task(up.wait())], return_when=asyncio.FIRST_COMPLETED)
        try:
            if running.done():
                running.result()
            console.print(f"[bold]up[/] in {time.monotonic() - begin:.1f} s: {len(supervisor.sites)} processes")
            return await Demo(supervisor, Path(folder)).run()
        finally:
            sites = [site.state() for site in supervisor.sites.values()]
            supervisor.stop()
            await running
            left = [pid for site in sites for pid in members(site)]
            console.print(f"stopped; processes left: {left or 'none'}; {time.monotonic() - begin:.1f} s in all")
            assert not left


class Demo:
    """What is done, and whether it holds."""

    def __init__(self, supervisor: Supervisor, folder: Path) -> None:
        self.supervisor = supervisor
        self.folder = folder
        self.sites = sorted(name for name in supervisor.sites if name != "server")
        self.wrong: list[str] = []
        self.columns: dict[str, dict[str, str]] = {}
        """Title -> process -> what is in the table."""

    async def run(self) -> int:
        file = await asyncio.to_thread(pack, self.folder / "stdlib.tar")
        self.size, self.digest = file.stat().st_size, await asyncio.to_thread(sha256, file)
        console.print(f"[bold]packed[/] the standard library: {self.size / MB:.0f} MB, sha256 {self.digest[:16]}...")
        door, url = self.supervisor.plan.door
        async with Cell(f"{door}.demo", parent=url) as cell:
            self.cell = cell
            await self.push(file)
            with cell.offer(file) as offer:
                await self.pull(offer.rid)
                await self.kill_and_resume(offer.rid)
            self.table()
            await self.train()
        for problem in self.wrong:
            console.print(f"[bold red]does not hold[/]: {problem}")
        if not self.wrong:
            console.print("[bold green]holds[/]: every copy has the digest of the original")
            console.print("[bold green]holds[/]: the federated model is as good as one of all data in one place")
        return 1 if self.wrong else 0

    async def push(self, file: Path) -> None:
        with self.measured("push"):
            report = await self.cell.push_file(file, self.sites, window=WINDOW)
        console.print(
            f"[bold]push[/] to {len(self.sites)} sites: {self.rate(report.seconds)} each; all got it, or none"
        )
        self.columns["pushed"] = dict.fromkeys(self.sites, self.rate(report.seconds))
        await self.compare({site: f"inbox/{told.reply}" for site, told in report.targets.items()})

    async def pull(self, rid: str) -> None:
        with self.measured("pull"):
            told = await asyncio.gather(*(self.ask(site, "pull", self.what(rid)) for site in self.sites))
        each = dict(zip(self.sites, told, strict=True))
        self.columns["pulled"] = {site: self.rate(one["seconds"]) for site, one in each.items()}
        console.print(
            f"[bold]pull[/] by all at once: {', '.join(f'{s} {r}' for s, r in self.columns['pulled'].items())}"
        )
        await self.compare({site: one["path"] for site, one in each.items()})

    async def kill_and_resume(self, rid: str) -> None:
        others = [site for site in self.sites if site != VICTIM]
        pulls = {site: self.cell.request(site, CHANNEL, "pull", self.what(rid)) for site in self.sites}
        had = await self.until_half(pulls[VICTIM].done)
        pid = self.pid(VICTIM)
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        console.print(f"[bold red]kill -9[/] {VICTIM} (pid {pid}), which had {had / MB:.0f} MB of {self.size / MB:.0f}")
        paths = {site: (await pulls[site]).payload["path"] for site in others}
        reply = await asyncio.to_thread(pulls[VICTIM].reply)
        if reply.ok:
            self.wrong.append(f"{VICTIM} was quicker than the kill")
        await self.until_back(pid)
        console.print(f"[bold]back[/] {time.monotonic() - killed:.1f} s later: {VICTIM} is pid {self.pid(VICTIM)} now")
        told = await self.ask(VICTIM, "pull", self.what(rid))
        kept, fetched = self.size - told["fetched"], told["fetched"]
        again = max(0, had - kept)
        console.print(
            f"[bold]resumed[/]: {kept / MB:.0f} MB were there and are verified, {fetched / MB:.0f} MB came; "
            f"{again / MB:.1f} MB of them for the second time"
        )
        self.columns["resumed at"] = {VICTIM: f"{kept / MB:.0f} MB"}
        if not kept:
            self.wrong.append(f"{VICTIM} has begun anew")
        await self.compare({**paths, VICTIM: told["path"]})

    # -- parts ---------------------------------------------------------------------------------------------------------

    async def ask(self, site: str, topic: str, payload: Any) -> Any:
        return (await self.cell.request(site, CHANNEL, topic, payload)).payload

    def what(self, rid: str) -> dict[str, str]:
        return {"rid": rid, "owner": self.cell.fqcn}

    async def until_half(self, ended: Callable[[], bool]) -> int:
        """Bytes that the victim has, once it has a third: asked as `zmqfl transfers` asks."""
        done = 0
        while done < self.size / 3 and not ended():
            rows = (await self.cell.request(VICTIM, "_net_manager", "transfers")).payload
            done = max((row["done"] for row in rows), default=0)
        return done

    async def until_back(self, old: int) -> None:
        async with asyncio.timeout(HEALING):
            while self.pid(VICTIM) in (0, old) or not await self.answers():  # noqa: ASYNC110  as a bystander would
                await asyncio.sleep(0.02)

    async def answers(self) -> bool:
        """Whether the new process of the victim serves: with an error, since it has no such file."""
        handle = self.cell.request(VICTIM, CHANNEL, "digest", "nothing", deadline=1.0)
        return (await asyncio.to_thread(handle.reply)).return_code is CellReturnCode.PROCESS_EXCEPTION

    async def train(self) -> None:
        """Submit the job, as `zmqfl submit --wait` does, and show the accuracy of some rounds."""
        job = await asyncio.to_thread(archive.pack, ROOT / "examples/jobs/fedavg_digits")
        begin = time.monotonic()
        with proof_of_user(self.folder) as proof:
            told = await self.cell.request("server", SITES, SUBMIT, {"archive": job, "proof": proof}, TRAINING)
        job_id = told.payload["id"]
        console.print(f"[bold]submitted[/] {job_id} to {', '.join(sorted(told.payload['clients']))}")
        end = (await self.cell.request("server", SITES, WAIT, {"job_id": job_id}, TRAINING)).payload
        if end["state"] != "done":
            self.wrong.append(f"{job_id}: {end['state']}: {end['reason']}")
            return
        console.print(f"[bold]trained[/] in {time.monotonic() - begin:.1f} s, with the start of the processes for it")
        text = (self.folder / "sites/server/jobs" / job_id / "accuracy.csv").read_text()
        rows = [[float(value) for value in line.split(",")] for line in text.splitlines()[1:]]
        for number, accuracy, _, _ in rows[::3]:
            console.print(f"round {number:2.0f}  {'█' * int(50 * accuracy)} {accuracy:.3f}")
        _, reached, _, central = rows[-1]
        console.print(f"[bold]accuracy[/] {reached:.3f}; of a model of all data in one place: {central:.3f}")
        if reached < central - LOST:
            self.wrong.append(f"the federated model has {reached:.3f}, more than two points below {central:.3f}")

    def pid(self, site: str) -> int:
        return self.supervisor.sites[site].state().pid

    def rate(self, seconds: float) -> str:
        return f"{self.size / seconds / MB:.0f} MB/s"

    async def compare(self, copies: dict[str, str]) -> None:
        """Every copy has the digest of the original."""
        digests = await asyncio.gather(*(self.ask(site, "digest", path) for site, path in copies.items()))
        for site, found in zip(copies, digests, strict=True):
            right = self.columns.setdefault("right copies", dict.fromkeys(self.sites, "0"))
            if found == self.digest:
                right[site] = str(int(right[site]) + 1)
            else:
                self.wrong.append(f"{copies[site]} at {site} has another digest")

    @contextmanager
    def measured(self, what: str) -> Iterator[None]:
        """Watch the memory of all processes meanwhile: what is theirs alone, so no cache of files."""
        pids = {**{name: self.pid(name) for name in self.supervisor.sites}, self.cell.fqcn: os.getpid()}
        idle = {name: anonymous(pid) for name, pid in pids.items()}
        most = dict(idle)
        watch = asyncio.create_task(watching(pids, most))
        try:
            yield
        finally:
            watch.cancel()
        above = {name: (most[name] - idle[name]) / MIB for name in pids}
        self.columns[f"memory, {what}"] = {name: f"+{value:.1f} MiB" for name, value in above.items()}
        self.wrong += [f"{name} needed {value:.0f} MiB" for name, value in above.items() if value > MOST_MEMORY]

    def table(self) -> None:
        shown = Table(title=f"[bold]{self.size / MB:.0f} MB, {len(self.sites)} receivers[/]")
        shown.add_column("process", no_wrap=True)
        titles = sorted(self.columns, key=lambda title: title.startswith("memory"))
        for title in titles:
            shown.add_column(title, justify="right", no_wrap=True)
        for name in [*self.sites, "server", self.cell.fqcn]:
            shown.add_row(name, *(column.get(name, "") for column in map(self.columns.__getitem__, titles)))
        console.print(shown)


async def watching(pids: dict[str, int], most: dict[str, int]) -> None:
    while True:
        for name, pid in pids.items():
            most[name] = max(most[name], anonymous(pid))
        await asyncio.sleep(0.02)


def anonymous(pid: int) -> int:
    """Bytes of memory that are no file's; 0 when the process has ended."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) * 1024 if found else 0


def pack(file: Path) -> Path:
    """The standard library of this Python as one file."""
    with tarfile.open(file, "w") as tar:
        tar.add(sysconfig.get_path("stdlib"), "stdlib", filter=wanted)
    return file


def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if LEFT_OUT & set(Path(entry.name).parts) or not (entry.isdir() or entry.isreg()) else entry


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


sys.exit(asyncio.run(main()))
