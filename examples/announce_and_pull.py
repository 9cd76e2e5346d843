"""Announce: a server tells of files once, and every site, early or late, pulls what it wants of them."""

import tempfile
import threading
from pathlib import Path

from zmqfl import Announcement, Cell


def is_small(each: Announcement) -> bool:
    """The rule of a site with little room."""
    return each.size < 1_000_000


def main(folder: Path) -> None:
    (folder / "model.pt").write_bytes(bytes(3_000_000))
    (folder / "words.txt").write_bytes(bytes(20_000))
    came, over = threading.Semaphore(0), threading.Event()

    def pulled(each: Announcement, path: Path | None, error: BaseException | None) -> None:
        print(f"{path.parent.name}: {path.name}, {each.size} bytes" if path else f"{each.name}: {error}")
        came.release()

    def look(each: Announcement) -> None:
        if not each.is_live:
            over.set()

    with (
        Cell("server", listen="tcp://127.0.0.1:0") as server,
        Cell("site-1", parent=server.url) as early,
        Cell("site-2", parent=server.url) as late,
    ):
        for site in early, late:
            (folder / site.fqcn).mkdir()
        early.auto_pull("models", folder / "site-1", rule=is_small, done=pulled)
        with server.offer(folder / "model.pt", announce="models"):
            server.offer(folder / "words.txt", announce="models")
            came.acquire()  # site-1 has what it wants
            late.auto_pull("models", folder / "site-2", done=pulled)
            for _ in range(2):
                came.acquire()
            early.announcements("models").watch(look)
        over.wait()  # the model is offered no longer, and so it is announced no longer
        print("still announced:", [each.name for each in early.announcements("models")])


with tempfile.TemporaryDirectory() as name:
    main(Path(name))
