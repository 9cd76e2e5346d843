"""A measurement: one device, three who read it at once. A file loses nothing, an analysis takes what it can, a display
gets one value a second. Each is a client of the stream server, which runs in a process of its own."""

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from zmqfl import StreamClient_Thread, StreamServer

CHANNEL = "AnalogInput1"
SAMPLES = 2500


def measure(device: StreamClient_Thread) -> None:
    pause = threading.Event()
    for number in range(SAMPLES):
        device.put_data(CHANNEL, (number, 20 + number % 100 / 10), wait_for_active=True)
        if number % 10 == 9:
            pause.wait(0.01)  # about 1,000 samples a second
    device.delete_channel(CHANNEL)


def read(client: StreamClient_Thread, found: list[tuple[int, float]], path: Path) -> None:
    """Take what comes until the channel ends; write it to a file."""
    with path.open("w") as file:
        for item in client.get_read_channel_buffer(CHANNEL):
            found.append(item.value)
            file.write("{},{}\n".format(*item.value))


def main(folder: Path) -> None:
    with StreamServer(port=0) as server:
        names = ("device", "store", "analysis", "display")
        device, store, analysis, display = clients = [StreamClient_Thread(name, server.url) for name in names]
        for client in clients:
            client.start()
        device.create_new_channel(CHANNEL)
        store.subscribe_read_channel(CHANNEL, None)  # any number: nothing is lost
        analysis.subscribe_read_channel(CHANNEL, 500)  # a ring in the middle
        display.subscribe_read_channel(CHANNEL, 1, fill_frequency=1)  # the newest, once a second
        found: list[list[tuple[int, float]]] = [[], [], []]
        with ThreadPoolExecutor() as pool:
            for client, got in zip(clients[1:], found, strict=True):
                pool.submit(read, client, got, folder / client.name)
            measure(device)
        print(
            f"file: {len((folder / 'store').read_text().splitlines())} samples, all of them: {len(found[0]) == SAMPLES}"
        )
        print(f"analysis: in order: {found[1] == sorted(found[1])}, the last: {found[1][-1]}")
        print(f"display: one value a second: {2 <= len(found[2]) <= 30}, of {SAMPLES}")
        for client in clients:
            client.stop_client()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
