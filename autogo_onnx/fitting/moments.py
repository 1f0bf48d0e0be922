"""Second moments of convolution patches: all that a linear fit needs to know of the activations.

A convolution is a linear map of patches, `t = W x + b` with `x` the flattened window `(C, kh, kw)`.
Its least-squares fit, and that of every structured form of `W`, depends on the samples only through
`E[x x']`, `E[t x']` and the means, so one pass serves all candidates of a site.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from autogo_onnx.fitting.ridge import Array, solve
from autogo_onnx.streams import Stream, blocks

Maps = NDArray[np.float32]
Indices = NDArray[np.intp]

ROWS = 40_000
_CHUNK_ELEMENTS = 1 << 23


@dataclass(frozen=True)
class Window:
    """How a convolution walks over its input; every pair is (vertical, horizontal).

    `pads` are ONNX's (top, left, bottom, right).
    """

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    @property
    def points(self) -> int:
        """Kernel positions: patch columns per channel."""
        return self.kernel[0] * self.kernel[1]

    def offset_in(self, other: Window) -> tuple[int, int] | None:
        """Where in the kernel of `other` this one lies, walking in step; None if it does not.

        Only the pads at the top and left count: the others tell where the walk ends.

        >>> Window((1, 2), pads=(0, 1, 0, 0)).offset_in(Window((3, 3), pads=(1, 1, 1, 1)))
        (1, 0)
        """
        offset = []
        for axis in (0, 1):
            step = other.dilations[axis]
            shift, rest = divmod(other.pads[axis] - self.pads[axis], step)
            same_step = self.kernel[axis] == 1 or self.dilations[axis] == step
            fits = 0 <= shift <= other.kernel[axis] - self.kernel[axis]
            if rest or not fits or not same_step or self.strides[axis] != other.strides[axis]:
                return None
            offset.append(shift)
        return offset[0], offset[1]

    def columns(self, channels: int, kernel: tuple[int, int], offset: tuple[int, int]) -> Indices:
        """Patch columns of this window that a smaller kernel at an offset reads, in its order."""
        grid = np.arange(channels * self.points).reshape(channels, *self.kernel)
        (y, x), (height, width) = offset, kernel
        return grid[:, y : y + height, x : x + width].reshape(-1)


@dataclass(frozen=True)
class Moments:
    """Centred second moments of patches `x` (P columns) and targets `t` (O columns).

    Attributes:
        gram: float64[P,P], covariance of the patches.
        cross: float64[O,P], covariance of targets with patches.
        patch_mean: float64[P].
        target_mean: float64[O].
        target_gram: float64[O,O], covariance of the targets.
    """

    gram: Array
    cross: Array
    patch_mean: Array
    target_mean: Array
    target_gram: Array

    @property
    def variances(self) -> Array:
        """Of the targets, float64[O]."""
        return np.diagonal(self.target_gram)

    @property
    def energy(self) -> float:
        """Summed variance of the targets; the unit of every error here."""
        return float(self.variances.sum())

    @cached_property
    def solution(self) -> Array:
        """Unstructured ridge weights float64[O,P]; structured fits start from them too."""
        return solve(self.gram, self.cross)

    def take(self, columns: Indices, outputs: slice = slice(None)) -> Moments:
        """The moments of some patch columns (and of some targets)."""
        return Moments(
            self.gram[np.ix_(columns, columns)],
            self.cross[outputs, columns],
            self.patch_mean[columns],
            self.target_mean[outputs],
            self.target_gram[outputs, outputs],
        )

    def mixed(self, mixture: Array) -> Moments:
        """The moments with targets `mixture @ t`, float64[O',O]."""
        made = Moments(
            self.gram,
            mixture @ self.cross,
            self.patch_mean,
            mixture @ self.target_mean,
            mixture @ self.target_gram @ mixture.T,
        )
        # The ridge is on columns, so the solution is mixed alike: all candidates share one solve.
        vars(made)["solution"] = mixture @ self.solution
        return made

    def squared_error(self, weights: Array) -> float:
        """`E|t - W x - b|^2` with the best `b`."""
        explained = np.vdot(weights, 2.0 * self.cross - weights @ self.gram)
        return max(0.0, self.energy - float(explained))

    def error(self, weights: Array) -> float:
        """The squared error over the targets' variance: 0 is perfect, 1 no better than a constant.

        A constant target gives 0: its best bias is exact.
        """
        return self.squared_error(weights) / self.energy if self.energy > 0.0 else 0.0

    def bias(self, weights: Array) -> Array:
        """The best bias for given weights: float64[O]."""
        return self.target_mean - weights @ self.patch_mean


def patches(maps: Maps, window: Window) -> Maps:
    """Every patch under the window: float[N,C,H,W] -> float[N,OH,OW,kh,kw,C] (a view).

    Channels come last, because rows are copied out of it and whole pixels copy fastest.
    """
    top, left, bottom, right = window.pads
    pixels = np.pad(maps.transpose(0, 2, 3, 1), ((0, 0), (top, bottom), (left, right), (0, 0)))
    (kh, kw), (dy, dx), (sy, sx) = window.kernel, window.dilations, window.strides
    spans = ((kh - 1) * dy + 1, (kw - 1) * dx + 1)
    views = sliding_window_view(np.ascontiguousarray(pixels), spans, axis=(1, 2))
    stepped: Maps = views[:, ::sy, ::sx, :, ::dy, ::dx].transpose(0, 1, 2, 4, 5, 3)
    return stepped


def choose_positions(samples: int, height: int, width: int, rows: int, seed: int) -> Indices:
    """Flat (sample, y, x) positions: all, or equally many per sample and at most about `rows`.

    Each sample's pixels, taken as a ring that begins anywhere, are cut into stretches of which each
    gives one: so all parts of a picture are seen, and none more often than others. They ascend.
    """
    per_sample = height * width
    if samples * per_sample <= rows:
        return np.arange(samples * per_sample)
    share = max(1, rows // samples)
    edges = np.arange(share + 1) * per_sample // share
    generator = np.random.default_rng(seed)
    turns = generator.integers(per_sample, size=(samples, 1))
    chance = generator.random((samples, share))
    picks = edges[:-1] + np.floor(chance * np.diff(edges)).astype(np.intp) + turns
    picks = np.sort(picks % per_sample, axis=1)
    return np.asarray(np.arange(samples)[:, None] * per_sample + picks).reshape(-1)


@dataclass(frozen=True)
class Rows:
    """Which patch positions are seen: about `most`, drawn with `seed`."""

    most: int = ROWS
    seed: int = 0


def moments(
    parts: Sequence[tuple[Stream, Window]], target: Stream, *, rows: int = ROWS, seed: int = 0
) -> Moments:
    """Moments of the joined patches of `parts` with the target maps float[N,O,OH,OW].

    Several parts are convolutions whose results are added. At most about `rows` positions are used.
    """
    return grouped_moments(parts, target, 1, Rows(rows, seed))[0]


def grouped_moments(
    parts: Sequence[tuple[Stream, Window]],
    target: Stream,
    group: int,
    rows: Rows,
    known: Sequence[Moments] | None = None,
) -> tuple[Moments, ...]:
    """`moments` of each channel group of the parts with its share of the target's channels.

    Args:
        parts: inputs and the windows over them.
        target: what the convolutions should add up to.
        group: number of groups.
        rows: which positions are seen.
        known: the moments with another target, of which only what concerns it is computed anew.
    """
    samples, outputs, height, width = target.shape
    area = height * width
    positions = choose_positions(samples, height, width, rows.most, rows.seed)
    order = _channels_first([(s.shape[1] // group, window.points) for s, window in parts])
    sums = _Sums(group, outputs // group, len(order), with_gram=known is None)
    for some in blocks([target, *(stream for stream, _ in parts)]):
        first, last = np.searchsorted(positions, (some.start * area, some.stop * area))
        views = [patches(stream[some], window) for stream, window in parts]
        _add_rows(sums, views, target[some], positions[first:last] - some.start * area)
    found = sums.moments(order)
    if known is None:
        return found
    return tuple(replace(new, gram=old.gram) for new, old in zip(found, known, strict=True))


def _add_rows(sums: _Sums, views: Sequence[Maps], target: Maps, positions: Indices) -> None:
    """Add the patches and targets at flat positions, as many at a time as memory is cheap for."""
    _, _, height, width = target.shape
    group, _, columns = sums.patch_origin.shape
    chunk = max(1, _CHUNK_ELEMENTS // (columns * group))
    for start in range(0, len(positions), chunk):
        sample, place = np.divmod(positions[start : start + chunk], height * width)
        y, x = np.divmod(place, width)
        found = [_by_group(view[sample, y, x], group) for view in views]
        sums.add(np.concatenate(found, axis=2), _by_group(target[sample, :, y, x], group))


def _by_group(rows: Maps, group: int) -> Maps:
    """float[R,...,C] -> float[G,R,P]: the columns of each group, its channels last."""
    split = rows.reshape(len(rows), -1, group, rows.shape[-1] // group)
    return np.ascontiguousarray(split.transpose(2, 0, 1, 3)).reshape(group, len(rows), -1)


def _channels_first(parts: Sequence[tuple[int, int]]) -> Indices:
    """For columns (channel, point) where they stand among columns (point, channel), by part."""
    found, start = [], 0
    for channels, points in parts:
        found.append(start + np.arange(channels * points).reshape(points, channels).T.reshape(-1))
        start += channels * points
    return np.concatenate(found)


class _Sums:
    """Sums over rows that make the moments of every group; without `with_gram`, all but the Gram's.

    Products are taken in float32, which is three times as fast and exact to seven digits once the
    first rows' mean is subtracted: moments about any point give the same covariance.
    """

    def __init__(self, group: int, outputs: int, columns: int, *, with_gram: bool) -> None:
        self.with_gram = with_gram
        self.gram = np.zeros((group, columns, columns))
        self.cross = np.zeros((group, outputs, columns))
        self.target_gram = np.zeros((group, outputs, outputs))
        self.patch_sum = np.zeros((group, columns))
        self.target_sum = np.zeros((group, outputs))
        self.squares = np.zeros((group, outputs))
        self.rows = 0
        self.patch_origin: Maps = np.zeros((group, 1, columns), np.float32)
        self.target_origin: Maps = np.zeros((group, 1, outputs), np.float32)

    def add(self, x: Maps, t: Maps) -> None:
        """Rows of patches float[G,R,P] and of targets float[G,R,O]; both are overwritten."""
        if self.rows == 0:
            self.patch_origin = x.mean(axis=1, keepdims=True)
            self.target_origin = t.mean(axis=1, keepdims=True)
        x -= self.patch_origin
        t -= self.target_origin
        if self.with_gram:
            self.gram += x.swapaxes(1, 2) @ x
        self.cross += t.swapaxes(1, 2) @ x
        self.target_gram += t.swapaxes(1, 2) @ t
        ones = np.ones(x.shape[1], np.float32)
        self.patch_sum += ones @ x
        self.target_sum += ones @ t
        self.squares += np.square(t, dtype=np.float64).sum(axis=1)
        self.rows += x.shape[1]

    def moments(self, order: Indices) -> tuple[Moments, ...]:
        """The moments of every group, its columns put in order."""
        return tuple(self._of_group(g, order) for g in range(len(self.gram)))

    def _of_group(self, g: int, order: Indices) -> Moments:
        patch_mean, target_mean = self.patch_sum[g] / self.rows, self.target_sum[g] / self.rows
        gram = self.gram[g] / self.rows - np.outer(patch_mean, patch_mean)
        cross = self.cross[g] / self.rows - np.outer(target_mean, patch_mean)
        target_gram = self.target_gram[g] / self.rows - np.outer(target_mean, target_mean)
        # Small errors are told by what is left of the variances, so these are exact.
        exact = np.maximum(0.0, self.squares[g] / self.rows - np.square(target_mean))
        np.fill_diagonal(target_gram, exact)
        return Moments(
            gram[np.ix_(order, order)],
            cross[:, order],
            (self.patch_origin[g, 0] + patch_mean)[order],
            self.target_origin[g, 0] + target_mean,
            target_gram,
        )
