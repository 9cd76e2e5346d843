"""The same verbs in coroutines: a broadcast whose replies are read as they come."""

import asyncio

from zmqfl import Cell, Message


async def answer(message: Message) -> str:
    await asyncio.sleep(0)  # a handler may be a coroutine: it runs on this loop
    return f"{message.payload} from {message.get_header('cn__destination')}"


async def main() -> None:
    async with (
        Cell("server", listen="tcp://127.0.0.1:0") as server,
        Cell("site-1", parent=server.url) as one,
        Cell("site-2", parent=server.url) as two,
    ):
        for site in (one, two):
            site.register_request_cb("greeting", "hello", answer)
        async for target, reply in server.broadcast(["site-1", "site-2", "site-3"], "greeting", "hello", "hello"):
            print(target, reply.payload if reply.ok else f"{reply.return_code}: {reply.error}")


asyncio.run(main())
