"""Two cells in one process: one asks, the other answers."""

from zmqfl import Cell, Message


def double(message: Message) -> int:
    return int(message.payload) * 2


with Cell("server", listen="tcp://127.0.0.1:0") as server:
    server.register_request_cb("math", "double", double)
    with Cell("site-1", parent=server.url) as site:
        reply = site.request("server", "math", "double", 21, timeout=5).result()
        print(f"{site.fqcn} asked {reply.origin}: 2 x 21 = {reply.payload}")
