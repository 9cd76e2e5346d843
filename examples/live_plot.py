"""A live plot: a site measures, and the server draws the last minute of it as a PNG, again and again while it comes."""

import math
import struct
import tempfile
import threading
import zlib
from collections import deque
from pathlib import Path

import numpy as np

from zmqfl import Cell

MINUTE = 60.0
WIDTH, HEIGHT = 600, 200


def png(points: deque[tuple[float, float]]) -> bytes:
    """Seconds, and values between -1 and 1, as a picture."""
    pixels = np.full((HEIGHT, WIDTH), 255, np.uint8)
    pixels[HEIGHT // 2] = 200
    newest = points[-1][0]
    for seconds, value in points:
        x = WIDTH - 1 - int((newest - seconds) / MINUTE * WIDTH)
        pixels[int((1 - value) / 2 * (HEIGHT - 1)), max(x, 0)] = 0
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(rows), b"IEND"]
    body = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def main(path: Path) -> None:
    with Cell("server", listen="tcp://127.0.0.1:0") as server, Cell("site-1", parent=server.url) as site:
        channel = site.create_channel("wave").result()
        writer = channel.writer().result()

        def measure() -> None:
            for number in range(5000):  # 100 seconds, as they were recorded
                writer.put((number / 50, math.sin(number / 300)), wait_for_active=True).result()
            writer.close().result()
            channel.delete().result()

        threading.Thread(target=measure).start()
        points: deque[tuple[float, float]] = deque()
        drawn = 0
        for item in server.subscribe("wave", policy="wait", items=100, every=5).result():
            points.append(item.value)
            while points[0][0] < points[-1][0] - MINUTE:
                points.popleft()
            if len(points) % 100 == 0 or item.number == 5000:
                path.write_bytes(png(points))
                drawn += 1
        print(f"{path.name}: {path.read_bytes()[1:4].decode()}, drawn again and again: {drawn > 5}")
        print(f"the last minute: {points[0][0]:.1f} s to {points[-1][0]:.1f} s, {len(points)} points")


with tempfile.TemporaryDirectory() as name:
    main(Path(name) / "wave.png")
