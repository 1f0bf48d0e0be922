from __future__ import annotations

import numpy as np
import pytest
from fitting_cases import convolution, outputs_of, smooth_maps, windows
from hypothesis import given
from hypothesis import strategies as st

from autogo_onnx import streams
from autogo_onnx.fitting import moments as module
from autogo_onnx.fitting.moments import (
    Moments,
    Rows,
    Window,
    choose_positions,
    grouped_moments,
    moments,
    patches,
)
from autogo_onnx.weights import random_weights


@given(windows(), st.integers(0, 100), st.integers(1, 3), st.integers(1, 4))
def test_patches_times_weights_is_the_convolution(
    window: Window, seed: int, channels: int, outputs: int
) -> None:
    maps = np.random.default_rng(seed).standard_normal((2, channels, 11, 9)).astype(np.float32)
    graph = convolution(channels, outputs, (11, 9), window)
    weights = random_weights(graph, seed)
    expected = outputs_of(graph, weights, maps)
    made = np.einsum("nyxijc,ocij->noyx", patches(maps, window), weights[0][0])
    np.testing.assert_allclose(made + weights[0][1][:, None, None], expected, rtol=1e-4, atol=1e-4)


def rows_of(maps: np.ndarray, window: Window) -> np.ndarray:
    """Patches as float64[R,P], columns (channel, y, x), by a loop over them."""
    view = patches(maps, window)
    n, oh, ow, kh, kw, channels = view.shape
    columns = [
        view[..., y, x, c].reshape(-1)
        for c in range(channels)
        for y in range(kh)
        for x in range(kw)
    ]
    assert len(columns) == channels * kh * kw
    assert columns[0].shape == (n * oh * ow,)
    return np.stack(columns, axis=1).astype(np.float64)


def assert_moments(m: Moments, x: np.ndarray, t: np.ndarray, rtol: float = 1e-5) -> None:
    """Compare with NumPy's covariance of joined columns."""
    columns = x.shape[1]
    covariance = np.cov(np.concatenate([x, t], axis=1), rowvar=False, bias=True)
    scale = np.abs(covariance).max()
    np.testing.assert_allclose(m.gram, covariance[:columns, :columns], atol=rtol * scale)
    np.testing.assert_allclose(m.cross, covariance[columns:, :columns], atol=rtol * scale)
    np.testing.assert_allclose(m.variances, np.diag(covariance)[columns:], rtol=rtol)
    np.testing.assert_allclose(m.patch_mean, x.mean(axis=0), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(m.target_mean, t.mean(axis=0), rtol=rtol, atol=rtol)
    assert m.energy == pytest.approx(np.var(t, axis=0).sum(), rel=rtol)


@given(windows(3), st.integers(0, 100))
def test_moments_are_the_covariance(window: Window, seed: int) -> None:
    maps = smooth_maps(seed, 3, 2, 9, 9)
    x = rows_of(maps, window)
    oh, ow = patches(maps, window).shape[1:3]
    target = smooth_maps(seed + 1, 3, 4, oh, ow)
    m = moments([(maps, window)], target)
    assert_moments(m, x, target.transpose(0, 2, 3, 1).reshape(-1, 4))


def test_moments_of_several_parts_are_of_the_joined_patches() -> None:
    a, b, target = (smooth_maps(seed, 3, 2, 8, 8) for seed in range(3))
    wide, point = Window((3, 3), pads=(1, 1, 1, 1)), Window((1, 1))
    m = moments([(a, wide), (b, point)], target)
    x = np.concatenate([rows_of(a, wide), rows_of(b, point)], axis=1)
    assert_moments(m, x, target.transpose(0, 2, 3, 1).reshape(-1, 2))


def test_moments_are_the_same_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, target = smooth_maps(0, 4, 3, 8, 8), smooth_maps(1, 4, 5, 8, 8)
    window = Window((3, 3), pads=(1, 1, 1, 1))
    whole = moments([(maps, window)], target)
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 27 * 50)
    parts = moments([(maps, window)], target)
    np.testing.assert_allclose(parts.gram, whole.gram, atol=1e-5)
    np.testing.assert_allclose(parts.cross, whole.cross, atol=1e-5)
    np.testing.assert_allclose(parts.patch_mean, whole.patch_mean, atol=1e-6)


def test_a_large_mean_costs_no_digits() -> None:
    maps, target = smooth_maps(0, 4, 2, 8, 8) + 1000, smooth_maps(1, 4, 2, 8, 8) - 500
    m = moments([(maps, Window((3, 3)))], target[:, :, 1:-1, 1:-1])
    t = target[:, :, 1:-1, 1:-1].transpose(0, 2, 3, 1).reshape(-1, 2).astype(np.float64)
    assert_moments(m, rows_of(maps, Window((3, 3))), t, rtol=1e-4)


@pytest.mark.parametrize("group", [2, 4])
def test_grouped_moments_are_those_of_the_channel_slices(group: int) -> None:
    maps, target = smooth_maps(0, 4, 4, 8, 8), smooth_maps(1, 4, 8, 8, 8)
    window = Window((3, 2), pads=(1, 0, 1, 1))
    found = grouped_moments([(maps, window)], target, group, Rows())
    assert len(found) == group
    for m, x, t in zip(
        found, np.split(maps, group, axis=1), np.split(target, group, axis=1), strict=True
    ):
        alone = moments([(x, window)], t)
        np.testing.assert_allclose(m.gram, alone.gram, atol=1e-5)
        np.testing.assert_allclose(m.cross, alone.cross, atol=1e-5)
        np.testing.assert_allclose(m.target_mean, alone.target_mean, atol=1e-6)


