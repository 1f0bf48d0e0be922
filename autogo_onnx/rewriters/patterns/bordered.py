"""Zero-padded convolutions and pixel shuffles in a row as one map, exact at the border too.

A convolution reads zeros beyond the border of what the one before it makes, where that one would
make something else. So in the first and last row and column the map of both is not the one of the
interior. The difference is again a convolution, of the few rows or columns next to the border.

Everything here is a product of two axes, and an axis has three parts: INNER reads a neighbourhood
of every position; FIRST and LAST add something to the first and last position alone, from the first
and last few of the input, counted from the border.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import numpy as np

from autogo_onnx.rewriters.patterns.stencil import largest

INNER, FIRST, LAST = range(3)
Part = int
Parts = tuple[Part, Part]
"""Of the rows and of the columns."""
_BOTH_AXES = [(rows, columns) for rows in range(3) for columns in range(3)]


@dataclass(frozen=True)
class Stage:
    """A convolution of stride 1 that keeps the size, and the pixel shuffle after it.

    Attributes:
        weight: float[s, s, C, C_in, k_h, k_w] for a shuffle by s: row and column within a block
            of s x s pixels come first.
        bias: float64[s, s, C].
        begin: first offset that is read, of rows and of columns; not positive.
    """

    weight: np.ndarray
    bias: np.ndarray
    begin: tuple[int, int]

    @property
    def block(self) -> int:
        """Rows and columns that the shuffle makes of one; 1 without a shuffle."""
        return int(self.weight.shape[0])

    @property
    def macs(self) -> int:
        """Multiply-accumulates per input position."""
        return int(self.weight.size)


@dataclass(frozen=True)
class Extent:
    """Along one axis, what a map makes of one position and what it reads for it.

    Attributes:
        block: positions made of one.
        begin, taps: offsets that are read, from the first on, and how many.
        first, last: how many positions at the border the parts FIRST and LAST read; 0 if there is
            no such part.
    """

    block: int = 1
    begin: int = 0
    taps: int = 1
    first: int = 0
    last: int = 0

    def after(self, block: int, begin: int, taps: int, length: int) -> Extent | None:
        """The extent together with a stage before it, whose input is at least `length` long.

        None where more than one position at the border would be concerned, or where a part would
        read further than the shortest input reaches.
        """
        if max(self.first, self.last) > block * length:
            return None
        low = self.begin // block
        high = (block - 1 + self.begin + self.taps - 1) // block
        if low < -1 or high > 1:
            return None
        above, below = -begin, taps - 1 + begin
        first = max(below if low < 0 else 0, (self.first - 1) // block + below + 1)
        last = max(above if high > 0 else 0, (self.last - 1) // block + above + 1)
        return Extent(
            self.block * block,
            low + begin,
            high + below - low - begin + 1,
            max(first, 1) if low < 0 or self.first else 0,
            max(last, 1) if high > 0 or self.last else 0,
        )

    def reads(self, part: Part) -> int:
        """Positions that a part reads."""
        return (self.taps, self.first, self.last)[part]


@dataclass(frozen=True)
class Bordered:
    """A map of images, by parts; absent parts are zero.

    Attributes:
        extents: of the rows and of the columns.
        weights: float64[b, b, C_out, C_in, reads, reads] by parts; LAST counts from the end.
        biases: float64[b, b, C_out] by parts.
    """

    extents: tuple[Extent, Extent]
    weights: dict[Parts, np.ndarray]
    biases: dict[Parts, np.ndarray]


def compose(stages: list[Stage], lengths: tuple[int, int]) -> Bordered | None:
    """One map for all stages, on images of at least these lengths; None where that is not exact.

    >>> average = Stage(np.full((1, 1, 1, 1, 3, 3), 1 / 9), np.zeros((1, 1, 1)), (-1, -1))
    >>> twice = compose([average, average], (1, 1))
    >>> twice.extents[0]
    Extent(block=1, begin=-2, taps=5, first=1, last=1)
    """
    channels = stages[-1].weight.shape[2]
    whole = Bordered(
        (Extent(), Extent()),
        {(INNER, INNER): np.eye(channels).reshape(1, 1, channels, channels, 1, 1)},
        {(INNER, INNER): np.zeros((1, 1, channels))},
    )
    reached = reach(stages, lengths)
    if reached is None:
        return None
    for stage, extents in zip(reversed(stages), reached, strict=True):
        exact = replace(stage, weight=stage.weight.astype(np.float64))
        whole = _composed(exact, whole, extents)
    return whole


def work(stages: list[Stage], reached: list[tuple[Extent, Extent]]) -> int:
    """Multiply-accumulates, or somewhat less than there are, that `compose` takes."""
    outs, total = int(stages[-1].weight.shape[2]), 0
    behind = (Extent(), Extent())
    for stage, extents in zip(reversed(stages), reached, strict=True):
        positions = prod(extent.block * sum(map(extent.reads, range(3))) for extent in behind)
        total += positions * outs * stage.macs
        behind = extents
    return total


def magnitude(stages: list[Stage], reached: list[tuple[Extent, Extent]]) -> float:
    """No weight and no bias that `compose` gives is larger; infinity or NaN where one is."""
    weight, bias = 1.0, 0.0
    behind = (Extent(), Extent())
    for stage, extents in zip(reversed(stages), reached, strict=True):
        # So many weights of the map behind may meet in one weight, and in one bias.
        terms = prod(sum(map(extent.reads, range(3))) for extent in behind) * stage.weight.shape[2]
        bias += weight * terms * largest(stage.bias)
        weight *= terms * largest(stage.weight)
        behind = extents
    return float(np.maximum(weight, bias))


def reach(stages: list[Stage], lengths: tuple[int, int]) -> list[tuple[Extent, Extent]] | None:
    """Extents of the last stage, the last two, ... all; None where `compose` gives None."""
    current = (Extent(), Extent())
    result = []
    for index in reversed(range(len(stages))):
        stage, scale = stages[index], int(np.prod([s.block for s in stages[:index]]))
        rows, columns = (
            extent.after(stage.block, begin, taps, length * scale)
            for extent, begin, taps, length in zip(
                current, stage.begin, stage.weight.shape[4:], lengths, strict=True
            )
        )
        if rows is None or columns is None:
            return None
        current = (rows, columns)
        result.append(current)
    return result


class _Step(NamedTuple):
    """One way, along one axis, from an input of a stage through a map behind it to the output.

    Attributes:
        part, tap: of the map behind.
        within: row of the block of the stage's output that holds the position in question; of the
            whole output it decides which of the positions made of one is meant.
        block: row of the block that the map reads.
        to: part of the result.
        sign: -1 takes away what is no longer read.
        offset: of the position read, before the stage's own taps: from the position in question
            for INNER, else from the border inwards.
    """

    part: Part
    tap: int
    within: int
    block: int
    to: Part
    sign: int
    offset: int


def _steps(extent: Extent, block: int) -> Iterator[_Step]:
    for tap in range(extent.taps):
        for within in range(block):
            offset, phase = divmod(within + extent.begin + tap, block)
            yield _Step(INNER, tap, within, phase, INNER, 1, offset)
            if offset < 0:
                yield _Step(INNER, tap, within, phase, FIRST, -1, offset)
            if offset > 0:
                yield _Step(INNER, tap, within, phase, LAST, -1, -offset)
    for tap in range(extent.first):
        yield _Step(FIRST, tap, 0, tap % block, FIRST, 1, tap // block)
    for tap in range(extent.last):
        yield _Step(LAST, tap, block - 1, block - 1 - tap % block, LAST, 1, tap // block)


def _taps(step: _Step, begin: int, taps: int, extent: Extent) -> Iterator[tuple[int, int]]:
    """Pairs of a tap of the stage and the tap of the result that reads the same position."""
    for tap in range(taps):
        if step.to == INNER:
            yield tap, step.offset + begin + tap - extent.begin
        else:
            inwards = begin + tap if step.to == FIRST else -(begin + tap)
            if step.offset + inwards >= 0:  # beyond the border the input is zero
                yield tap, step.offset + inwards


def _composed(stage: Stage, behind: Bordered, extents: tuple[Extent, Extent]) -> Bordered:
    """A stage and the map behind it as one map, which has the given extents."""
    block, width = stage.block, behind.extents[0].block
    outs, ins = next(iter(behind.weights.values())).shape[2], stage.weight.shape[3]
    shape = (block, width, block, width, outs)
    present = [
        parts
        for parts in _BOTH_AXES
        if all(extent.reads(part) for extent, part in zip(extents, parts, strict=True))
    ]
    biases = {parts: np.zeros(shape) for parts in present}
    weights = {
        (a, b): np.zeros((*shape, ins, extents[0].reads(a), extents[1].reads(b)))
        for a, b in present
    }
    for parts, bias in behind.biases.items():
        rows, columns = (_blocks(part, block) for part in parts)
        biases[parts][rows, :, columns] += bias[:, None]
    for row in _steps(behind.extents[0], block):
        for column in _steps(behind.extents[1], block):
            source = behind.weights.get((row.part, column.part))
            if source is None:
                continue
            matrix = row.sign * column.sign * source[..., row.tap, column.tap]
            to, at = (row.to, column.to), (row.within, slice(None), column.within)
            kernel = stage.weight[row.block, column.block]
            biases[to][at] += matrix @ stage.bias[row.block, column.block]
            for i, new_i in _taps(row, stage.begin[0], kernel.shape[2], extents[0]):
                for j, new_j in _taps(column, stage.begin[1], kernel.shape[3], extents[1]):
                    weights[to][(*at, ..., new_i, new_j)] += matrix @ kernel[..., i, j]
    whole = block * width
    return Bordered(
        extents,
        {parts: w.reshape(whole, whole, *w.shape[4:]) for parts, w in weights.items()},
        {parts: b.reshape(whole, whole, outs) for parts, b in biases.items()},
    )


def _blocks(part: Part, block: int) -> slice:
    """Of a block at the border, the rows or columns that a part concerns."""
    return (slice(None), slice(0, 1), slice(block - 1, None))[part]
