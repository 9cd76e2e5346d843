"""Props: each site says how far it is, once, and whoever cares reads or follows it; nobody is asked."""

import asyncio

from zmqfl import Cell

SITES = ("site-1", "site-2")
ROUNDS = 3


def train(site: Cell) -> None:
    """Every round halves the loss."""
    for number in range(1, ROUNDS + 1):
        site.props.set("progress", {"round": number, "loss": 0.5**number})


async def follow(server: Cell) -> None:
    """Until all are done. Of a site that is quicker than its reader only the latest is told."""
    done = set()
    async for prop in server.props.changes():
        if prop.key == "progress" and prop.value["round"] == ROUNDS:
            print(f"{server.fqcn}: {prop.cell} is done, its loss is {prop.value['loss']}")
            done.add(prop.cell)
        if done == set(SITES):
            return


async def main() -> None:
    async with (
        Cell("server", listen="tcp://127.0.0.1:0") as server,
        Cell("site-1", parent=server.url) as one,
        Cell("site-2", parent=server.url) as two,
    ):
        server.props.set("rounds", ROUNDS)
        for site in one, two:
            train(site)
        await follow(server)
        async with Cell("site-3", parent=server.url) as late:
            await late.props.current()  # what was said before it came, it knows now
            print(f"site-3: {late.props.get('server', 'rounds')} rounds, {sorted(late.props.all())}")
            print(f"site-3: the loss of site-1 is {late.props.get('site-1', 'progress')['loss']}")


asyncio.run(main())
