"""Pull: the server offers a file, tells the sites its reference id, and each fetches it at its own pace."""

import tempfile
import threading
from pathlib import Path

from zmqfl import Cell, Message
from zmqfl.streaming.file_downloader import FileDownloader, download_file

SITES = ("site-1", "site-2")


def fetch(message: Message, cell: Cell, folder: Path) -> str:
    """Called at a site when it hears of a file."""
    error, path = download_file(message.origin, message.payload, 10.0, cell, str(folder))
    return error or f"{path and Path(path).stat().st_size} bytes"


def main(folder: Path) -> None:
    path = folder / "model.pt"
    path.write_bytes(bytes(3_000_000))
    ended = threading.Semaphore(0)

    def downloaded(ref_id: str, to_site: str, status: str, file_name: str) -> None:
        print(f"server: {to_site} has {Path(file_name).name}: {status}")
        ended.release()

    def timed_out(tx_id: str, file_names: list[str]) -> None:
        print(f"server: nobody wants {[Path(name).name for name in file_names]} any more")
        ended.release()

    with (
        Cell("server", listen="tcp://127.0.0.1:0") as server,
        Cell("site-1", parent=server.url) as one,
        Cell("site-2", parent=server.url) as two,
    ):
        for site in one, two:
            (folder / site.fqcn).mkdir()
            site.register_request_cb("files", "offered", fetch, site, folder / site.fqcn)
        transaction = FileDownloader.new_transaction(server, 2.0, timed_out)
        rid = FileDownloader.add_file(transaction, str(path), downloaded)
        for name, reply in server.broadcast(SITES, "files", "offered", rid):
            print(f"{name}: {reply.payload}")
        for _ in (*SITES, "time-out"):
            ended.acquire()


with tempfile.TemporaryDirectory() as name:
    main(Path(name))
