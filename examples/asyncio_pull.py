"""Pull in coroutines: two sites fetch the same file, and one of them gives up."""

import asyncio
import tempfile
from pathlib import Path

from zmqfl import Cell


async def fetch(cell: Cell, rid: str, folder: Path) -> None:
    handle = cell.pull(rid, "server", folder, name=f"for-{cell.fqcn}.pt")
    path = await handle
    print(f"{cell.fqcn}: {path.name}, {path.stat().st_size} bytes, {handle.progress.done} of {handle.progress.total}")


async def give_up(cell: Cell, rid: str, folder: Path) -> None:
    task = asyncio.create_task(fetch(cell, rid, folder))
    await asyncio.sleep(0)  # it has begun
    task.cancel()  # a cancelled await cancels the pull
    await asyncio.wait([task])
    print(f"{cell.fqcn}: gave up, {task.cancelled()}")


async def main(folder: Path) -> None:
    path = folder / "model.pt"
    path.write_bytes(bytes(3_000_000))
    (folder / "in").mkdir()
    served = asyncio.Event()

    async def on_served(rid: str, receiver: str, status: str, name: str) -> None:
        if status == "success":
            print(f"server: {receiver} has {name}")
            served.set()

    async with (
        Cell("server", listen="tcp://127.0.0.1:0") as server,
        Cell("site-1", parent=server.url) as one,
        Cell("site-2", parent=server.url) as two,
    ):
        with server.offer(path, on_served=on_served) as offer:
            await asyncio.gather(fetch(one, offer.rid, folder / "in"), give_up(two, offer.rid, folder / "in"))
            await served.wait()
    print(f"left: {sorted(each.name for each in (folder / 'in').iterdir())}")


with tempfile.TemporaryDirectory() as name:
    asyncio.run(main(Path(name)))
