"""A federation of seven processes behind two relays, encrypted; one relay is killed while everybody talks.

Launches topologies/relay-tree.yaml, lets every cell ask every other, kills a relay with SIGKILL in the middle, and
shows that each request ended exactly once, that none ran twice, and that the tree healed. Leaves no process behind.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from zmqfl import Cell, Message, NetAgent
from zmqfl.launch.plan import make_plan
from zmqfl.launch.run_state import members
from zmqfl.launch.supervisor import Supervisor
from zmqfl.topology import load

ROOT = Path(__file__).parents[1]
VICTIM = "region-a"
CALM, STORM = 1.5, 4.0
"""Seconds of each phase."""
HEALING = 15.0
"""Seconds that the tree may take to heal."""
CHANNEL = "storm"
console = Console(width=max(100, Console().width), highlight=False)


async def main() -> int:
    os.chdir(ROOT)  # `run:` below names a module of this folder
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="zmqfl-storm-") as folder:
        overrides = ["defaults.run=examples.relay_site:serve", "defaults.restart={backoff: 0.2}"]
        supervisor = Supervisor(make_plan(load("topologies/relay-tree.yaml", overrides), Path(folder)))
        up = asyncio.Event()
        running = asyncio.create_task(supervisor.run(30, up.set))
        await asyncio.wait([running, asyncio.create_task(up.wait())], return_when=asyncio.FIRST_COMPLETED)
        try:
            if running.done():
                running.result()
            return await show(supervisor, begin)
        finally:
            sites = [site.state() for site in supervisor.sites.values()]
            supervisor.stop()
            await running
            left = [pid for site in sites for pid in members(site)]
            console.print(f"stopped; processes left: {left or 'none'}; {time.monotonic() - begin:.1f} s in all")
            assert not left


async def show(supervisor: Supervisor, begin: float) -> int:
    names = sorted(supervisor.sites)
    count = f"{len(names)} processes, {len(names) - 1} of them behind the root"
    console.print(f"[bold]up[/] in {time.monotonic() - begin:.1f} s: {count}; every TCP link is encrypted (CURVE)")
    door, url = supervisor.plan.door
    async with Cell(f"{door}.storm", parent=url) as cell:
        agent = NetAgent(cell)
        routes = {name: (await asyncio.to_thread(agent.get_route_info, name))[1][2:] for name in names}
        calm = await ask_all_to_load(cell, names, CALM, 1)
        console.print(f"[bold]calm[/]: {requests(calm)} requests of 100 B and 64 KiB between all {pairs(names)} pairs")

        storm = asyncio.create_task(ask_all_to_load(cell, names, STORM, 4))
        await asyncio.sleep(STORM / 3)
        pid = supervisor.sites[VICTIM].state().pid
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        console.print(f"[bold red]kill -9[/] {VICTIM} (pid {pid}) while {len(names) * 4} requests are under way")
        healing = await healed(cell, supervisor, pid)
        console.print(
            f"[bold]healed[/] {healing - killed:.1f} s later: {VICTIM} is pid {pid_of(supervisor, VICTIM)} now"
        )
        loud = await storm
        runs = await cell.broadcast(names, CHANNEL, "most runs")
    table(supervisor, names, routes, calm, loud)
    return verdict(loud, runs)


async def ask_all_to_load(cell: Cell, names: list[str], seconds: float, at_once: int) -> dict[str, Message]:
    """Every cell asks all others; the result of each."""
    handles = {
        name: cell.request(name, CHANNEL, "load", ([other for other in names if other != name], seconds, at_once))
        for name in names
    }
    return dict(zip(names, await asyncio.gather(*(reply_of(handle) for handle in handles.values())), strict=True))


async def reply_of(handle: Any) -> Message:
    """The reply, also when it says that the request failed: the victim's own does."""
    return await asyncio.to_thread(handle.reply)


async def healed(cell: Cell, supervisor: Supervisor, old: int) -> float:
    """When every cell can be asked again, the victim's new process included. Raises `TimeoutError`."""
    async with asyncio.timeout(HEALING):
        while pid_of(supervisor, VICTIM) in (0, old):  # noqa: ASYNC110  the supervisor does not report to a bystander
            await asyncio.sleep(0.01)
        for name in supervisor.sites:
            while not (last := await reply_of(cell.request(name, CHANNEL, "most runs", deadline=1.0))).ok:
                console.print(f"  {name}: {last.return_code}: {last.error}", style="dim")
                await asyncio.sleep(0.1)
    return time.monotonic()


def pid_of(supervisor: Supervisor, name: str) -> int:
    return supervisor.sites[name].state().pid


def requests(results: dict[str, Message]) -> int:
    return sum(reply.payload["sent"] for reply in results.values() if reply.ok)


def pairs(names: list[str]) -> int:
    return len(names) * (len(names) - 1)


def table(
    supervisor: Supervisor,
    names: list[str],
    routes: dict[str, list[str]],
    calm: dict[str, Message],
    loud: dict[str, Message],
) -> None:
    shown = Table(title="[bold]requests of each site to all others[/]")
    shown.add_column("site", no_wrap=True)
    shown.add_column("pid", justify="right")
    shown.add_column("by")
    for column in ("p50 ms", "p99 ms", "sent", "re-sent", "ended once", "failed"):
        shown.add_column(column, justify="right", no_wrap=True)
    for name in names:
        times = sorted(calm[name].payload["times"])
        marks = [f"{1000 * times[int(len(times) * share)]:.1f}" for share in (0.5, 0.99)]
        path = " > ".join(routes[name][:-1]) or "-"
        shown.add_row(name, str(pid_of(supervisor, name)), path, *marks, *counts(loud[name]))
    console.print(shown)
    console.print("p50 and p99: calm, one request at a time. The other columns: while the relay was killed.")


def counts(result: Message) -> list[str]:
    """What happened to the requests of one site while the relay was killed."""
    if not result.ok:
        return ["killed", "-", "-", "-"]
    told = result.payload
    failed = sum(told["codes"].values()) - told["codes"].get("ok", 0)
    return [str(number) for number in (told["sent"], told["resent"], told["ended_once"], failed)]


def verdict(loud: dict[str, Message], runs: dict[str, Message]) -> int:
    """Say what the demo is about; 0 when it holds."""
    told = [reply.payload for reply in loud.values() if reply.ok]
    sent, once = sum(each["sent"] for each in told), sum(each["ended_once"] for each in told)
    lost = [failure for each in told for failure in each["failures"]]
    others = [failure for failure in lost if not failure.startswith(f"{VICTIM}: ")]
    most = max(reply.payload for reply in runs.values())
    console.print(f"each request ended exactly once: {once} of {sent}; executed at most {most} time each")
    console.print(f"failed: {len(lost)}, all of them asked of {VICTIM} itself" if lost else "failed: none")
    for failure in sorted(set(lost))[:3]:
        console.print(f"  {failure}", style="dim")
    good = once == sent and most == 1 and not others
    console.print("[bold green]holds[/]" if good else f"[bold red]does not hold[/]: {others[:3]}")
    return 0 if good else 1


sys.exit(asyncio.run(main()))
