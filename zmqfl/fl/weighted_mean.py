"""The mean of models, each with a weight, kept as they come: it holds one model, however many are added.

The running form, mean += (model - mean) * weight / total, needs no second pass and loses no digits to a big sum. It
computes in the arrays that it is given, so that adding a model of 10 GiB takes no 10 GiB more.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from zmqfl.errors import ArgumentError

Array = npt.NDArray[Any]
Weights = dict[str, Array]


class WeightedMean:
    """See the module. Not for several threads at once."""

    def __init__(self) -> None:
        self.count = 0
        """Models that were added."""
        self.total = 0.0
        """Sum of their weights."""
        self._mean: Weights = {}
        self._kinds: dict[str, np.dtype[Any]] = {}

    def add(self, model: Mapping[str, Any], weight: float | np.integer[Any]) -> None:
        """Add a model; its arrays are this object's from now on, and change.

        `model`: name -> array of numbers, the same names and shapes each time. `weight`: above 0. Raises
        `ArgumentError`, and then nothing was added.
        """
        self._check(model, weight)
        share = float(weight)
        self.total += share
        for name, given in model.items():
            array = self._own(given)
            if self.count:
                np.subtract(array, self._mean[name], out=array)
                array *= share / self.total
                self._mean[name] += array
            else:
                self._mean[name], self._kinds[name] = array, np.asarray(given).dtype
        self.count += 1

    def result(self) -> Weights:
        """The mean, in the types of the first model. Raises `ArgumentError` when there is none."""
        if not self.count:
            raise ArgumentError("there is no mean of no model; add one first")
        return {name: _converted(array, self._kinds[name]) for name, array in self._mean.items()}

    def _own(self, given: Any) -> Array:
        """The array to compute in: the one that was given where that may be."""
        array = np.asarray(given)
        kind = np.result_type(array.dtype, np.float32) if array.dtype.kind == "f" else np.dtype(np.float64)
        return np.require(array, kind, ["W"])

    def _check(self, model: Mapping[str, Any], weight: object) -> None:
        if isinstance(weight, bool) or not isinstance(weight, Real) or not 0 < float(weight) < inf:
            raise ArgumentError(f"the weight of a model must be a number above 0, not {weight!r}")
        if self.count and model.keys() != self._mean.keys():
            odd = sorted(map(str, model.keys() ^ self._mean.keys()))
            raise ArgumentError(f"the models differ in their names: {', '.join(odd[:5])}")
        if not model:
            raise ArgumentError("the model is empty")
        for name, value in model.items():
            array = np.asarray(value)
            if array.dtype.kind not in "fiu":
                raise ArgumentError(f"{name!r} holds {array.dtype}, no numbers")
            if self.count and array.shape != self._mean[name].shape:
                raise ArgumentError(f"{name!r} has the shape {array.shape}, not {self._mean[name].shape}")
            if array.dtype.kind == "f" and not _is_finite(array):
                raise ArgumentError(f"{name!r} holds a value that is not finite")


def _is_finite(array: Array) -> bool:
    """Whether it holds neither infinity nor NaN: both show in one of the extremes, with no mask of its size."""
    return not array.size or bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def _converted(array: Array, kind: np.dtype[Any]) -> Array:
    return (np.rint(array) if kind.kind in "iu" else array).astype(kind, copy=False)
