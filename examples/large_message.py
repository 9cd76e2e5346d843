"""A model as the payload of a request: 64 MiB stay with the server until each site has pulled them.

The handlers see ordinary arrays, and so does the server in the replies. Nothing but a reference is in the messages.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zmqfl import Cell, Message

SITES = ["site-1", "site-2"]
MIB = 1024 * 1024


def train(message: Message) -> dict[str, Any]:
    """One step at a site: the array is the site's own, and may be changed in place."""
    weights = message.payload["weights"]
    weights -= 0.1 * weights
    return {"weights": weights, "round": message.payload["round"]}


def main() -> None:
    model = np.linspace(0.0, 1.0, 8 * MIB)  # 64 MiB
    with Cell("server", listen="tcp://127.0.0.1:*") as server:
        sites = [Cell(name, parent=server.url) for name in SITES]
        for site in sites:
            site.register_request_cb("task", "train", train)
            site.start()
            site.wait_connected()
        for number in range(3):
            # Serialised once for both sites; the model must stay as it is until they have it (or give `copy=True`).
            replies = server.broadcast(SITES, "task", "train", {"weights": model, "round": number}).result()
            model = np.mean([reply.payload["weights"] for reply in replies.values()], axis=0)
            print(f"round {number}: {len(replies)} models of {model.nbytes // MIB} MiB, mean {model.mean():.4f}")
        for site in sites:
            site.close()


if __name__ == "__main__":
    main()
