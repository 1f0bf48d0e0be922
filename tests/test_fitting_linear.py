from __future__ import annotations

import itertools

import numpy as np
import pytest
from fitting_cases import smooth_maps
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx.fitting import depthwise, linear
from autogo_onnx.fitting.elimination import elimination_order, keep_channels
from autogo_onnx.fitting.moments import Indices, Moments, Window, moments, patches
from autogo_onnx.fitting.ridge import RIDGE, Array, damped, solve

KERNEL = Window((3, 3), pads=(1, 1, 1, 1))


def problem(
    weights: Array, channels: int, noise: float = 0.0, seed: int = 0, kernel: Window = KERNEL
) -> Moments:
    """Moments of a target that known weights float64[O,P] make, plus noise."""
    maps = smooth_maps(seed, 6, channels, 10, 10)
    view = patches(maps, kernel).transpose(0, 1, 2, 5, 3, 4)
    target = view.reshape(*view.shape[:3], -1) @ weights.T.astype(np.float32)
    target += noise * np.random.default_rng(seed).standard_normal(target.shape)
    return moments([(maps, kernel)], target.transpose(0, 3, 1, 2).astype(np.float32))


def gaussian(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def separable_columns(channels: int) -> Indices:
    """3x1 then 1x3."""
    grid = np.arange(channels * 9).reshape(channels, 3, 3)
    return np.stack([grid[:, :, x].reshape(-1) for x in range(3)])


def point_first_columns(channels: int) -> Indices:
    """1x1 then 3x3."""
    grid = np.arange(channels * 9).reshape(channels, 3, 3)
    return np.stack([grid[:, y, x] for y in range(3) for x in range(3)])


def total(columns: Indices, inner: Array, outer: Array, outputs: int) -> Array:
    weights = np.zeros((outputs, columns.size))
    weights[:, columns.reshape(-1)] = linear.composed(inner, outer)
    return weights


def test_solve_is_the_damped_inverse() -> None:
    root = gaussian(0, 5, 7)
    gram, cross = root @ root.T, gaussian(1, 3, 5)
    damping = RIDGE * np.trace(gram) / 5
    expected = cross @ np.linalg.inv(gram + damping * np.eye(5))
    np.testing.assert_allclose(solve(gram, cross), expected, rtol=1e-9)
    np.testing.assert_allclose(damped(gram), gram + damping * np.eye(5))
    np.testing.assert_array_equal(gram, root @ root.T)  # its argument is left alone


def test_columns_without_variance_get_zero_weights() -> None:
    np.testing.assert_array_equal(solve(np.zeros((3, 3)), np.zeros((2, 3))), np.zeros((2, 3)))


def test_a_singular_gram_of_noise_is_an_error() -> None:
    gram = np.diag([1.0, -0.1])
    with pytest.raises(np.linalg.LinAlgError):
        solve(gram, np.ones((1, 2)))


@given(st.integers(0, 50))
def test_dense_recovers_the_weights(seed: int) -> None:
    weights = gaussian(seed, 4, 27)
    m = problem(weights, 3, seed=seed)
    found = linear.dense(m)
    assert m.error(found) < 1e-5
    np.testing.assert_allclose(found, weights, atol=0.05)


def test_dense_stays_at_its_prior_where_the_data_are_silent() -> None:
    weights = gaussian(0, 4, 27)
    m = problem(weights, 3)
    np.testing.assert_allclose(linear.dense(m, weights), weights, atol=1e-3)
    silent = np.zeros((27, 27))
    blind = Moments(silent, np.zeros((4, 27)), m.patch_mean, m.target_mean, m.target_gram)
    np.testing.assert_array_equal(linear.dense(blind, weights), weights)


def test_bias_is_recovered() -> None:
    weights = gaussian(0, 4, 27)
    m = problem(weights, 3)
    np.testing.assert_allclose(m.bias(weights), 0.0, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("columns", [separable_columns, point_first_columns])
def test_factorized_recovers_weights_of_its_rank(columns: object, rank: int) -> None:
    assert callable(columns)
    order = columns(4)
    inner, outer = gaussian(1, rank, order.shape[1]), gaussian(2, len(order), 5, rank)
    m = problem(total(order, inner, outer, 5), 4)
    found = linear.factorized(m, order, rank)
    assert found[0].shape == inner.shape
    assert found[1].shape == outer.shape
    assert m.error(total(order, *found, 5)) < 1e-4


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_a_full_kernel_then_points_is_the_reduced_rank_optimum(rank: int) -> None:
    m = problem(gaussian(0, 6, 27), 3, noise=1.0)
    columns = np.arange(27)[None]
    inner, outer = linear.factorized(m, columns, rank)
    found = linear.composed(inner, outer)
    assert np.linalg.matrix_rank(found) == rank
    # Izenman: the best weights of a rank lose the smallest singular values of the whitened fit.
    gram = damped(m.gram)
    whitened = m.cross @ np.linalg.inv(np.linalg.cholesky(gram)).T
    lost = np.square(np.linalg.svd(whitened, compute_uv=False)[rank:]).sum()
    objective = np.vdot(found, found @ gram) - 2 * np.vdot(found, m.cross)
    best = np.vdot(m.solution, m.solution @ gram) - 2 * np.vdot(m.solution, m.cross) + lost
    assert objective == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize(
    "columns", [separable_columns(4), point_first_columns(4), np.arange(36)[None]]
)
def test_a_rank_above_every_width_is_filled_up(columns: Indices) -> None:
    m = problem(gaussian(0, 3, 36), 4)
    inner, outer = linear.factorized(m, columns, 40)
    assert inner.shape == (40, columns.shape[1])
    assert outer.shape == (len(columns), 3, 40)
    assert m.error(total(columns, inner, outer, 3)) < 1e-5


@given(st.integers(0, 30))
def test_error_falls_with_rank(seed: int) -> None:
    m = problem(gaussian(seed, 8, 36), 4, noise=0.5, seed=seed)
    columns = separable_columns(4)
    errors = [
        m.error(total(columns, *linear.factorized(m, columns, rank), 8))
        for rank in (1, 2, 4, 8, 12)
    ]
    assert all(after <= before * 1.001 for before, after in itertools.pairwise(errors))
    assert errors[-1] == pytest.approx(m.error(m.solution), rel=0.02)


@given(st.integers(0, 30))
def test_error_falls_with_sweeps(seed: int) -> None:
    m = problem(gaussian(seed, 8, 36), 4, noise=0.5, seed=seed)
    columns = separable_columns(4)
    errors = [
        m.error(total(columns, *linear.factorized(m, columns, 3, sweeps=sweeps), 8))
        for sweeps in range(4)
    ]
    assert all(after <= before * 1.0001 for before, after in itertools.pairwise(errors))
    assert errors[-1] < errors[0]


def depthwise_total(depth: Array, point: Array) -> Array:
    return (point[:, :, None] * depth).reshape(len(point), -1)


def pointwise_total(point: Array, depth: Array) -> Array:
    return (point[:, :, None] * depth[:, None]).reshape(len(point), -1)


@given(st.integers(0, 30))
def test_depthwise_pointwise_recovers_its_own(seed: int) -> None:
    m = problem(depthwise_total(gaussian(seed, 5, 9), gaussian(seed + 1, 6, 5)), 5, seed=seed)
    found = depthwise.depthwise_pointwise(m, 5)
    assert [a.shape for a in found] == [(5, 9), (6, 5)]
    assert m.error(depthwise_total(*found)) < 1e-4


@given(st.integers(0, 30))
def test_pointwise_depthwise_recovers_its_own(seed: int) -> None:
    m = problem(pointwise_total(gaussian(seed, 6, 5), gaussian(seed + 1, 6, 9)), 5, seed=seed)
    found = depthwise.pointwise_depthwise(m, 5)
    assert [a.shape for a in found] == [(6, 5), (6, 9)]
    assert m.error(pointwise_total(*found)) < 1e-4


def test_depthwise_fits_improve_with_sweeps() -> None:
    m = problem(gaussian(0, 6, 45), 5, noise=0.5)
    for fitting, together in (
        (depthwise.depthwise_pointwise, depthwise_total),
        (depthwise.pointwise_depthwise, pointwise_total),
    ):
        errors = [m.error(together(*fitting(m, 5, sweeps=sweeps))) for sweeps in (1, 2, 6)]
        assert errors[2] <= errors[1] * 1.0001 <= errors[0] * 1.001
        assert m.error(m.solution) <= errors[2] < 1.0


def test_pointwise_depthwise_is_the_same_whatever_the_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    m = problem(gaussian(0, 6, 45), 5)
    whole = depthwise.pointwise_depthwise(m, 5)
    monkeypatch.setattr(depthwise, "_CHUNK_ELEMENTS", 60)
    for a, b in zip(depthwise.pointwise_depthwise(m, 5), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7)


def test_keep_channels_finds_the_informative_ones() -> None:
    weights = gaussian(0, 6, 8, 9)
    weights[:, [0, 2, 5, 7]] *= 0.01
    m = problem(weights.reshape(6, -1), 8)
    np.testing.assert_array_equal(keep_channels(m, 8, 4), [1, 3, 4, 6])


def test_keep_channels_drops_a_copy_rather_than_a_small_original() -> None:
    """The norm of the weights would keep both of the equal channels."""
    maps = smooth_maps(0, 6, 4, 10, 10)
    maps[:, 3] = maps[:, 2]
    weights = np.ones((5, 4)) * [0.3, 0.3, 3.0, 3.0] * np.sign(gaussian(0, 5, 4))
    target = np.einsum("oc,nchw->nohw", weights, maps).astype(np.float32)
    m = moments([(maps, Window((1, 1)))], target)
    assert {0, 1} <= set(keep_channels(m, 4, 3).tolist())


@given(st.integers(0, 30))
def test_every_step_of_the_elimination_is_the_cheapest(seed: int) -> None:
    m = problem(gaussian(seed, 4, 36), 4, noise=0.3, seed=seed)
    gram = damped(m.gram)

    def loss(channels: list[int]) -> float:
        """Objective with some channels, all weights refitted (with the damping of all)."""
        columns = np.concatenate([np.arange(c * 9, c * 9 + 9) for c in sorted(channels)])
        cross = m.cross[:, columns]
        return -float(np.vdot(cross, np.linalg.solve(gram[np.ix_(columns, columns)], cross.T).T))

    alive = list(range(4))
    for dropped in elimination_order(m, 4)[:-1].tolist():
        costs = {c: loss([a for a in alive if a != c]) for c in alive}
        assert costs[dropped] == pytest.approx(min(costs.values()), rel=1e-9)
        alive.remove(dropped)


def test_keep_channels_are_ascending_and_as_many_as_asked() -> None:
    m = problem(gaussian(0, 4, 54), 6)
    for keep in range(1, 7):
        kept = keep_channels(m, 6, keep)
        assert len(kept) == keep
        assert (np.diff(kept) > 0).all()
