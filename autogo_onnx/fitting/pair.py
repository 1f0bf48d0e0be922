"""Two convolutions in a row, seen as one convolution whose weights have a structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autogo_onnx.fitting import depthwise, linear
from autogo_onnx.fitting.importance import Importance
from autogo_onnx.fitting.moments import Indices, Moments, Window
from autogo_onnx.fitting.ridge import Array
from autogo_onnx.opgraph import Op


@dataclass(frozen=True)
class Pair:
    """The two operators, the input's channels, those in between, and the window of both."""

    first: Op
    last: Op
    channels: int
    width: int
    window: Window


@dataclass(frozen=True)
class PairWeights:
    """Weights of both, one row per output channel, and the one convolution they amount to.

    Attributes:
        first: float64[width,...] without a bias, so that padding stays zero in between.
        last: float64[O,...].
        total: float64[O,P] over the patch columns of the pair's window.
    """

    first: Array
    last: Array
    total: Array


def pair_of(first: Op, last: Op, channels: int, width: int) -> Pair | None:
    """The pair; None unless on each axis one of the two is a single point without padding."""
    axes = [_axis(first, last, axis) for axis in (0, 1)]
    if axes[0] is None or axes[1] is None:
        return None
    (kh, sy, top, bottom, dy), (kw, sx, left, right, dx) = axes[0], axes[1]
    window = Window((kh, kw), (sy, sx), (top, left, bottom, right), (dy, dx))
    return Pair(first, last, channels, width, window)


def _axis(first: Op, last: Op, axis: int) -> tuple[int, int, int, int, int] | None:
    """Kernel, stride, pads before and after, and dilation of both operators on one axis."""
    k1, k2 = first.get("kernel_shape")[axis], last.get("kernel_shape")[axis]
    s1, s2 = first.get("strides")[axis], last.get("strides")[axis]
    (p1, e1), (p2, e2) = first.get("pads")[axis::2], last.get("pads")[axis::2]
    if k2 == 1 and not p2 and not e2:
        return k1, s1 * s2, p1, e1, first.get("dilations")[axis]
    if k1 == 1 and not p1 and not e1 and s1 == 1:
        return k2, s2, p2, e2, last.get("dilations")[axis]
    return None


def solve_pair(pair: Pair, m: Moments, importance: Importance | None = None) -> PairWeights | None:
    """Weights from the moments under the pair's window; None where groups rule a solution out.

    A pair cannot give its outputs one by one, so it is fitted to those mixtures of them that matter
    equally, and the mixing is undone in its last convolution.
    """
    if importance is None or pair.last.get("group") != 1:
        return _solve_pair(pair, m)
    found = _solve_pair(pair, m.mixed(importance.root))
    if found is None:
        return None
    back = importance.inverse_root
    last = (back @ _flat(found.last)).reshape(found.last.shape)
    return PairWeights(found.first, last, back @ found.total)


def _solve_pair(pair: Pair, m: Moments) -> PairWeights | None:
    groups = pair.first.get("group"), pair.last.get("group")
    points = pair.first.get("kernel_shape") == (1, 1), pair.last.get("kernel_shape") == (1, 1)
    if groups == (1, 1):
        columns = _columns(pair)
        inner, outer = linear.factorized(m, columns, pair.width)
        total = np.zeros_like(m.cross)
        total[:, columns.reshape(-1)] = linear.composed(inner, outer)
        return PairWeights(inner, outer.transpose(1, 2, 0), total)
    if groups == (pair.channels, 1) and pair.width == pair.channels and points[1]:
        depth, point = depthwise.depthwise_pointwise(m, pair.channels)
        return PairWeights(depth, point, _flat(point[:, :, None] * depth))
    if groups == (1, pair.width) and pair.width == len(m.cross) and points[0]:
        point, depth = depthwise.pointwise_depthwise(m, pair.channels)
        return PairWeights(point, depth, _flat(point[:, :, None] * depth[:, None]))
    return None


def _flat(weights: Array) -> Array:
    return weights.reshape(len(weights), -1)


def _columns(pair: Pair) -> Indices:
    """For each kernel position of the second, the joint patch columns the first one reads."""
    kernel, (high, wide) = pair.first.get("kernel_shape"), pair.last.get("kernel_shape")
    offsets = [(y, x) for y in range(high) for x in range(wide)]
    return np.stack([pair.window.columns(pair.channels, kernel, offset) for offset in offsets])
