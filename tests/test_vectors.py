"""What a vector is, scores of classes or values, and what the gate makes of values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from tiny_models import classifier, samples

import autogo_onnx
from autogo_onnx.quantities import Quantities, quantities_of
from autogo_onnx.runtime import open_session
from autogo_onnx.samples import Samples
from autogo_onnx.vectors import is_of_classes, units


def learnt(classes: int, seed: int, steps: int = 200) -> np.ndarray:
    """Scores of a linear classifier that was trained from random weights on clusters of points."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=256)
    points = 2 * rng.standard_normal((classes, 16))[truth] + rng.standard_normal((256, 16))
    weights = 0.1 * rng.standard_normal((16, classes))
    for _ in range(steps):
        scores = points @ weights
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(256), truth] -= 1
        weights -= 0.1 * points.T @ p / 256
    return np.asarray(points @ weights, np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_what_was_trained_to_tell_classes_is_of_classes(classes: int) -> None:
    scores = learnt(classes, seed=0)
    assert is_of_classes(scores)
    assert is_of_classes(softmax(scores))
    assert is_of_classes(np.log(softmax(scores)))
    assert is_of_classes(scores[:, :1] * [1.0, -1.0])


def boxes(count: int = 64) -> np.ndarray:
    rng = np.random.default_rng(0)
    centre, half = rng.uniform(80, 160, (count, 2)), rng.uniform(10, 40, (count, 2))
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


@pytest.mark.parametrize("kind", ["boxes", "angles", "embedding", "several labels", "nothing"])
def test_values_are_not_of_classes(kind: str) -> None:
    rng = np.random.default_rng(1)
    values = {
        "boxes": boxes(),
        "angles": 40 * rng.standard_normal((64, 3)),
        "embedding": rng.standard_normal((64, 128)),
        "several labels": 1 / (1 + np.exp(-4 * rng.standard_normal((64, 20)))),
        "nothing": np.full((64, 4), np.nan),
    }[kind]
    assert not is_of_classes(values.astype(np.float32))
    assert not is_of_classes(values.astype(np.float32)[:, :, None])


@given(st.floats(1.0, 30.0), st.integers(0, 100))
def test_values_of_one_spread_have_one_unit(times: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(2, 3, (64, 5)) * [1, 1, times, times, 1]
    values[:, 4] = 7.0
    (first, second, third, fourth, constant) = units(values)
    assert first == second == constant == 0
    assert third == fourth
    assert third == (times > 4 * values[:, 2].std() / values[:, 2].std()) or 3.5 < times < 4.6


def test_shares_have_one_unit() -> None:
    values = np.random.default_rng(0).uniform(0, [1, 0.01, 0.2], (64, 3))
    assert units(values).tolist() == [0, 0, 0]


def telling_boxes(seed: int = 0) -> onnx.ModelProto:
    """Corners of boxes instead of scores, x1 < y1 < x2 < y2, and an angle."""
    model = classifier(seed)
    for tensor in model.graph.initializer:
        if tensor.name == "g.w":
            x, y, width, height, angle = np.random.default_rng(seed).standard_normal((5, 16))
            corners = [20 * x - width, 20 * y - height, 20 * x + width, 20 * y + height]
            mixed = np.stack([*corners, 0.1 * angle])
            tensor.CopyFrom(numpy_helper.from_array(mixed.astype(np.float32), "g.w"))
        elif tensor.name == "g.b":
            offsets = np.array([50, 100, 200, 300, 0], np.float32)
            tensor.CopyFrom(numpy_helper.from_array(offsets, "g.b"))
    return model


def outputs(model: onnx.ModelProto, feed: np.ndarray) -> np.ndarray:
    return np.asarray(open_session(model).run(None, {"x": feed})[0])


def lost(model: onnx.ModelProto, changed: onnx.ModelProto) -> np.ndarray:
    """The share of the variance of every value that is lost on unseen samples."""
    unseen = samples(200, seed=7)
    before, after = outputs(model, unseen), outputs(changed, unseen)
    return np.asarray(((after - before) ** 2).mean(axis=0) / before.var(axis=0))


def test_values_are_kept_one_and_all(tmp_path: Path) -> None:
    path = tmp_path / "samples.npy"
    np.save(path, samples(128))
    model = telling_boxes()
    as_classes = autogo_onnx.optimize(model, path, target="macs", gate="accuracy")
    assert as_classes.plan
    assert lost(model, as_classes.model).max() > 0.3, "by the largest alone, values are lost"
    report = autogo_onnx.optimize(model, path, target="macs", min_psnr=38.0)
    assert report.plan
    assert report.fidelity is not None
    assert report.fidelity.gate == "psnr"
    assert lost(model, report.model).max() < 4 * 10 ** (2.5 - 3.8), "a fourth of a quantity's each"
    assert any("is judged as values" in note for note in report.notes)


def test_the_user_may_say_what_it_is() -> None:
    given = Samples({"x": samples(64)})
    assert quantities_of(classifier(), given) == Quantities()
    assert list(quantities_of(classifier(), given, "values").kinds) == ["scores"]
    assert quantities_of(telling_boxes(), given, "accuracy") == Quantities()
    labelled = Samples(given.feeds, np.zeros(64, np.int64))
    assert quantities_of(telling_boxes(), labelled) == Quantities()


def test_values_count_from_their_means_each_in_its_unit() -> None:
    model, given = telling_boxes(), Samples({"x": samples(64)})
    found = quantities_of(model, given)
    assert found.kinds["scores"].tolist() == [1, 1, 1, 1, 0]
    values = outputs(model, given.feeds["x"])
    small, large = found.split({"scores": values})
    assert (small.shape, large.shape) == ((64, 1, 1), (64, 4, 1))
    np.testing.assert_allclose(large.mean(axis=0), 0, atol=1e-3)
    assert found.weights("scores", values)[4] > 100 * found.weights("scores", values)[:4].max()


def test_values_that_are_no_numbers_leave_the_others_their_means() -> None:
    model, given = telling_boxes(), Samples({"x": samples(64)})
    given.feeds["x"][3] = np.nan
    assert np.isfinite(quantities_of(model, given).means["scores"]).all()