@given(windows(), windows())
def test_a_window_within_another_reads_some_of_its_columns(small: Window, large: Window) -> None:
    offset = small.offset_in(large)
    if offset is None:
        return
    maps = smooth_maps(0, 2, 2, 12, 12)
    narrow, wide = patches(maps, small), rows_of(maps, large)
    columns = large.columns(2, small.kernel, offset)
    taken = wide[:, columns].reshape(*patches(maps, large).shape[:3], -1)
    height, width = (min(a, b) for a, b in zip(narrow.shape[1:3], taken.shape[1:3], strict=True))
    expected = rows_of(maps, small).reshape(*narrow.shape[:3], -1)
    np.testing.assert_array_equal(taken[:, :height, :width], expected[:, :height, :width])


def test_a_crop_lies_in_its_window_and_a_shifted_one_does_not() -> None:
    full = Window((3, 3), (2, 2), (1, 1, 1, 1))
    assert Window((1, 1), (2, 2)).offset_in(full) == (1, 1)
    assert Window((2, 3), (2, 2), (1, 1, 0, 1)).offset_in(full) == (0, 0)
    assert Window((1, 1), (1, 1)).offset_in(full) is None
    assert full.offset_in(Window((2, 2), (2, 2), (1, 1, 1, 1))) is None
    assert Window((2, 1), pads=(0, 0, 0, 0)).offset_in(Window((3, 3), dilations=(2, 2))) is None


def test_positions_are_all_or_equally_many_per_sample() -> None:
    np.testing.assert_array_equal(choose_positions(2, 3, 4, 24, 0), np.arange(24))
    some = choose_positions(5, 4, 4, 20, seed=1)
    np.testing.assert_array_equal(np.bincount(some // 16), [4] * 5)
    assert len(set(some.tolist())) == 20
    np.testing.assert_array_equal(some, choose_positions(5, 4, 4, 20, seed=1))
    assert len(choose_positions(7, 4, 4, 3, seed=0)) == 7


@given(
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 200),
    st.integers(0, 99),
)
def test_positions_are_spread_over_every_sample(
    samples: int, height: int, width: int, rows: int, seed: int
) -> None:
    area = height * width
    found = choose_positions(samples, height, width, rows, seed)
    assert (np.diff(found) > 0).all()
    assert found[0] >= 0
    assert found[-1] < samples * area
    share = len(found) // samples
    assert share == (area if samples * area <= rows else max(1, rows // samples))
    for own in found.reshape(samples, share) % area:
        gaps = np.diff([*own, own[0] + area])
        assert gaps.max() < 2 * -(-area // share) + 1


def test_no_pixel_is_seen_more_often_than_others() -> None:
    found = choose_positions(4000, 1, 7, 20_000, seed=0) % 7
    counts = np.bincount(found, minlength=7)
    assert counts.sum() == 20_000
    assert np.ptp(counts) < 0.1 * counts.mean()


def test_moments_are_the_same_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, target = smooth_maps(0, 5, 3, 8, 8), smooth_maps(1, 5, 5, 8, 8)
    window = Window((3, 3), pads=(1, 1, 1, 1))
    for rows in (40, 1000):
        whole = moments([(maps, window)], target, rows=rows)
        with monkeypatch.context() as patch:
            patch.setattr(streams, "BLOCK_ELEMENTS", 2 * 5 * 64)
            parts = moments([(maps, window)], target, rows=rows)
        np.testing.assert_allclose(parts.gram, whole.gram, atol=1e-5)
        np.testing.assert_allclose(parts.cross, whole.cross, atol=1e-5)
        np.testing.assert_allclose(parts.target_mean, whole.target_mean, atol=1e-6)


def test_error_of_no_weights_is_one_and_of_a_constant_target_zero() -> None:
    maps, target = smooth_maps(0, 2, 2, 6, 6), smooth_maps(1, 2, 3, 6, 6)
    m = moments([(maps, Window((1, 1)))], target)
    assert m.error(np.zeros((3, 2))) == pytest.approx(1.0)
    np.testing.assert_allclose(m.bias(np.zeros((3, 2))), target.mean(axis=(0, 2, 3)), rtol=1e-5)
    flat = moments([(maps, Window((1, 1)))], np.full_like(target, 2.5))
    assert flat.error(np.zeros((3, 2))) == 0.0


def test_take_is_the_moments_of_fewer_columns_and_targets() -> None:
    maps, target = smooth_maps(0, 4, 3, 6, 6), smooth_maps(1, 4, 4, 6, 6)
    whole = moments([(maps, Window((1, 1)))], target)
    part = whole.take(np.array([2, 0]), slice(1, 3))
    alone = moments([(maps[:, [2, 0]], Window((1, 1)))], target[:, 1:3])
    np.testing.assert_allclose(part.gram, alone.gram, atol=1e-6)
    np.testing.assert_allclose(part.cross, alone.cross, atol=1e-6)
    assert part.energy == pytest.approx(alone.energy)
