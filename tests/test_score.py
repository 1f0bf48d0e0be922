from __future__ import annotations

import numpy as np
import pytest
from net_cases import pictures, reading_of, residual_net, run

from autogo_onnx import graph as graphs
from autogo_onnx.activations import Activations
from autogo_onnx.fidelity import error_at, judge
from autogo_onnx.liveness import cleanup
from autogo_onnx.rewriters.replace_segment import replace_segment
from autogo_onnx.samples import Samples
from autogo_onnx.score import divergence, replaced_maps, score
from autogo_onnx.segments import op_weights
from autogo_onnx.sites import find_sites
from autogo_onnx.submodel import Parts
from autogo_onnx.variants import variants
from autogo_onnx.weights import random_weights

RNG = np.random.default_rng(0)
LOGITS = (4 * RNG.standard_normal((50, 10))).astype(np.float32)
PICTURES = RNG.standard_normal((5, 3, 8, 8)).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("output", [LOGITS, softmax(LOGITS), PICTURES])
def test_nothing_changed_is_zero(output: np.ndarray) -> None:
    assert divergence([output], [output.copy()]) == pytest.approx(0.0, abs=1e-12)


def test_class_scores_are_judged_by_kl_divergence() -> None:
    changed = (LOGITS + RNG.standard_normal(LOGITS.shape)).astype(np.float32)
    p, q = softmax(LOGITS.astype(np.float64)), softmax(changed.astype(np.float64))
    expected = (p * np.log(p / q)).sum(axis=1).mean()
    assert divergence([LOGITS], [changed]) == pytest.approx(expected, rel=1e-6)
    assert divergence([softmax(LOGITS)], [softmax(changed)]) == pytest.approx(expected, rel=1e-3)
    shifted = LOGITS + np.float32(3)
    assert divergence([LOGITS], [shifted]) == pytest.approx(0.0, abs=1e-6)


def test_dense_outputs_are_judged_by_their_error() -> None:
    changed = PICTURES + np.float32(0.1)
    told = judge([PICTURES], [changed], None)
    assert told.psnr_db is not None
    expected = error_at(told.psnr_db)
    assert told.error == expected > told.nmse
    assert divergence([PICTURES], [changed]) == pytest.approx(expected, rel=1e-4)
    assert divergence([PICTURES, PICTURES], [changed, changed]) == pytest.approx(
        2 * expected, rel=1e-4
    )


def test_whole_numbers_are_judged_by_how_many_differ() -> None:
    labels = np.arange(10)
    assert divergence([labels], [np.where(labels < 3, -1, labels)]) == pytest.approx(0.3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_infinitely_bad(value: float) -> None:
    broken = LOGITS.copy()
    broken[0, 0] = value
    assert divergence([LOGITS], [broken]) == np.inf


def test_the_score_is_that_of_the_model_with_one_site_replaced() -> None:
    model = residual_net(blocks=2)
    reading = reading_of(model, x=(1, 3, 12, 12))
    x = pictures(0, 40, 3, 12, 12)
    held_out = Activations(Parts(model), Samples({"x": x}))
    reference = run(model, {"x": x})
    for site in find_sites(reading, [], fixed_size=True):
        own = {k: op_weights(reading.nodes[i]) for k, i in enumerate(site.cut.ops)}
        assert score(site, site.graph, own, held_out, reference) < 1e-8
        variant = variants(site.graph)[0].graph
        weights = {**random_weights(variant, 0)}
        graph = graphs.from_model(model)
        replace_segment(graph, site.inputs, site.outputs, variant, weights, "new")
        cleanup(graph)
        expected = divergence(reference, run(graphs.to_model(graph, model), {"x": x}))
        assert score(site, variant, weights, held_out, reference) == pytest.approx(
            expected, rel=1e-3
        )
        maps = replaced_maps(site, variant, weights, held_out)
        assert set(maps) == set(site.outputs)
        assert maps[site.outputs[0]].shape == held_out.get(site.outputs[0]).shape
