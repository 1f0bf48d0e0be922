"""Fits that aim at what matters: by importance of channels, and behind a rectifier."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fitting_cases import boundary, convolution, outputs_of, pair, smooth_maps
from net_cases import Net, pictures, reading_of

from autogo_onnx.activations import Activations
from autogo_onnx.aims import aim_of
from autogo_onnx.fitting.boundary import Boundary
from autogo_onnx.fitting.importance import Importance
from autogo_onnx.fitting.moments import Rows, Window, grouped_moments
from autogo_onnx.fitting.rectified import Cut, fit_cut
from autogo_onnx.fitting.segment import Fitted, Weights, fit
from autogo_onnx.opgraph import OpGraph
from autogo_onnx.samples import Samples
from autogo_onnx.sites import find_sites
from autogo_onnx.streams import whole
from autogo_onnx.submodel import Parts
from autogo_onnx.variants import conv, variants
from autogo_onnx.weights import random_weights

SAME = (1, 1, 1, 1)
SITE = convolution(8, 12, (10, 10), Window((3, 3), pads=SAME))
MAPS = smooth_maps(0, 12, 8, 10, 10)


def importance(seed: int, channels: int) -> Importance:
    """Some mixtures of channels matter a hundred times as much as others."""
    rng = np.random.default_rng(seed)
    ways = np.linalg.qr(rng.standard_normal((channels, channels)))[0]
    return Importance((ways * np.logspace(0, 2, channels)) @ ways.T)


def weighted_error(candidate: OpGraph, found: Fitted, target: np.ndarray, by: Importance) -> float:
    error = target - outputs_of(candidate, found.weights, MAPS)
    moved = np.einsum("oc,nchw->nohw", by.root, error - error.mean(axis=(0, 2, 3), keepdims=True))
    return float(np.square(moved).mean())


@pytest.mark.parametrize("name", ["separable", "low_rank", "depthwise_separable"])
def test_a_pair_serves_the_channels_that_matter(name: str) -> None:
    weights: Weights = {**random_weights(SITE, 0)}
    target = outputs_of(SITE, weights, MAPS)
    by = importance(1, 12)
    graph = next(v.graph for v in variants(SITE) if v.name == name)
    plain = fit(graph, SITE, weights, boundary(MAPS, target))
    around = Boundary((MAPS,), target, rows=10**6, seed=0, importance=by)
    served = fit(graph, SITE, weights, around)
    assert isinstance(plain, Fitted)
    assert isinstance(served, Fitted)
    errors = [weighted_error(graph, found, target, by) for found in (plain, served)]
    assert errors[1] < 0.97 * errors[0]
    assert served.nmse >= plain.nmse


def test_a_narrower_pair_keeps_the_channels_whose_loss_matters() -> None:
    site = pair((1, 6, 10, 10), (conv((3, 3), pads=SAME), 16), (conv((3, 3), pads=SAME), 8))
    weights: Weights = {**random_weights(site, 0)}
    # Each half of the interior makes one half of the outputs; the first is the larger.
    weights[2][0][4:, :8], weights[2][0][:4, 8:] = 0.0, 0.0
    weights[2][0][:4] *= 3.0
    narrow = next(v.graph for v in variants(site) if v.name == "narrower")
    maps = smooth_maps(0, 8, 6, 10, 10)
    target = outputs_of(site, weights, maps)
    kept = []
    for metric in (np.eye(8), np.diag([1e-3] * 4 + [1.0] * 4)):
        around = Boundary((maps,), target, rows=10**6, seed=0, importance=Importance(metric))
        found = fit(narrow, site, weights, around)
        assert isinstance(found, Fitted)
        kept.append(
            [
                int(np.argmin([np.abs(w - v).sum() for v in weights[0][0]]))
                for w in found.weights[0][0]
            ]
        )
    assert sum(k < 8 for k in kept[0]) > sum(k < 8 for k in kept[1])


def test_what_an_unstructured_fit_gives_does_not_depend_on_importance() -> None:
    weights: Weights = {**random_weights(SITE, 0)}
    target = outputs_of(SITE, weights, MAPS)
    around = Boundary((MAPS,), target, rows=10**6, seed=0, importance=importance(0, 12))
    for variant in variants(SITE):
        if len(variant.graph.ops) == 1:
            a = fit(variant.graph, SITE, weights, around)
            b = fit(variant.graph, SITE, weights, boundary(MAPS, target))
            assert isinstance(a, Fitted)
            assert isinstance(b, Fitted)
            np.testing.assert_array_equal(a.weights[0][0], b.weights[0][0])


def test_importance_of_some_channels_and_of_none() -> None:
    by = importance(0, 6)
    np.testing.assert_array_equal(by.of(np.array([1, 4])).metric, by.metric[[1, 4]][:, [1, 4]])
    np.testing.assert_allclose(by.root @ by.inverse_root, np.eye(6), atol=1e-9)
    assert np.isfinite(Importance(np.zeros((3, 3))).inverse_root).all()


def test_another_target_gives_the_moments_that_it_would_have_alone() -> None:
    window, other = Window((3, 3), pads=SAME), smooth_maps(5, 12, 12, 10, 10)
    around = Boundary((MAPS,), smooth_maps(4, 12, 12, 10, 10), rows=500, seed=0)
    around.moments(window)
    aimed = around.aimed_at(other).moments(window)
    (alone,) = grouped_moments([(MAPS, window)], other, 1, Rows(500, 0))
    np.testing.assert_array_equal(aimed.cross, alone.cross)
    np.testing.assert_array_equal(aimed.target_gram, alone.target_gram)
    np.testing.assert_array_equal(aimed.gram, alone.gram)
    np.testing.assert_allclose(np.diagonal(alone.target_gram), alone.variances)


@pytest.mark.parametrize("low", [0.0, -0.5])
@pytest.mark.parametrize("high", [math.inf, 1.0])
@pytest.mark.parametrize("is_sum", [False, True])
def test_a_fit_before_a_clamp_is_better_behind_it(low: float, high: float, is_sum: bool) -> None:
    weights: Weights = {**random_weights(SITE, 0)}
    target = outputs_of(SITE, weights, MAPS)
    beside = np.random.default_rng(0).standard_normal(target.shape).astype(np.float32)
    total = target + beside if is_sum else target
    graph = next(v.graph for v in variants(SITE) if v.name == "depthwise_separable")
    cut = Cut(total, beside if is_sum else None, low, high)
    around = boundary(MAPS, target)
    found = [fit(graph, SITE, weights, around), fit_cut(graph, SITE, weights, around, cut)]
    errors = []
    for one in found:
        assert isinstance(one, Fitted)
        made = outputs_of(graph, one.weights, MAPS) + (beside if is_sum else 0.0)
        gap = np.clip(made, low, high) - np.clip(total, low, high)
        errors.append(float(np.square(gap).mean()))
    assert errors[1] < 0.99 * errors[0]


def test_what_the_output_of_a_site_is_cut_off_by() -> None:
    net = Net(1, 3, 8, 8)
    low, high = (net.constant(np.array(v, np.float32)) for v in (0, 6))
    stem = net.op("Clip", net.conv("x", 3, 4), low, high)
    inner = net.relu(net.conv(stem, 4, 4))
    after = net.relu(net.op("Add", net.conv(inner, 4, 4), stem))
    free = net.conv(after, 4, 4)
    model = net.model(net.relu(free), net.op("Tanh", free))
    reading = reading_of(model, x=(1, 3, 8, 8))
    samples = Samples({"x": pictures(0, 4, 3, 8, 8)})
    original, current = (Activations(Parts(model), samples) for _ in range(2))
    sites = [s for s in find_sites(reading, [], fixed_size=True) if len(s.cut.ops) == 1]
    aims = [aim_of(reading, site, original, current, ()) for site in sites]
    cuts = [aim.cut for aim in aims]
    assert [None if c is None else (c.low, c.high, c.beside is None) for c in cuts] == [
        (0.0, 6.0, True),
        (0.0, math.inf, True),
        (0.0, math.inf, False),
        None,
    ]
    branch = original.get(sites[2].outputs[0])
    np.testing.assert_allclose(whole(aims[2].target), branch, atol=2e-3)
    waiting = aim_of(reading, sites[2], original, current, set(sites[0].cut.ops))
    assert waiting.cut is None, "the other summand is not what it will be"
