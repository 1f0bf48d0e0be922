"""What a linear layer computes, apart from its node: where it reads, with which weights.

Conv, AveragePool, an affine map per channel and the identity are all stencils. Stencils of the same
input add up, and stencils in a row compose, as long as both read the same zeros beyond the border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

MOST_WORK = 10**10
"""Multiply-accumulates that composing weights may take: about a second on one core."""


@dataclass(frozen=True)
class Axis:
    """Where a stencil reads along one spatial axis.

    Element `o` of the output reads the elements `stride * o + begin + step * t` of the input, for
    the taps `t` from 0 on, and zero outside of it.

    Attributes:
        reach: an input of length L gives `(L - 1 + reach) // stride + 1` elements.
    """

    begin: int = 0
    step: int = 1
    taps: int = 1
    stride: int = 1
    reach: int = 0

    @property
    def last(self) -> int:
        """Offset of the last tap."""
        return self.begin + self.step * (self.taps - 1)

    @property
    def offsets(self) -> range:
        """Offsets of all taps."""
        return range(self.begin, self.last + 1, self.step)

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros that are read before and after the input, as Conv counts them."""
        return -self.begin, self.reach + self.last

    def after(self, first: Axis) -> Axis:
        """Where one reads who reads, as this axis does, what the first one makes."""
        steps = [a.step * s for a, s in ((first, 1), (self, first.stride)) if a.taps > 1]
        step = math.gcd(*steps) or 1
        begin = first.begin + first.stride * self.begin
        last = first.last + first.stride * self.last
        return Axis(
            begin=begin,
            step=step,
            taps=(last - begin) // step + 1,
            stride=first.stride * self.stride,
            reach=first.reach + first.stride * self.reach,
        )


