"""The mean of models: right, in place, and in no more memory than one of them."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from zmqfl.errors import ArgumentError
from zmqfl.fl.weighted_mean import WeightedMean


def test_weighted_by_steps() -> None:
    mean = WeightedMean()
    mean.add({"w": np.array([1.0, 2.0])}, 1)
    mean.add({"w": np.array([4.0, 8.0])}, np.int64(2))
    assert np.allclose(mean.result()["w"], [3.0, 6.0])
    assert (mean.count, mean.total) == (2, 3.0)


def test_any_number_of_models(seed: int) -> None:
    rng = np.random.default_rng(seed)
    models = [{"a": rng.normal(size=(3, 4)), "b": rng.normal(size=7)} for _ in range(rng.integers(1, 12))]
    weights = [float(each) for each in rng.uniform(0.1, 1000, len(models))]
    mean = WeightedMean()
    expected = {name: np.average([model[name] for model in models], axis=0, weights=weights) for name in "ab"}
    for model, weight in zip(models, weights, strict=True):
        mean.add(model, weight)
    assert all(np.allclose(mean.result()[name], expected[name]) for name in "ab")


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int64, np.uint8])
def test_types_stay(kind: Any) -> None:
    mean = WeightedMean()
    for value in (1, 2, 4):
        mean.add({"w": np.full(3, value, kind)}, 1.0)
    found = mean.result()["w"]
    assert found.dtype == kind
    assert np.allclose(found, 2 if np.issubdtype(kind, np.integer) else 7 / 3, rtol=1e-3)


def test_small_floats_are_not_summed_as_such() -> None:
    """A thousand float16 of 0.1: their running mean in float16 drifts."""
    mean = WeightedMean()
    for _ in range(1000):
        mean.add({"w": np.array([0.1, 60000.0], np.float16)}, 1.0)
    assert np.array_equal(mean.result()["w"], np.array([0.1, 60000.0], np.float16))


def test_what_cannot_be_written_is_copied() -> None:
    fixed = np.ones(3)
    fixed.flags.writeable = False
    mean = WeightedMean()
    mean.add({"w": fixed}, 1)
    mean.add({"w": fixed}, 1)
    assert np.array_equal(mean.result()["w"], fixed)
    assert np.array_equal(fixed, np.ones(3))


def test_one_model_is_held() -> None:
    size = 4 << 20
    mean = WeightedMean()
    tracemalloc.start()
    try:
        for _ in range(5):
            mean.add({"a": np.ones(size // 4, np.float32), "b": np.ones(size // 4, np.float32)}, 1.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.2 * 2 * size  # the mean, and the one that is being added


@pytest.mark.parametrize(
    ("model", "weight", "told"),
    [
        ({"w": np.ones(2)}, 0, "must be a number above 0, not 0"),
        ({"w": np.ones(2)}, float("nan"), "must be a number above 0, not nan"),
        ({"w": np.ones(2)}, float("inf"), "must be a number above 0, not inf"),
        ({"w": np.ones(2)}, True, "must be a number above 0, not True"),
        ({"w": np.ones(2)}, "1", "must be a number above 0, not '1'"),
        ({"v": np.ones(2)}, 1, "differ in their names: v, w"),
        ({}, 1, "differ in their names: w"),
        ({"w": np.ones(3)}, 1, r"'w' has the shape \(3,\), not \(2,\)"),
        ({"w": np.array(["a", "b"])}, 1, "'w' holds <U1, no numbers"),
        ({"w": np.array([1.0, np.nan])}, 1, "'w' holds a value that is not finite"),
        ({"w": np.array([1.0, -np.inf])}, 1, "'w' holds a value that is not finite"),
    ],
)
def test_what_does_not_fit_changes_nothing(model: dict[str, Any], weight: Any, told: str) -> None:
    mean = WeightedMean()
    mean.add({"w": np.array([1.0, 3.0])}, 2)
    with pytest.raises(ArgumentError, match=told):
        mean.add(model, weight)
    assert (mean.count, mean.total) == (1, 2)
    assert np.array_equal(mean.result()["w"], [1.0, 3.0])


def test_no_model_has_no_mean() -> None:
    with pytest.raises(ArgumentError, match="there is no mean of no model; add one first"):
        WeightedMean().result()
    with pytest.raises(ArgumentError, match="the model is empty"):
        WeightedMean().add({}, 1)


def test_empty_arrays_are_fine() -> None:
    mean = WeightedMean()
    mean.add({"w": np.ones(0)}, 1)
    mean.add({"w": np.ones(0)}, 1)
    assert mean.result()["w"].shape == (0,)
