"""The handwritten digits of scikit-learn (1,797 images of 8 x 8), and how they are spread over the sites.

A fifth is for testing and belongs to nobody. The rest is split unevenly, as data of hospitals is: sites have more or
less of it, and more of some digits than of others.

Source of the images: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits",
UCI Machine Learning Repository, CC BY 4.0, as scikit-learn has them.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

CLASSES = 10
PIXELS = 64
TESTED = 360
SKEW = 0.7
"""How even the split is (the parameter of Dirichlet's distribution): the lower, the more sites differ."""
LEAST = 32
"""Images that each site has at least."""


class Images(NamedTuple):
    """`x`: a row of PIXELS numbers from 0 to 1 for each image; `y`: which digit it shows."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]

    def take(self, rows: Any) -> "Images":
        return Images(self.x[rows], self.y[rows])


def load() -> tuple[Images, Images]:
    """(what all sites have together, what is for testing)."""
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        images = Images(file["images"].astype(np.float32) / 16, file["labels"].astype(np.int64))
    order = np.random.default_rng(1).permutation(len(images.y))
    return images.take(order[TESTED:]), images.take(order[:TESTED])


def part_of(site: str, sites: int) -> Images:
    """What one of `sites` sites has, by the number at the end of its name."""
    number = int("".join(filter(str.isdigit, site.rpartition("-")[2])) or 1)
    train, _ = load()
    return train.take(split(train.y, sites)[(number - 1) % sites])


def split(labels: npt.NDArray[np.int64], sites: int) -> list[npt.NDArray[np.int64]]:
    """The rows of each site: the same at all of them, and each row once."""
    rng = np.random.default_rng(2)
    while True:
        parts: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(sites)]
        for digit in range(CLASSES):
            rows = rng.permutation(np.flatnonzero(labels == digit))
            ends = (np.cumsum(rng.dirichlet(np.full(sites, SKEW))) * len(rows)).astype(int)[:-1]
            for part, more in zip(parts, np.split(rows, ends), strict=True):
                part.append(more)
        found = [np.concatenate(part) for part in parts]
        if min(map(len, found)) >= LEAST:
            return found
