"""What benchmarks of values move, the same for every peer: arrays that nothing can compress. numpy and nothing else.

source ... ADDRESS           see `transfer_ends`; besides
    ["digest"]               of what it holds
    ["stream", sinks, window]   when every sink holds the container: null
sink ...
    ["take"]                 the digest of what has arrived, which is let go then
    ["ask"]                  seconds of one request with an array and its reply, which is the same array
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

ARRAYS, ARRAY_BYTES = 10, 16 << 20
REQUEST_BYTES = 64 << 20

Container = dict[str, Any]


def make_array(size: int, seed: int = 0) -> Any:
    """An array of float32 with `size` bytes of noise."""
    return np.random.default_rng(seed).integers(0, 1 << 32, size // 4, dtype=np.uint32).view(np.float32)


def make_container() -> Container:
    """Ten arrays by name."""
    return {f"layer-{number}": make_array(ARRAY_BYTES, number) for number in range(ARRAYS)}


def digest_of(container: Container) -> int:
    """The same for the same arrays under the same names, in whatever order."""
    digest = 0
    for name in sorted(container):
        digest = zlib.crc32(container[name].view(np.uint8), zlib.crc32(name.encode(), digest))
    return digest


def same(one: Any, other: Any) -> bool:
    """Whether two arrays have the same bytes; takes no memory."""
    return memoryview(one.view(np.uint8)) == memoryview(other.view(np.uint8))
