from __future__ import annotations

import numpy as np
import pytest
from fitting_cases import (
    boundary,
    convolution,
    nmse,
    outputs_of,
    pair,
    smooth_maps,
    windows,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from segment_cases import Segment

from autogo_onnx import variants as variants_module
from autogo_onnx.fitting import segment as module
from autogo_onnx.fitting.boundary import Boundary
from autogo_onnx.fitting.moments import Window
from autogo_onnx.fitting.segment import Fitted, Refused, Weights, fit, tail_convolutions
from autogo_onnx.opgraph import Op, OpGraph
from autogo_onnx.variants import chain, conv, forms, variants
from autogo_onnx.weights import random_weights, weight_shapes

SAME = (1, 1, 1, 1)


def fitted(candidate: OpGraph, site: OpGraph, weights: Weights, maps: np.ndarray) -> Fitted:
    """Fit towards what the site gives."""
    found = fit(candidate, site, weights, boundary(maps, outputs_of(site, weights, maps)))
    assert isinstance(found, Fitted), found
    return found


def assert_honest(candidate: OpGraph, site: OpGraph, weights: Weights, seed: int) -> Fitted:
    """The reported error is the one that ONNX Runtime's result has."""
    maps = smooth_maps(seed, 4, *site.input_shapes[0][1:])
    target = outputs_of(site, weights, maps)
    found = fit(candidate, site, weights, boundary(maps, target))
    assert isinstance(found, Fitted), found
    shapes = {i: tuple(w.shape for w in ws) for i, ws in found.weights.items()}
    assert shapes == weight_shapes(candidate)
    assert all(w.dtype == np.float32 for ws in found.weights.values() for w in ws)
    measured = nmse(target, outputs_of(candidate, found.weights, maps))
    # Weights that nearly cancel each other cost digits: moments are float32 products.
    assert measured == pytest.approx(found.nmse, rel=1e-3, abs=1e-4)
    return found


@st.composite
def single_sites(draw: st.DrawFn) -> OpGraph:
    """A random convolution, dense or grouped, that fits into its picture."""
    group = draw(st.sampled_from([1, 1, 1, 2, 4]))
    channels, outputs = (group * draw(st.integers(1, 8 // group)) for _ in range(2))
    if draw(st.booleans()):
        outputs = channels
    return convolution(channels, outputs, (11, 10), draw(windows()), group)


@st.composite
def pair_sites(draw: st.DrawFn) -> OpGraph:
    """Two random convolutions with a rectifier in between."""
    first, last = draw(windows(3)), draw(windows(3))
    widths = draw(st.tuples(*[st.integers(1, 9)] * 3))
    ops = [conv(w.kernel, w.strides, w.pads, w.dilations) for w in (first, last)]
    source = (1, widths[0], 12, 13)
    return pair(source, (ops[0], widths[1]), (ops[1], widths[2]))


@settings(max_examples=120)
@given(single_sites(), st.integers(0, 1000))
def test_every_variant_of_a_convolution_is_as_good_as_its_fit_says(
    site: OpGraph, seed: int
) -> None:
    weights = random_weights(site, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forms, "WIDTH_STEP", 2)  # small sites would have few variants
        patch.setattr(variants_module, "WORTHWHILE", 10.0)
        found = variants(site)
    for variant in found[:: max(1, len(found) // 12)]:
        assert_honest(variant.graph, site, {**weights}, seed)


@settings(max_examples=80)
@given(pair_sites(), st.integers(0, 1000))
def test_every_variant_of_a_pair_is_as_good_as_its_fit_says(site: OpGraph, seed: int) -> None:
    weights = random_weights(site, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forms, "WIDTH_STEP", 2)
        found = variants(site)
    for variant in found[:: max(1, len(found) // 8)]:
        assert_honest(variant.graph, site, {**weights}, seed)


@given(single_sites(), st.integers(0, 1000))
def test_a_convolution_fitted_to_itself_is_itself(site: OpGraph, seed: int) -> None:
    weights: Weights = {**random_weights(site, seed)}
    maps = smooth_maps(seed, 4, *site.input_shapes[0][1:])
    found = fitted(site, site, weights, maps)
    assert found.nmse < 1e-5
    np.testing.assert_allclose(found.weights[0][0], weights[0][0], atol=5e-3)


POINT, KERNEL = conv((1, 1)), conv((3, 3), pads=SAME)
STRUCTURES = {
    "vertical first": (
        [(conv((3, 1), (2, 1), (1, 0, 1, 0)), 5), (conv((1, 3), (1, 2), (0, 1, 0, 1)), 7)]
    ),
    "horizontal first, dilated": (
        [
            (conv((1, 3), (1, 1), (0, 2, 0, 2), (1, 2)), 3),
            (conv((3, 1), (1, 1), (2, 0, 2, 0), (2, 1)), 8),
        ]
    ),
    "kernel, then points": [(KERNEL, 3), (POINT, 8)],
    "points, then kernel": [(POINT, 3), (conv((3, 3), (2, 2), SAME), 8)],
    "strided kernel, then strided points": [
        (conv((3, 3), (2, 2), SAME), 3),
        (conv((1, 1), (2, 2)), 8),
    ],
    "points twice": [(POINT, 2), (POINT, 8)],
    "depthwise, then points": [(conv((3, 3), (2, 2), SAME, group=6), 6), (POINT, 8)],
    "points, then depthwise": [(POINT, 8), (conv((3, 3), (2, 2), SAME, group=8), 8)],
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_pair_recovers_weights_of_its_own_structure(name: str) -> None:
    graph = chain((1, 6, 12, 12), STRUCTURES[name])
    own: Weights = {**random_weights(graph, 3)}
    own[0] = (own[0][0], np.zeros_like(own[0][1]))  # a bias in between would show at the borders
    maps = smooth_maps(0, 8, 6, 12, 12)
    target = outputs_of(graph, own, maps)
    site = chain((1, 6, 12, 12), [(conv((1, 1), (1, 1)), 8)])
    found = fit(graph, site, {}, boundary(maps, target))
    assert isinstance(found, Fitted)
    assert found.nmse < 2e-4
    assert nmse(target, outputs_of(graph, found.weights, maps)) == pytest.approx(
        found.nmse, rel=1e-3, abs=1e-6
    )


def test_a_crop_recovers_a_kernel_that_is_zero_elsewhere() -> None:
    site = convolution(4, 4, (10, 10), Window((3, 3), pads=SAME))
    weight, bias = random_weights(site, 0)[0]
    sparse = np.zeros_like(weight)
    sparse[:, :, 1:, 1] = weight[:, :, 1:, 1]
    column = next(
        v.graph
        for v in variants(site)
        if v.graph.ops[0].get("kernel_shape") == (2, 1)
        and v.graph.ops[0].get("pads") == (0, 0, 1, 0)
    )
    found = fitted(column, site, {0: (sparse, bias)}, smooth_maps(0, 4, 4, 10, 10))
    assert found.nmse < 1e-5
    np.testing.assert_allclose(found.weights[0][0], weight[:, :, 1:, 1:2], atol=1e-2)


def test_groups_recover_a_block_diagonal_convolution() -> None:
    site = convolution(16, 16, (8, 8), Window((3, 3), pads=SAME))
    grouped = convolution(16, 16, (8, 8), Window((3, 3), pads=SAME), group=2)
    small = random_weights(grouped, 0)[0]
    dense = np.zeros((16, 16, 3, 3), np.float32)
    dense[:8, :8], dense[8:, 8:] = small[0][:8], small[0][8:]
    found = fitted(grouped, site, {0: (dense, small[1])}, smooth_maps(0, 8, 16, 8, 8))
    assert found.nmse < 1e-5
    np.testing.assert_allclose(found.weights[0][0], small[0], atol=1e-2)


def test_a_narrower_pair_keeps_the_channels_that_matter() -> None:
    site = pair((1, 6, 10, 10), (KERNEL, 16), (KERNEL, 8))
    weights: Weights = {**random_weights(site, 0)}
    weights[2][0][:, 1::2] = 0.0
    narrow = next(v.graph for v in variants(site) if v.name == "narrower")
    assert narrow.op_shapes[0][1] == 8
    maps = smooth_maps(0, 6, 6, 10, 10)
    found = fitted(narrow, site, weights, maps)
    assert found.nmse < 1e-4
    np.testing.assert_array_equal(found.weights[0][0], weights[0][0][::2])
    np.testing.assert_array_equal(found.weights[0][1], weights[0][1][::2])


@pytest.mark.parametrize(
    ("activation", "values"),
    [
        (Op.make("Clip", (1,), min=0.0, max=6.0), (np.float32(0), np.float32(6))),
        (Op.make("PRelu", (1,)), (np.full((12, 1, 1), 0.2, np.float32),)),
        (Op.make("PRelu", (1,)), (np.full((1, 12, 1, 1), 0.2, np.float32),)),
        (Op.make("PRelu", (1,)), (np.full((1,), 0.2, np.float32),)),
        (Op.make("LeakyRelu", (1,), alpha=0.1), ()),
        (Op.make("HardSigmoid", (1,), alpha=0.2, beta=0.5), ()),
    ],
)
@pytest.mark.parametrize("biased", [True, False])
def test_a_narrower_pair_inherits_its_activation(
    activation: Op, values: tuple[np.ndarray, ...], biased: bool
) -> None:
    """Whatever constants the node has: limits (not weights), slopes of any shape, no bias."""
    site = chain((1, 4, 8, 8), [(KERNEL, 12), (activation, 12), (KERNEL, 16)])
    narrow = chain((1, 4, 8, 8), [(KERNEL, 8), (activation, 8), (KERNEL, 16)])
    weights: Weights = {**random_weights(site, 0), 1: values}
    if not biased:
        weights[0] = weights[0][:1]
    assert_honest(narrow, site, weights, 0)


def residual_candidate() -> OpGraph:
    s = Segment((1, 6, 8, 8))
    inner = s.relu(s.conv(0, 4, 3))
    return s.graph(s.join("Add", s.conv(inner, 5, 1), s.conv(0, 5, 3)))


def shortcut_candidate() -> OpGraph:
    """The input itself is a part of the output, which nothing can be solved for."""
    s = Segment((1, 5, 8, 8))
    inner = s.relu(s.conv(0, 4, 3))
    return s.graph(s.join("Add", s.conv(inner, 5, 3), 0))


def longer_candidate() -> OpGraph:
    s = Segment((1, 6, 8, 8))
    return s.graph(s.conv(s.relu(s.conv(s.relu(s.conv(0, 4, 1)), 4, 3)), 5, 1))


def overlapping_candidate() -> OpGraph:
    """Two kernels in a row without anything in between: no closed form, but a tail."""
    s = Segment((1, 6, 8, 8))
    return s.graph(s.conv(s.conv(0, 4, 3), 5, 3))


@pytest.mark.parametrize(
    ("candidate", "tail"),
    [
        (residual_candidate(), (2, 3)),
        (shortcut_candidate(), (2,)),
        (longer_candidate(), (4,)),
        (overlapping_candidate(), (1,)),
    ],
)
def test_a_tail_is_solved_behind_an_inherited_interior(
    candidate: OpGraph, tail: tuple[int, ...]
) -> None:
    assert tail_convolutions(candidate) == tail
    channels = candidate.input_shapes[0][1]
    site = convolution(channels, 5, (8, 8), Window((3, 3), pads=SAME))
    found = assert_honest(candidate, site, {**random_weights(site, 0)}, 0)
    assert found.nmse < 1.0


def test_the_tail_inherits_the_kernel_of_the_site() -> None:
    site = pair((1, 6, 8, 8), (conv((5, 5), pads=(2, 2, 2, 2)), 4), (KERNEL, 5))
    candidate = pair((1, 6, 8, 8), (KERNEL, 4), (KERNEL, 5))
    weights: Weights = {**random_weights(site, 0)}
    weights[0][0][:, :, [0, 4]] = 0.0
    weights[0][0][:, :, :, [0, 4]] = 0.0
    found = fitted(candidate, site, weights, smooth_maps(0, 6, 6, 8, 8))
    np.testing.assert_array_equal(found.weights[0][0], weights[0][0][:, :, 1:4, 1:4])
    assert found.nmse < 1e-5


def test_a_convolution_that_is_broadcast_is_no_tail() -> None:
    s = Segment((1, 8, 6, 6))
    pooled = s.add(Op.make("GlobalAveragePool", (0,)), (1, 8, 1, 1))
    graph = s.graph(s.join("Add", s.conv(0, 8, 3), s.conv(pooled, 8, 1)))
    assert tail_convolutions(graph) == (1,)
    site = convolution(8, 8, (6, 6), Window((3, 3), pads=SAME))
    assert_honest(graph, site, {**random_weights(site, 0)}, 0)


def test_a_convolution_that_is_read_twice_is_no_tail() -> None:
    s = Segment((1, 8, 6, 6))
    first = s.conv(0, 8, 3)
    assert tail_convolutions(s.graph(s.join("Add", first, s.relu(first)))) == ()


def test_what_cannot_be_solved_is_refused() -> None:
    s = Segment((1, 8, 6, 6))
    ends_in_relu = s.graph(s.relu(s.conv(0, 8, 3)))
    grouped = chain((1, 8, 6, 6), [(KERNEL, 8), (conv((3, 3), pads=SAME, group=2), 8)])
    site = convolution(8, 8, (6, 6), Window((3, 3), pads=SAME))
    weights: Weights = {**random_weights(site, 0)}
    maps = smooth_maps(0, 2, 8, 6, 6)
    around = boundary(maps, outputs_of(site, weights, maps))
    for candidate, reason in ((ends_in_relu, "no convolution"), (grouped, "grouped")):
        found = fit(candidate, site, weights, around)
        assert isinstance(found, Refused)
        assert reason in found.reason


def test_too_many_columns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_GRAM", 50)
    site = pair((1, 8, 6, 6), (KERNEL, 24), (KERNEL, 24))
    weights: Weights = {**random_weights(site, 0)}
    maps = smooth_maps(0, 2, 8, 6, 6)
    around = boundary(maps, outputs_of(site, weights, maps))
    candidates = {v.name: v.graph for v in variants(site)}
    assert set(candidates) == {"narrower", "linearized"}
    single = convolution(8, 24, (6, 6), Window((3, 3), pads=SAME))
    separable = chain(
        (1, 8, 6, 6), [(conv((3, 1), pads=(1, 0, 1, 0)), 8), (conv((1, 3), pads=(0, 1, 0, 1)), 24)]
    )
    tail = pair((1, 8, 6, 6), (conv((1, 1)), 8), (KERNEL, 24))
    for graph in (candidates["narrower"], single, separable, tail):
        found = fit(graph, site, weights, around)
        assert isinstance(found, Refused)
        assert "too many columns" in found.reason


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_activations_that_cannot_be_squared_are_refused(value: float) -> None:
    site = convolution(2, 2, (6, 6), Window((3, 3), pads=SAME))
    maps = smooth_maps(0, 2, 2, 6, 6)
    target = maps.copy()
    target[0, 0, 0, 0] = value
    for around in (boundary(maps, target), boundary(target, maps)):
        found = fit(site, site, {**random_weights(site, 0)}, around)
        assert isinstance(found, Refused)
        assert "finite" in found.reason


def test_dead_channels_and_constant_targets_are_fitted() -> None:
    site = convolution(4, 4, (6, 6), Window((3, 3), pads=SAME))
    weights: Weights = {**random_weights(site, 0)}
    maps = smooth_maps(0, 4, 4, 6, 6)
    maps[:, 2] = 0.0
    for variant in variants(site):
        assert np.isfinite(fitted(variant.graph, site, weights, maps).nmse)
    silent: Weights = {0: (np.zeros_like(weights[0][0]), weights[0][1])}
    for inputs in (maps, np.zeros_like(maps)):
        found = fit(site, site, silent, boundary(inputs, np.full_like(maps, 1.5)))
        assert isinstance(found, Fitted)
        assert found.nmse == 0.0
        np.testing.assert_allclose(
            outputs_of(site, found.weights, inputs), np.full_like(maps, 1.5), atol=1e-3
        )


def test_a_classifier_is_fitted_like_points() -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((5, 7)), rng.standard_normal(5)
    points = rng.standard_normal((200, 7)).astype(np.float32)
    target = (points @ weight.T + bias).astype(np.float32)
    graph = OpGraph(((1, 7),), (Op.make("Gemm", (0,)),), ((1, 5),), (1,))
    own: Weights = {0: (weight.astype(np.float32), bias.astype(np.float32))}
    found = fit(graph, graph, own, boundary(points, target))
    assert isinstance(found, Fitted)
    assert found.nmse < 1e-6
    np.testing.assert_allclose(found.weights[0][0], weight, atol=1e-4)
    np.testing.assert_allclose(found.weights[0][1], bias, atol=1e-4)


def test_moments_of_a_site_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    site = convolution(16, 16, (8, 8), Window((3, 3), pads=SAME))
    weights: Weights = {**random_weights(site, 0)}
    maps = smooth_maps(0, 4, 16, 8, 8)
    around = boundary(maps, outputs_of(site, weights, maps))
    passes = []
    count = module.Boundary.grouped_moments.__globals__["grouped_moments"]

    def counted(*args: object, **kwargs: object) -> object:
        passes.append(args)
        return count(*args, **kwargs)

    monkeypatch.setitem(module.Boundary.grouped_moments.__globals__, "grouped_moments", counted)
    names = set()
    for variant in variants(site):
        assert isinstance(fit(variant.graph, site, weights, around), Fitted)
        names.add(variant.name)
    assert names == {
        "separable",
        "low_rank",
        "depthwise_separable",
        "grouped",
        "smaller_kernel",
    }
    assert len(passes) == 1


def test_crops_of_a_depthwise_convolution_share_one_pass() -> None:
    """The whole Gram matrix of all channels is never made."""
    site = convolution(32, 32, (8, 8), Window((3, 3), pads=SAME), group=32)
    weights: Weights = {**random_weights(site, 0)}
    maps = smooth_maps(0, 4, 32, 8, 8)
    around = Boundary((maps,), outputs_of(site, weights, maps), rows=100_000, seed=0)
    for variant in variants(site):
        assert isinstance(fit(variant.graph, site, weights, around), Fitted)
    sizes = {len(m.gram) for ms in around._moments.values() for m in ms}
    assert max(sizes) <= 9


def test_few_rows_tell_nearly_the_same() -> None:
    site = convolution(6, 6, (16, 16), Window((3, 3), pads=SAME))
    weights: Weights = {**random_weights(site, 0)}
    maps = smooth_maps(0, 16, 6, 16, 16)
    target = outputs_of(site, weights, maps)
    separable = next(v.graph for v in variants(site))
    few = fit(separable, site, weights, boundary(maps, target, rows=1500))
    many = fit(separable, site, weights, boundary(maps, target))
    assert isinstance(few, Fitted)
    assert isinstance(many, Fitted)
    measured = nmse(target, outputs_of(separable, few.weights, maps))
    assert measured == pytest.approx(many.nmse, rel=0.2)


def test_the_same_fit_gives_the_same_bytes() -> None:
    site = pair((1, 6, 8, 8), (KERNEL, 16), (KERNEL, 8))
    weights: Weights = {**random_weights(site, 0)}
    maps = smooth_maps(0, 4, 6, 8, 8)
    for variant in variants(site):
        a, b = (fitted(variant.graph, site, weights, maps) for _ in range(2))
        assert a.nmse == b.nmse
        assert all(
            x.tobytes() == y.tobytes()
            for i in a.weights
            for x, y in zip(a.weights[i], b.weights[i], strict=True)
        )


def test_assumptions_of_the_strategies_hold() -> None:
    """Strides, groups and kernels of all sizes do come up."""
    seen: set[tuple[int, ...]] = set()

    @given(single_sites())
    def collect(site: OpGraph) -> None:
        assume(variants(site))
        op = site.ops[0]
        seen.add((op.get("group"), *op.get("strides"), *op.get("kernel_shape")))

    collect()
    assert len({s[0] for s in seen}) > 1
    assert len({s[1:3] for s in seen}) > 1
