"""Two models in numpy, and how they learn: softmax regression, and a network with one hidden layer."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from digits_data import CLASSES, PIXELS, Images

Weights = dict[str, npt.NDArray[Any]]


class DigitsModel:
    """`hidden`: units of the hidden layer; 0: none, which is softmax regression."""

    def __init__(self, hidden: int = 0, rate: float = 0.2, batch: int = 16) -> None:
        self.hidden = hidden
        self.rate = rate
        self.batch = batch

    def initial_weights(self) -> Weights:
        rng = np.random.default_rng(3)
        sizes = [PIXELS, *([self.hidden] if self.hidden else []), CLASSES]
        weights: Weights = {}
        for i, (wide, narrow) in enumerate(pairwise(sizes)):
            weights[f"w{i}"] = rng.normal(0, (2 / wide) ** 0.5, (wide, narrow)).astype(np.float32)
            weights[f"b{i}"] = np.zeros(narrow, np.float32)
        return weights

    def train(self, weights: Weights, images: Images, epochs: int, seed: int) -> int:
        """Change the weights by stochastic gradient descent; returns the number of steps."""
        rng, steps = np.random.default_rng(seed), 0
        for _ in range(epochs):
            order = rng.permutation(len(images.y))
            for start in range(0, len(order), self.batch):
                self._step(weights, images.take(order[start : start + self.batch]))
                steps += 1
        return steps

    def accuracy(self, weights: Weights, images: Images) -> float:
        """The part of the images that it tells right."""
        return float((self._layers(weights, images.x)[-1].argmax(1) == images.y).mean())

    def _layers(self, weights: Weights, x: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """What each layer gives, the images first and the scores of the digits last."""
        layers = [x]
        for i in range(len(weights) // 2):
            scores = layers[-1] @ weights[f"w{i}"] + weights[f"b{i}"]
            is_last = i == len(weights) // 2 - 1
            layers.append(scores if is_last else np.maximum(scores, 0))
        return layers

    def _step(self, weights: Weights, images: Images) -> None:
        layers = self._layers(weights, images.x)
        chances = np.exp(layers[-1] - layers[-1].max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        chances[np.arange(len(images.y)), images.y] -= 1
        slope = chances / len(images.y)
        for i in reversed(range(len(layers) - 1)):
            below = layers[i]
            onward = (slope @ weights[f"w{i}"].T) * (below > 0) if i else None
            weights[f"w{i}"] -= self.rate * (below.T @ slope)
            weights[f"b{i}"] -= self.rate * slope.sum(0)
            if onward is not None:
                slope = onward