@dataclass(frozen=True)
class Stencil:
    """A linear map of channels and neighbourhoods.

    Attributes:
        axes: the spatial axes.
        weight: float[C_out, C_in / groups, *taps].
        bias: float64[C_out].
        groups: of channels, as Conv has them.
    """

    axes: tuple[Axis, ...]
    weight: np.ndarray
    bias: np.ndarray
    groups: int = 1

    @property
    def channels_in(self) -> int:
        """Channels of the input."""
        return int(self.weight.shape[1]) * self.groups

    @property
    def channels_out(self) -> int:
        """Channels of the output."""
        return int(self.weight.shape[0])

    @property
    def macs(self) -> int:
        """Multiply-accumulates per output position."""
        return int(self.weight.size)

    @property
    def adds(self) -> bool:
        """Whether the bias is any other than zero."""
        return bool(self.bias.any())

    def holds(self, other: Stencil | Row) -> bool:
        """Whether it reads everything that the other reads, for outputs of the same size."""
        return (
            (self.channels_in, self.channels_out) == (other.channels_in, other.channels_out)
            and other.groups % self.groups == 0
            and all(
                a.stride == b.stride and set(a.offsets).issuperset(b.offsets)
                for a, b in zip(self.axes, other.axes, strict=True)
            )
        )

    def weight_of(self, other: Stencil) -> np.ndarray:
        """The other's weights where this one, which holds it, has its own; zeros elsewhere."""
        weight = np.zeros(self.weight.shape)
        taps = [
            [(offset - a.begin) // a.step for offset in b.offsets]
            for a, b in zip(self.axes, other.axes, strict=True)
        ]
        at: tuple[Any, ...] = (..., *np.ix_(*taps))
        weight[at] = regrouped(other.weight, other.groups, self.groups)
        return weight


@dataclass(frozen=True)
class Row:
    """Stencils in a row as one, whose weights are composed only when that is asked for.

    Attributes:
        parts: first to last, at least one.
        axes: of the whole.
        groups: of the whole.
        work: multiply-accumulates of composing.
    """

    parts: tuple[Stencil, ...]
    axes: tuple[Axis, ...]
    groups: int
    work: int = 0

    @classmethod
    def of(cls, stencil: Stencil) -> Row:
        """A single stencil."""
        return cls((stencil,), stencil.axes, stencil.groups)

    @property
    def channels_in(self) -> int:
        """Channels of the input."""
        return self.parts[0].channels_in

    @property
    def channels_out(self) -> int:
        """Channels of the output."""
        return self.parts[-1].channels_out

    @property
    def adds(self) -> bool:
        """Whether there may be a bias other than zero."""
        return any(part.adds for part in self.parts)

    @property
    def magnitude(self) -> float:
        """No weight and no bias of the whole is larger; infinity or NaN where one is."""
        first, *others = self.parts
        weight, bias = largest(first.weight), largest(first.bias)
        for part in others:
            gain = part.weight[0].size * largest(part.weight)
            weight, bias = weight * gain, bias * gain + largest(part.bias)
        return float(np.maximum(weight, bias))

    def then(self, following: Stencil) -> Row | None:
        """With one more stencil behind; None where that is not exact."""
        axes = composed_axes(self, following)
        if axes is None or self.channels_out != following.channels_in:
            return None
        groups = math.gcd(self.groups, following.groups)
        taps = math.prod(axis.taps for axis in (*self.axes, *following.axes))
        macs = following.channels_out * self.channels_out * self.channels_in // groups**2
        return Row((*self.parts, following), axes, groups, self.work + macs * taps)

    def whole(self) -> Stencil:
        """The row as one stencil."""
        return reduce(_composed, self.parts)


def largest(array: np.ndarray) -> float:
    """The largest absolute value, without a copy of the array; NaN where there is a NaN."""
    return float(np.maximum(array.max(initial=0), -array.min(initial=0)))


def diagonal(scale: np.ndarray, shift: np.ndarray, rank: int) -> Stencil:
    """The affine map `scale * x + shift` per channel, on so many spatial axes."""
    return Stencil((Axis(),) * rank, scale.reshape(-1, 1, *(1,) * rank), shift, scale.size)


def composed_axes(first: Stencil | Row, second: Stencil) -> tuple[Axis, ...] | None:
    """Where the second of two stencils in a row reads the input of the first.

    None where no stencil does: where the second one reads beyond the border of what the first one
    makes, it reads zeros, and the first one would have to make zeros there.
    """
    for a, b in zip(first.axes, second.axes, strict=True):
        if any(b.pads) and (first.adds or a.taps > 1 or any(a.pads)):
            return None
    return tuple(b.after(a) for a, b in zip(first.axes, second.axes, strict=True))


def compose(first: Stencil, second: Stencil) -> Stencil | None:
    """Two stencils in a row as one, in float64; None where that is not exact."""
    axes = composed_axes(first, second)
    if axes is None or first.channels_out != second.channels_in:
        return None
    groups = math.gcd(first.groups, second.groups)
    a = _by_group(first, groups)
    b = _by_group(second, groups)
    shape = (groups, b.shape[1], a.shape[2], *(axis.taps for axis in axes))
    weight = np.zeros(shape)
    for i in np.ndindex(*a.shape[3:]):
        for j in np.ndindex(*b.shape[3:]):
            at = tuple(
                (x.begin + x.step * t + x.stride * (y.begin + y.step * u) - axis.begin) // axis.step
                for x, y, axis, t, u in zip(first.axes, second.axes, axes, i, j, strict=True)
            )
            weight[(..., *at)] += b[(..., *j)] @ a[(..., *i)]
    middle = first.bias.reshape(groups, -1, 1)
    bias = (b.reshape(*b.shape[:3], -1).sum(axis=-1) @ middle).reshape(-1) + second.bias
    return Stencil(axes, weight.reshape(-1, *shape[2:]), bias, groups)


def _composed(first: Stencil, second: Stencil) -> Stencil:
    both = compose(first, second)
    assert both is not None, "Row.then() refused"
    return both


def regrouped(weight: np.ndarray, groups: int, fewer: int) -> np.ndarray:
    """Conv weights for fewer groups, in float64: the same map, with zeros between old groups."""
    outs, ins, *taps = weight.shape
    parts = groups // fewer
    blocks = weight.reshape(fewer, parts, outs // groups, ins, *taps)
    wide = np.zeros((fewer, parts, outs // groups, parts, ins, *taps))
    for part in range(parts):
        wide[:, part, :, part] = blocks[:, part]
    return wide.reshape(outs, parts * ins, *taps)


def _by_group(stencil: Stencil, groups: int) -> np.ndarray:
    """float64[groups, C_out / groups, C_in / groups, *taps]."""
    weight = regrouped(stencil.weight, stencil.groups, groups)
    return weight.reshape(groups, -1, *weight.shape[1:])
