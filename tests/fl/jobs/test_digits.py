"""The example that trains: its data, its models, its plot. That it trains over processes is in tests/system."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

CUSTOM = Path(__file__).parents[3] / "examples/jobs/fedavg_digits/app/custom"


@pytest.fixture
def custom(monkeypatch: pytest.MonkeyPatch, modules: None) -> Iterator[Any]:
    """Imports a module of the job."""
    monkeypatch.syspath_prepend(str(CUSTOM))
    return importlib.import_module  # type: ignore[return-value]


@pytest.mark.parametrize("sites", [1, 2, 3, 8])
def test_the_split_is_uneven_and_gives_each_image_once(custom: Any, sites: int) -> None:
    data = custom("digits_data")
    train, test = data.load()
    assert (len(train.y), len(test.y), train.x.max(), train.x.min()) == (1437, 360, 1.0, 0.0)
    parts = data.split(train.y, sites)
    assert sorted(np.concatenate(parts)) == list(range(1437))
    assert min(map(len, parts)) >= data.LEAST
    if sites > 1:
        shares = np.array([np.bincount(train.y[part], minlength=10) / len(part) for part in parts])
        assert (shares.max(0) - shares.min(0)).max() > 0.1  # some digit is far more common at one of them


def test_a_site_has_its_part_and_no_other(custom: Any) -> None:
    data = custom("digits_data")
    train, _ = data.load()
    sizes = [len(part) for part in data.split(train.y, 3)]
    assert [len(data.part_of(name, 3).y) for name in ("site-1", "site-2", "site-3", "site-4", "hospital")] == [
        *sizes, sizes[0], sizes[0],
    ]  # fmt: skip


@pytest.mark.parametrize("hidden", [0, 5])
def test_the_steps_go_down_the_gradient(custom: Any, hidden: int) -> None:
    """Against differences of the loss."""
    model = custom("digits_model").DigitsModel(hidden, rate=1.0)
    train, _ = custom("digits_data").load()
    few = train.take(slice(0, 7))
    before = {name: array.astype(np.float64) for name, array in model.initial_weights().items()}

    def loss(weights: Any) -> float:
        scores = model._layers(weights, few.x)[-1]
        scores = scores - scores.max(1, keepdims=True)
        return float((np.log(np.exp(scores).sum(1)) - scores[np.arange(7), few.y]).mean())

    after = {name: array.copy() for name, array in before.items()}
    model._step(after, few)
    rng = np.random.default_rng(0)
    for name, array in before.items():
        place = tuple(rng.integers(size) for size in array.shape)
        moved = {key: value.copy() for key, value in before.items()}
        moved[name][place] += 1e-6
        slope = (loss(moved) - loss(before)) / 1e-6
        assert before[name][place] - after[name][place] == pytest.approx(slope, abs=1e-4)


@pytest.mark.parametrize("hidden", [0, 32])
def test_both_models_learn(custom: Any, hidden: int) -> None:
    model = custom("digits_model").DigitsModel(hidden)
    train, test = custom("digits_data").load()
    weights = model.initial_weights()
    assert model.accuracy(weights, test) < 0.3
    assert model.train(weights, train, 10, seed=0) == 10 * 90  # 1437 images in batches of 16
    assert model.accuracy(weights, test) > 0.93
    assert all(array.dtype == np.float32 for array in weights.values())


def test_the_plot_and_the_table(custom: Any, tmp_path: Path) -> None:
    log = custom("accuracy_log").AccuracyLog(custom("digits_model").DigitsModel())
    log.central = 0.9
    log.rows = [(0, 0.5, 100), (1, 0.75, 100)]
    log.write(tmp_path)
    assert (tmp_path / "accuracy.csv").read_text() == (
        "round,accuracy,steps,central\n0,0.5000,100,0.9000\n1,0.7500,100,0.9000\n"
    )
    root = ElementTree.parse(tmp_path / "accuracy.svg").getroot()
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "federated: 0.750" in words
    assert "all images in one place: 0.900" in words
